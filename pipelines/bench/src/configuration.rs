//! The shape of a benchmark.
//!
//! Owns the settings, their published presets and what makes sense of them. Must not know how a step
//! is run.

use ablate_bert::BertConfig;
use serde::Serialize;

use crate::error::{BenchError, Result};
use crate::source::Lengths;

/// Arithmetic of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floating point throughout.
    F32,
    /// 32-bit floating point, matrix products by three products of bfloat16 parts each.
    F32Split,
    /// bfloat16 operands and activations, 32-bit sums, master weights and statistics.
    Bf16,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Configuration {
    /// Name of the preset that the sizes started from.
    pub size: String,
    /// Encoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Attention heads a layer.
    pub heads: usize,
    /// Width inside the feed-forward block.
    pub intermediate: usize,
    /// Rows of the word embedding.
    pub vocab: usize,
    /// Tokens a row.
    pub seq: usize,
    /// Rows of a batch.
    pub batch: usize,
    /// Steps measured.
    pub steps: usize,
    /// Steps before that, not measured: the first compiles and touches all memory.
    pub warmup: usize,
    /// Threads; zero for one a core.
    pub threads: usize,
    /// Arithmetic.
    pub precision: Precision,
    /// Rate of all dropouts.
    pub dropout: f64,
    /// Seed of tokens, masks, weights and dropout.
    pub seed: u64,
    /// Real tokens of each row.
    pub lengths: Lengths,
    /// Whether padding is left out of the computation.
    pub packed: bool,
}

impl Configuration {
    /// A published size (`tiny`, `mini`, `small`, `medium`, `base`, `large`: Turc, Chang, Lee,
    /// Toutanova, "Well-Read Students Learn Better", 2019, and the BERT paper) on rows of 128 tokens.
    pub fn preset(name: &str) -> Option<Self> {
        Some(Configuration::of(name, &BertConfig::preset(name)?))
    }

    fn of(name: &str, model: &BertConfig) -> Self {
        Configuration {
            size: name.to_owned(),
            layers: model.num_hidden_layers,
            hidden: model.hidden_size,
            heads: model.num_attention_heads,
            intermediate: model.intermediate_size,
            vocab: model.vocab_size,
            seq: 128,
            batch: if model.hidden_size < 768 { 32 } else { 8 },
            steps: 10,
            warmup: 2,
            threads: 0,
            precision: Precision::F32,
            dropout: 0.1,
            seed: 1,
            lengths: Lengths::Full,
            packed: false,
        }
    }

    /// The model, checked.
    ///
    /// # Errors
    /// Sizes that make no model or no batch.
    pub fn model(&self) -> Result<BertConfig> {
        let refuse = |message: String| Err(BenchError::Configuration(message));
        if self.batch == 0 || self.steps == 0 {
            return refuse(format!(
                "batch {} and steps {} must be at least 1",
                self.batch, self.steps
            ));
        }
        if self.seq < SHORTEST {
            return refuse(format!(
                "seq is {}; a pair of sentences needs at least {SHORTEST} tokens",
                self.seq
            ));
        }
        if self.vocab <= SPECIAL {
            return refuse(format!(
                "vocab is {}; it must be above {SPECIAL}, the number of special tokens",
                self.vocab
            ));
        }
        let config = BertConfig {
            vocab_size: self.vocab,
            hidden_size: self.hidden,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            intermediate_size: self.intermediate,
            hidden_dropout_prob: self.dropout,
            attention_probs_dropout_prob: self.dropout,
            max_position_embeddings: self.seq.max(BertConfig::default().max_position_embeddings),
            ..BertConfig::default()
        };
        config.validate()?;
        Ok(config)
    }
}

/// `[CLS] a [SEP] b [SEP]`.
pub(crate) const SHORTEST: usize = 5;
/// `[PAD] [UNK] [CLS] [SEP] [MASK]`.
pub(crate) const SPECIAL: usize = 5;
