//! The names under which BERT's tensors have been stored over the years.

use crate::{
    encoder_parameters, mlm_head_parameters, nsp_head_parameters, pooler_parameters, BertConfig,
    ParameterSpec,
};

/// The masked-language-model decoder's matrix: the word embedding once more.
pub const DECODER_WEIGHT: &str = "cls.predictions.decoder.weight";
/// The decoder's bias: `cls.predictions.bias` once more.
pub const DECODER_BIAS: &str = "cls.predictions.decoder.bias";
/// The parameter that [`DECODER_BIAS`] repeats.
pub const PREDICTION_BIAS: &str = "cls.predictions.bias";

/// Today's name of a stored tensor; `None` for buffers that hold no parameter.
///
/// A bare `BertModel` is stored without the `bert.` prefix; files converted from TensorFlow call a
/// layer norm's parameters gamma and beta.
pub fn canonical(stored: &str) -> Option<String> {
    if stored.ends_with("embeddings.position_ids") || stored.ends_with("embeddings.token_type_ids")
    {
        return None;
    }
    let bare = ["embeddings.", "encoder.", "pooler."]
        .iter()
        .any(|p| stored.starts_with(p));
    let name = if bare {
        format!("bert.{stored}")
    } else {
        stored.to_string()
    };
    Some(if let Some(stem) = name.strip_suffix("LayerNorm.gamma") {
        format!("{stem}LayerNorm.weight")
    } else if let Some(stem) = name.strip_suffix("LayerNorm.beta") {
        format!("{stem}LayerNorm.bias")
    } else {
        name
    })
}

/// Every parameter whose shape the configuration fixes: encoder, pooler and both heads.
pub fn known_parameters(config: &BertConfig) -> Vec<ParameterSpec> {
    let mut specs = encoder_parameters(config);
    specs.extend(pooler_parameters(config));
    specs.extend(mlm_head_parameters(config));
    specs.extend(nsp_head_parameters(config));
    specs
}

/// The transformers class that a set of parameters fills without gaps.
pub fn architecture(config: &BertConfig, has: impl Fn(&str) -> bool) -> &'static str {
    let all = |specs: Vec<ParameterSpec>| specs.iter().all(|s| has(&s.name));
    let pooler = all(pooler_parameters(config));
    let mlm = all(mlm_head_parameters(config));
    let nsp = all(nsp_head_parameters(config));
    match (mlm, nsp && pooler) {
        (true, true) => "BertForPreTraining",
        (true, false) => "BertForMaskedLM",
        (false, true) => "BertForNextSentencePrediction",
        (false, false) => "BertModel",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_bare_names_become_todays() {
        for (stored, wanted) in [
            (
                "bert.embeddings.LayerNorm.gamma",
                Some("bert.embeddings.LayerNorm.weight"),
            ),
            (
                "encoder.layer.3.output.LayerNorm.beta",
                Some("bert.encoder.layer.3.output.LayerNorm.bias"),
            ),
            ("pooler.dense.weight", Some("bert.pooler.dense.weight")),
            (
                "cls.predictions.transform.LayerNorm.gamma",
                Some("cls.predictions.transform.LayerNorm.weight"),
            ),
            ("cls.predictions.bias", Some("cls.predictions.bias")),
            ("bert.embeddings.position_ids", None),
            ("embeddings.token_type_ids", None),
        ] {
            assert_eq!(canonical(stored).as_deref(), wanted, "{stored}");
        }
    }
}
