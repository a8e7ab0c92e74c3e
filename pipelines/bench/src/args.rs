//! The flags of a benchmark.

use clap::builder::PossibleValuesParser;
use clap::Args;

use ablate_bert::BertConfig;

use crate::configuration::{Configuration, Precision};
use crate::error::{BenchError, Result};
use crate::source::Lengths;

/// Flags that say what is measured; what is not given is the size's. Flags that take several values
/// (`--batch 8,16,32`) give one measurement for each combination.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Published sizes that the other flags change.
    #[arg(long, default_value = "tiny", value_name = "SIZE,..", value_delimiter = ',',
        value_parser = PossibleValuesParser::new(BertConfig::PRESETS))]
    pub size: Vec<String>,
    /// Encoder layers.
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    pub layers: Vec<usize>,
    /// Width of the residual stream.
    #[arg(long, value_name = "N")]
    pub hidden: Option<usize>,
    /// Attention heads a layer [default: hidden / 64].
    #[arg(long, value_name = "N")]
    pub heads: Option<usize>,
    /// Width inside the feed-forward block [default: 4 x hidden].
    #[arg(long, value_name = "N")]
    pub intermediate: Option<usize>,
    /// Rows of the word embedding.
    #[arg(long, value_name = "N", default_value_t = 30522)]
    pub vocab: usize,
    /// Tokens a row.
    #[arg(
        long,
        value_name = "N,..",
        value_delimiter = ',',
        default_value = "128"
    )]
    pub seq: Vec<usize>,
    /// Rows of a batch [default: 32; 8 for base and large].
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    pub batch: Vec<usize>,
    /// Steps that are measured.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub steps: usize,
    /// Steps before those.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub warmup: usize,
    /// Threads; 0 for one a core.
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "0")]
    pub threads: Vec<usize>,
    /// Arithmetic of the step.
    #[arg(
        long,
        value_enum,
        value_name = "P,..",
        value_delimiter = ',',
        default_value = "f32"
    )]
    pub precision: Vec<Precision>,
    /// Rate of all dropouts.
    #[arg(long, value_name = "RATE", default_value_t = 0.1)]
    pub dropout: f64,
    /// Real tokens of the rows [default: full; text if packed].
    #[arg(long, value_enum, value_name = "L")]
    pub lengths: Option<RowLengths>,
    /// Leaves padding out of the computation, as `train.packed` does.
    #[arg(long)]
    pub packed: bool,
    /// Seed of tokens, lengths, masks, weights and dropout.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub seed: u64,
}

/// How long made-up examples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RowLengths {
    /// Every row is full.
    Full,
    /// As texts are: log-normal with a median of 96 tokens, cut to the row, the same in every batch.
    Text,
}

impl BenchArgs {
    /// The configurations that the flags describe, the last flag varying fastest.
    ///
    /// # Errors
    /// A size that is not published, which clap refuses before.
    pub fn configurations(&self) -> Result<Vec<Configuration>> {
        let lengths = match (self.lengths, self.packed) {
            (Some(RowLengths::Text), _) | (None, true) => Lengths::TEXT,
            (Some(RowLengths::Full), _) | (None, false) => Lengths::Full,
        };
        let mut all = Vec::new();
        for size in &self.size {
            let preset = Configuration::preset(size).ok_or_else(|| {
                BenchError::Configuration(format!(
                    "no size is called `{size}`; there are: {}",
                    BertConfig::PRESETS.join(", ")
                ))
            })?;
            let hidden = self.hidden.unwrap_or(preset.hidden);
            all.push(Configuration {
                hidden,
                heads: self.heads.unwrap_or((hidden / 64).max(1)),
                intermediate: self.intermediate.unwrap_or(4 * hidden),
                vocab: self.vocab,
                steps: self.steps,
                warmup: self.warmup,
                dropout: self.dropout,
                seed: self.seed,
                lengths: lengths.clone(),
                packed: self.packed,
                ..preset
            });
        }
        let all = vary(all, &self.layers, |c, v| c.layers = v);
        let all = vary(all, &self.seq, |c, v| c.seq = v);
        let all = vary(all, &self.batch, |c, v| c.batch = v);
        let all = vary(all, &self.threads, |c, v| c.threads = v);
        Ok(vary(all, &self.precision, |c, v| c.precision = v))
    }
}

/// Every configuration with every value; unchanged without values.
fn vary<T: Copy>(
    all: Vec<Configuration>,
    values: &[T],
    set: impl Fn(&mut Configuration, T),
) -> Vec<Configuration> {
    if values.is_empty() {
        return all;
    }
    let with = |configuration: &Configuration, value: T| {
        let mut configuration = configuration.clone();
        set(&mut configuration, value);
        configuration
    };
    all.iter()
        .flat_map(|c| values.iter().map(|v| with(c, *v)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn configurations(line: &str) -> Vec<Configuration> {
        let args = Line::parse_from(line.split(' '));
        args.bench.configurations().unwrap()
    }

    #[test]
    fn without_flags_it_is_the_smallest_published_size() {
        let all = configurations("bench");
        assert_eq!(all, [Configuration::preset("tiny").unwrap()]);
    }

    #[test]
    fn heads_and_feed_forward_follow_the_width() {
        let all = configurations("bench --hidden 192 --layers 3");
        let c = &all[0];
        assert_eq!(
            (c.hidden, c.heads, c.intermediate, c.layers),
            (192, 3, 768, 3)
        );
        let c = &configurations("bench --hidden 8")[0];
        assert_eq!((c.heads, c.intermediate), (1, 32));
    }

    #[test]
    fn packed_rows_are_as_long_as_texts_unless_said() {
        for (line, lengths, packed) in [
            ("bench", Lengths::Full, false),
            ("bench --packed", Lengths::TEXT, true),
            ("bench --lengths text", Lengths::TEXT, false),
            ("bench --packed --lengths full", Lengths::Full, true),
        ] {
            let c = &configurations(line)[0];
            assert_eq!((&c.lengths, c.packed), (&lengths, packed), "{line}");
        }
    }

    #[test]
    fn several_values_give_every_combination() {
        let all = configurations("bench --size tiny,base --seq 128 --batch 4,8 --threads 1,2");
        let seen: Vec<_> = all.iter().map(|c| (&*c.size, c.batch, c.threads)).collect();
        assert_eq!(seen.len(), 8);
        assert_eq!(seen[..3], [("tiny", 4, 1), ("tiny", 4, 2), ("tiny", 8, 1)]);
        assert_eq!(seen[7], ("base", 8, 2));
        assert_eq!(all[7].layers, 12);
    }
}
