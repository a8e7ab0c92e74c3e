//! What makes a configuration impossible. All problems are found at once.

use serde_json::Value;
use thiserror::Error;

use crate::{BertConfig, BertError, Result};

/// One thing that is wrong with a [`BertConfig`].
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ConfigProblem {
    /// A size that has to be at least one.
    #[error("{field} is 0; it has to be at least 1")]
    Zero {
        /// Key of `config.json`.
        field: &'static str,
    },
    /// A size beyond what the tables can hold.
    #[error("{field} is {value}; it has to be at most {limit}")]
    TooLarge {
        /// Key of `config.json`.
        field: &'static str,
        /// Its value.
        value: usize,
        /// The largest allowed value.
        limit: usize,
    },
    /// The heads do not divide the width.
    #[error("hidden_size {hidden_size} is no multiple of num_attention_heads {heads}")]
    Heads {
        /// `hidden_size`.
        hidden_size: usize,
        /// `num_attention_heads`.
        heads: usize,
    },
    /// A dropout rate outside `[0, 1)`.
    #[error("{field} is {value}; a dropout rate has to be at least 0 and below 1")]
    Rate {
        /// Key of `config.json`.
        field: &'static str,
        /// Its value.
        value: f64,
    },
    /// A number that has to be finite and above (or at) zero.
    #[error("{field} is {value}; it has to be finite and {bound} 0")]
    Number {
        /// Key of `config.json`.
        field: &'static str,
        /// Its value.
        value: f64,
        /// `above` or `at least`.
        bound: &'static str,
    },
    /// The padding token lies outside of the vocabulary.
    #[error("pad_token_id {pad} is outside of the vocabulary of {vocab_size}")]
    Padding {
        /// `pad_token_id`.
        pad: usize,
        /// `vocab_size`.
        vocab_size: usize,
    },
    /// A variant of the model that this encoder is not.
    #[error("{field} is {value}; only {supported} is supported")]
    Unsupported {
        /// Key of `config.json`.
        field: &'static str,
        /// Its value, as JSON.
        value: String,
        /// What it may be.
        supported: &'static str,
    },
}

impl ConfigProblem {
    /// The key of `config.json` that has to change.
    pub fn field(&self) -> &'static str {
        match self {
            ConfigProblem::Zero { field }
            | ConfigProblem::TooLarge { field, .. }
            | ConfigProblem::Rate { field, .. }
            | ConfigProblem::Number { field, .. }
            | ConfigProblem::Unsupported { field, .. } => field,
            ConfigProblem::Heads { .. } => "num_attention_heads",
            ConfigProblem::Padding { .. } => "pad_token_id",
        }
    }
}

/// Token ids travel through graphs as f32, which holds whole numbers exactly up to here; no size
/// of the model comes near.
const LARGEST: usize = 1 << 24;

