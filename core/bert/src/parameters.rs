//! Names, shapes and roles of BERT's parameters, known without building a graph.
//!
//! The lists are in the order in which [`crate::Encoder`] declares them, which a test asserts.

use crate::BertConfig;

/// The word embedding's name; the masked-language-model decoder is tied to it.
pub const WORD_EMBEDDINGS: &str = "bert.embeddings.word_embeddings.weight";

/// What a parameter is, which decides its first values and whether it decays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The matrix of a dense layer, `[out, in]`.
    Weight,
    /// Added to a dense layer's output.
    Bias,
    /// A layer norm's factor (gamma).
    NormScale,
    /// A layer norm's summand (beta).
    NormBias,
    /// A look-up table, `[rows, width]`.
    Embedding,
}

/// A parameter by its Hugging Face name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// Hugging Face's key in `model.safetensors`.
    pub name: String,
    /// Its shape; dense weights are `[out, in]`.
    pub shape: Vec<usize>,
    /// What it is.
    pub role: Role,
}

impl ParameterSpec {
    /// A parameter.
    pub fn new(name: impl Into<String>, shape: &[usize], role: Role) -> Self {
        ParameterSpec {
            name: name.into(),
            shape: shape.to_vec(),
            role,
        }
    }

    /// Whether weight decay applies: to matrices and embeddings, never to biases and layer norms
    /// (as in Google's `AdamWeightDecayOptimizer`).
    pub fn decays(&self) -> bool {
        matches!(self.role, Role::Weight | Role::Embedding)
    }

    /// How many numbers it holds.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// How many numbers each part of a model holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterCounts {
    /// The three embeddings and their layer norm.
    pub embeddings: usize,
    /// All encoder layers.
    pub encoder: usize,
    /// The pooler, built when an objective asks for it.
    pub pooler: usize,
    /// Transform and bias of the masked-language-model head; its decoder is the word embedding.
    pub mlm_head: usize,
    /// The next-sentence head.
    pub nsp_head: usize,
}

impl ParameterCounts {
    /// The whole `BertForPreTraining`.
    pub fn total(&self) -> usize {
        self.embeddings + self.encoder + self.pooler + self.mlm_head + self.nsp_head
    }
}

impl BertConfig {
    /// How many numbers each part holds.
    pub fn counts(&self) -> ParameterCounts {
        let count = |specs: &[ParameterSpec]| specs.iter().map(ParameterSpec::elements).sum();
        ParameterCounts {
            embeddings: count(&embedding_parameters(self)),
            encoder: (0..self.num_hidden_layers)
                .map(|n| count(&layer_parameters(self, n)))
                .sum(),
            pooler: count(&pooler_parameters(self)),
            mlm_head: count(&mlm_head_parameters(self)),
            nsp_head: count(&nsp_head_parameters(self)),
        }
    }
}

/// Embeddings and encoder layers: what every model has.
pub fn encoder_parameters(config: &BertConfig) -> Vec<ParameterSpec> {
    let mut specs = embedding_parameters(config);
    for n in 0..config.num_hidden_layers {
        specs.extend(layer_parameters(config, n));
    }
    specs
}

/// The pooler: dense and tanh on the first token.
pub fn pooler_parameters(config: &BertConfig) -> Vec<ParameterSpec> {
    let hidden = config.hidden_size;
    dense_parameters("bert.pooler.dense", hidden, hidden).into()
}

/// The masked-language-model head. Its decoder is tied to [`WORD_EMBEDDINGS`] and not listed.
pub fn mlm_head_parameters(config: &BertConfig) -> Vec<ParameterSpec> {
    let hidden = config.hidden_size;
    let mut specs = vec![ParameterSpec::new(
        "cls.predictions.bias",
        &[config.vocab_size],
        Role::Bias,
    )];
    specs.extend(dense_parameters(
        "cls.predictions.transform.dense",
        hidden,
        hidden,
    ));
    specs.extend(norm_parameters(
        "cls.predictions.transform.LayerNorm",
        hidden,
    ));
    specs
}

/// The next-sentence head: two classes, 0 = is next, 1 = random.
pub fn nsp_head_parameters(config: &BertConfig) -> Vec<ParameterSpec> {
    dense_parameters("cls.seq_relationship", 2, config.hidden_size).into()
}

fn embedding_parameters(config: &BertConfig) -> Vec<ParameterSpec> {
    let hidden = config.hidden_size;
    let table = |name: &str, rows: usize| {
        let name = format!("bert.embeddings.{name}.weight");
        ParameterSpec::new(name, &[rows, hidden], Role::Embedding)
    };
    let mut specs = vec![
        table("word_embeddings", config.vocab_size),
        table("token_type_embeddings", config.type_vocab_size),
        table("position_embeddings", config.max_position_embeddings),
    ];
    specs.extend(norm_parameters("bert.embeddings.LayerNorm", hidden));
    specs
}

fn layer_parameters(config: &BertConfig, n: usize) -> Vec<ParameterSpec> {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let name = |part: &str| format!("bert.encoder.layer.{n}.{part}");
    let mut specs = Vec::with_capacity(16);
    for part in [
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
    ] {
        specs.extend(dense_parameters(&name(part), hidden, hidden));
    }
    specs.extend(norm_parameters(&name("attention.output.LayerNorm"), hidden));
    specs.extend(dense_parameters(&name("intermediate.dense"), inner, hidden));
    specs.extend(dense_parameters(&name("output.dense"), hidden, inner));
    specs.extend(norm_parameters(&name("output.LayerNorm"), hidden));
    specs
}

/// Weight `[outputs, inputs]` and bias of a dense layer.
pub(crate) fn dense_parameters(name: &str, outputs: usize, inputs: usize) -> [ParameterSpec; 2] {
    [
        ParameterSpec::new(format!("{name}.weight"), &[outputs, inputs], Role::Weight),
        ParameterSpec::new(format!("{name}.bias"), &[outputs], Role::Bias),
    ]
}

/// Scale and bias of a layer norm over `width` features.
pub(crate) fn norm_parameters(name: &str, width: usize) -> [ParameterSpec; 2] {
    [
        ParameterSpec::new(format!("{name}.weight"), &[width], Role::NormScale),
        ParameterSpec::new(format!("{name}.bias"), &[width], Role::NormBias),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_the_published_ones() {
        // BertModel and BertForPreTraining of bert-base-uncased and bert-large-uncased, as
        // transformers counts them.
        for (preset, model, pretraining) in [
            ("base", 109_482_240, 110_106_428),
            ("large", 335_141_888, 336_226_108),
        ] {
            let c = BertConfig::preset(preset).unwrap().counts();
            assert_eq!(c.embeddings + c.encoder + c.pooler, model, "{preset}");
            assert_eq!(c.total(), pretraining, "{preset}");
        }
    }

    #[test]
    fn names_are_unique_and_only_matrices_decay() {
        let config = BertConfig::preset("tiny").unwrap();
        let mut specs = encoder_parameters(&config);
        specs.extend(pooler_parameters(&config));
        specs.extend(mlm_head_parameters(&config));
        specs.extend(nsp_head_parameters(&config));
        for spec in &specs {
            assert_eq!(spec.decays(), spec.shape.len() == 2, "{}", spec.name);
        }
        let all = specs.len();
        let names: std::collections::BTreeSet<_> = specs.into_iter().map(|s| s.name).collect();
        // 5 + 2 * 16 + 2 + 5 + 2
        assert_eq!((names.len(), all), (46, 46));
    }
}
