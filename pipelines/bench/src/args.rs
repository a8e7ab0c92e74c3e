//! The flags of a benchmark.

use clap::builder::PossibleValuesParser;
use clap::Args;

use ablate_bert::BertConfig;

use crate::configuration::{Configuration, Precision};
use crate::error::{BenchError, Result};
use crate::source::Lengths;

/// Flags that say what is measured; what is not given is the preset's.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Published size that the other flags change.
    #[arg(long, default_value = "tiny", value_parser = PossibleValuesParser::new(BertConfig::PRESETS))]
    pub size: String,
    /// Encoder layers.
    #[arg(long)]
    pub layers: Option<usize>,
    /// Width of the residual stream.
    #[arg(long)]
    pub hidden: Option<usize>,
    /// Attention heads a layer [default: hidden / 64].
    #[arg(long)]
    pub heads: Option<usize>,
    /// Width inside the feed-forward block [default: 4 x hidden].
    #[arg(long)]
    pub intermediate: Option<usize>,
    /// Rows of the word embedding.
    #[arg(long, default_value_t = 30522)]
    pub vocab: usize,
    /// Tokens a row.
    #[arg(long, default_value_t = 128)]
    pub seq: usize,
    /// Rows of a batch [default: 32, for base and large 8].
    #[arg(long)]
    pub batch: Option<usize>,
    /// Steps that are measured.
    #[arg(long, default_value_t = 10)]
    pub steps: usize,
    /// Steps before those.
    #[arg(long, default_value_t = 2)]
    pub warmup: usize,
    /// Threads; 0 for one a core.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    /// Arithmetic of the step.
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    pub precision: Precision,
    /// Rate of all dropouts.
    #[arg(long, default_value_t = 0.1)]
    pub dropout: f64,
    /// Seed of tokens, masks, weights and dropout.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

impl BenchArgs {
    /// The configuration that the flags describe.
    ///
    /// # Errors
    /// A size that is not published, which clap refuses before.
    pub fn configuration(&self) -> Result<Configuration> {
        let preset = Configuration::preset(&self.size).ok_or_else(|| {
            BenchError::Configuration(format!(
                "no size is called `{}`; there are: {}",
                self.size,
                BertConfig::PRESETS.join(", ")
            ))
        })?;
        let hidden = self.hidden.unwrap_or(preset.hidden);
        Ok(Configuration {
            size: self.size.clone(),
            layers: self.layers.unwrap_or(preset.layers),
            hidden,
            heads: self.heads.unwrap_or((hidden / 64).max(1)),
            intermediate: self.intermediate.unwrap_or(4 * hidden),
            vocab: self.vocab,
            seq: self.seq,
            batch: self.batch.unwrap_or(preset.batch),
            steps: self.steps,
            warmup: self.warmup,
            threads: self.threads,
            precision: self.precision,
            dropout: self.dropout,
            seed: self.seed,
            lengths: Lengths::Full,
        })
    }
}