impl BertConfig {
    /// Everything that is wrong, in the order of the fields. Empty when the model can be built.
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        self.size_problems(&mut problems);
        self.number_problems(&mut problems);
        self.variant_problems(&mut problems);
        problems
    }

    /// Checks that the model can be built.
    ///
    /// # Errors
    /// [`BertError::Config`] with every problem.
    pub fn validate(&self) -> Result<()> {
        let problems = self.problems();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(BertError::Config { problems })
        }
    }

    /// Checks that sequences of `seq` tokens have positions.
    ///
    /// # Errors
    /// [`BertError::Sequence`] when `seq` is zero or beyond `max_position_embeddings`.
    pub fn check_sequence(&self, seq: usize) -> Result<()> {
        if seq == 0 || seq > self.max_position_embeddings {
            return Err(BertError::Sequence {
                seq,
                limit: self.max_position_embeddings,
            });
        }
        Ok(())
    }

    fn size_problems(&self, problems: &mut Vec<ConfigProblem>) {
        for (field, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ] {
            if value == 0 {
                problems.push(ConfigProblem::Zero { field });
            } else if value > LARGEST {
                problems.push(ConfigProblem::TooLarge {
                    field,
                    value,
                    limit: LARGEST,
                });
            }
        }
        let (hidden_size, heads) = (self.hidden_size, self.num_attention_heads);
        if heads > 0 && hidden_size % heads != 0 {
            problems.push(ConfigProblem::Heads { hidden_size, heads });
        }
        if let Some(pad) = self.pad_token_id {
            if self.vocab_size > 0 && pad >= self.vocab_size {
                problems.push(ConfigProblem::Padding {
                    pad,
                    vocab_size: self.vocab_size,
                });
            }
        }
    }

    fn number_problems(&self, problems: &mut Vec<ConfigProblem>) {
        for (field, value) in [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            (
                "attention_probs_dropout_prob",
                self.attention_probs_dropout_prob,
            ),
        ] {
            // Written so that NaN fails too.
            if !(0.0..1.0).contains(&value) {
                problems.push(ConfigProblem::Rate { field, value });
            }
        }
        let range = self.initializer_range;
        if !(range.is_finite() && range >= 0.0) {
            problems.push(ConfigProblem::Number {
                field: "initializer_range",
                value: range,
                bound: "at least",
            });
        }
        // Below the smallest f32 the graph would add zero, and a constant row would give NaN.
        let eps = self.layer_norm_eps;
        if !(eps.is_finite() && eps as f32 >= f32::MIN_POSITIVE) {
            problems.push(ConfigProblem::Number {
                field: "layer_norm_eps",
                value: eps,
                bound: "above",
            });
        }
    }

    /// Settings of transformers that would change the arithmetic.
    fn variant_problems(&self, problems: &mut Vec<ConfigProblem>) {
        if self.model_type != "bert" {
            problems.push(ConfigProblem::Unsupported {
                field: "model_type",
                value: Value::from(self.model_type.as_str()).to_string(),
                supported: "\"bert\"",
            });
        }
        let variants: [(&'static str, Value, &'static str); 4] = [
            (
                "position_embedding_type",
                Value::from("absolute"),
                "\"absolute\"",
            ),
            ("is_decoder", Value::from(false), "false"),
            ("add_cross_attention", Value::from(false), "false"),
            ("tie_word_embeddings", Value::from(true), "true"),
        ];
        for (field, wanted, supported) in variants {
            match self.extra.get(field) {
                Some(value) if !value.is_null() && *value != wanted => {
                    problems.push(ConfigProblem::Unsupported {
                        field,
                        value: value.to_string(),
                        supported,
                    });
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_possible() {
        for name in BertConfig::PRESETS {
            BertConfig::preset(name).unwrap().validate().unwrap();
        }
    }

    #[test]
    fn all_problems_are_reported_at_once_in_order() {
        let mut config = BertConfig {
            vocab_size: 10,
            hidden_size: 100,
            num_attention_heads: 3,
            intermediate_size: 0,
            hidden_dropout_prob: 1.0,
            attention_probs_dropout_prob: f64::NAN,
            initializer_range: -0.1,
            layer_norm_eps: 1e-50,
            max_position_embeddings: LARGEST + 1,
            pad_token_id: Some(10),
            model_type: "roberta".to_string(),
            ..BertConfig::default()
        };
        config.extra.insert("is_decoder".into(), Value::from(true));
        let fields: Vec<_> = config.problems().iter().map(|p| p.field()).collect();
        assert_eq!(
            fields,
            [
                "intermediate_size",
                "max_position_embeddings",
                "num_attention_heads",
                "pad_token_id",
                "hidden_dropout_prob",
                "attention_probs_dropout_prob",
                "initializer_range",
                "layer_norm_eps",
                "model_type",
                "is_decoder"
            ]
        );
        let message = config.validate().unwrap_err().to_string();
        assert!(
            message.contains("hidden_size 100 is no multiple"),
            "{message}"
        );
        assert!(message.contains("is_decoder is true"), "{message}");
    }

    #[test]
    fn sequences_need_positions() {
        let config = BertConfig::default();
        config.check_sequence(512).unwrap();
        let message = config.check_sequence(513).unwrap_err().to_string();
        assert!(
            message.contains("513") && message.contains("512"),
            "{message}"
        );
        assert!(config.check_sequence(0).is_err());
    }
}
