//! The configuration in Hugging Face's `config.json` format, and the published sizes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Activation;

/// The shape of a BERT and the rates of its dropouts, as `config.json` spells them.
///
/// Keys that are absent from a file take the values of BERT-base, as transformers does; keys that
/// mean nothing here are kept in [`extra`](Self::extra) and written back on export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BertConfig {
    /// Class names that the weights fill; written anew on export.
    pub architectures: Vec<String>,
    /// Always `bert`.
    pub model_type: String,
    /// Rows of the word embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Encoder layers.
    pub num_hidden_layers: usize,
    /// Attention heads per layer; divides [`hidden_size`](Self::hidden_size).
    pub num_attention_heads: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Activation of the feed-forward block and of the masked-language-model transform.
    pub hidden_act: Activation,
    /// Dropout on the embeddings and on the output of each sublayer.
    pub hidden_dropout_prob: f64,
    /// Dropout on the attention probabilities.
    pub attention_probs_dropout_prob: f64,
    /// Rows of the position embedding: the longest sequence.
    pub max_position_embeddings: usize,
    /// Rows of the segment embedding.
    pub type_vocab_size: usize,
    /// Standard deviation of the normal initialisation.
    pub initializer_range: f64,
    /// Added to the variance inside every layer norm's root.
    pub layer_norm_eps: f64,
    /// The padding token. Its row starts at zero and gets no gradient from the look-up, as in
    /// transformers (`padding_idx`); `null` makes it a row like any other.
    pub pad_token_id: Option<usize>,
    /// Every other key of the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for BertConfig {
    /// BERT-base, uncased English vocabulary.
    fn default() -> Self {
        BertConfig {
            architectures: Vec::new(),
            model_type: "bert".to_string(),
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Activation::Gelu,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            pad_token_id: Some(0),
            extra: Map::new(),
        }
    }
}

impl BertConfig {
    /// Names that [`preset`](Self::preset) knows, smallest first.
    pub const PRESETS: [&'static str; 6] = ["tiny", "mini", "small", "medium", "base", "large"];

    /// A published size. The four smaller ones are those of Turc, Chang, Lee, Toutanova,
    /// "Well-Read Students Learn Better", 2019; base and large those of the BERT paper.
    pub fn preset(name: &str) -> Option<Self> {
        let (layers, hidden) = match name {
            "tiny" => (2, 128),
            "mini" => (4, 256),
            "small" => (4, 512),
            "medium" => (8, 512),
            "base" => (12, 768),
            "large" => (24, 1024),
            _ => return None,
        };
        Some(BertConfig {
            num_hidden_layers: layers,
            hidden_size: hidden,
            // All of them have heads of 64 and a feed-forward block four times as wide.
            num_attention_heads: hidden / 64,
            intermediate_size: hidden * 4,
            ..BertConfig::default()
        })
    }

    /// Width of one attention head. Zero when there are no heads, which
    /// [`validate`](Self::validate) refuses.
    pub fn head_size(&self) -> usize {
        self.hidden_size
            .checked_div(self.num_attention_heads)
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_have_the_published_sizes() {
        let sizes: Vec<_> = BertConfig::PRESETS
            .iter()
            .map(|name| {
                let c = BertConfig::preset(name).unwrap();
                (
                    c.num_hidden_layers,
                    c.hidden_size,
                    c.num_attention_heads,
                    c.intermediate_size,
                )
            })
            .collect();
        assert_eq!(
            sizes,
            [
                (2, 128, 2, 512),
                (4, 256, 4, 1024),
                (4, 512, 8, 2048),
                (8, 512, 8, 2048),
                (12, 768, 12, 3072),
                (24, 1024, 16, 4096)
            ]
        );
        assert_eq!(BertConfig::preset("base"), Some(BertConfig::default()));
        assert_eq!(BertConfig::preset("huge"), None);
    }

    #[test]
    fn absent_keys_are_those_of_base_and_unknown_keys_survive() {
        let text =
            r#"{"hidden_size": 60, "pad_token_id": null, "use_cache": true, "note": {"a": [1]}}"#;
        let config: BertConfig = serde_json::from_str(text).unwrap();
        assert_eq!((config.hidden_size, config.vocab_size), (60, 30522));
        assert_eq!(config.pad_token_id, None);
        assert_eq!(config.extra["note"]["a"][0], 1);
        let back: BertConfig =
            serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(back, config);
    }

    #[test]
    fn a_wrong_type_is_an_error_that_names_what_was_expected() {
        let error = serde_json::from_str::<BertConfig>(r#"{"hidden_size": -1}"#).unwrap_err();
        assert!(error.to_string().contains("usize"), "{error}");
        assert!(serde_json::from_str::<BertConfig>(r#"{"hidden_act": "glu"}"#).is_err());
    }
}
