//! `exact_dedup`: keeps the first of documents with the same text.
//!
//! Owns which texts count as the same, and the memory of those seen. Must not know how documents are
//! read.
//!
//! Source: removal of whole documents that are copies, before training, as in Lee et al. 2022,
//! "Deduplicating training data makes language models better"; here exact copies alone.

use std::collections::HashSet;

use ablate_sdk::{Document, Fate, Operator, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Configuration of `exact_dedup`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether texts that differ only in upper and lower case count as the same.
    pub ignore_case: bool,
    /// Whether texts that differ only in white space count as the same.
    pub ignore_whitespace: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            ignore_case: true,
            ignore_whitespace: true,
        }
    }
}

/// The operator.
pub struct ExactDedup {
    config: Config,
    /// SHA-256 of the texts seen: two texts count as equal if 256 bits agree.
    seen: HashSet<[u8; 32]>,
}

impl ExactDedup {
    /// The text in the form in which it is compared.
    fn canonical(&self, text: &str) -> String {
        let mut out = if self.config.ignore_whitespace {
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        } else {
            text.to_owned()
        };
        if self.config.ignore_case {
            out = out.to_lowercase();
        }
        out
    }
}

impl Operator for ExactDedup {
    const NAME: &'static str = "exact_dedup";
    const DESCRIPTION: &'static str = "Keeps the first of documents with the same text.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        Ok(ExactDedup {
            config,
            seen: HashSet::new(),
        })
    }

    fn apply(&mut self, document: Document<'_>) -> Result<Fate> {
        let digest = Sha256::digest(self.canonical(document.text).as_bytes());
        Ok(Fate::keep_if(self.seen.insert(digest.into())))
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Deduplication of documents with the same text.",
        operators: [ExactDedup],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(config: Config) -> Vec<usize> {
        let mut operator = ExactDedup::new(config).unwrap();
        let texts = ["One two", "one  two\n", "three", "One two"];
        (0..texts.len())
            .filter(|i| {
                let document = Document {
                    id: "",
                    text: texts[*i],
                };
                operator.apply(document).unwrap() == Fate::Keep
            })
            .collect()
    }

    #[test]
    fn the_first_stays_and_the_options_say_what_is_the_same() {
        let both = Config::default();
        assert_eq!(kept(both), [0, 2]);
        assert_eq!(
            kept(Config {
                ignore_case: false,
                ..both
            }),
            [0, 1, 2]
        );
        assert_eq!(
            kept(Config {
                ignore_whitespace: false,
                ..both
            }),
            [0, 1, 2]
        );
    }
}
