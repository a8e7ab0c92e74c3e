//! `max_repetition`: removes documents in which one word takes too large a part of all words, such as
//! a page of "buy buy buy" or a broken record.
//!
//! Owns the measure. Must not know how documents are read. Source: the quality filters of Rae et al.
//! 2021 (Gopher), appendix A.1.1, in the form of the share of the most frequent word.

use std::collections::HashMap;

use ablate_sdk::{Document, Error, Fate, Operator, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `max_repetition`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The largest allowed share of the most frequent word.
    #[schemars(extend("exclusiveMinimum" = 0.0, "maximum" = 1.0))]
    pub fraction: f64,
}

/// The operator.
pub struct MaxRepetition(f64);

impl Operator for MaxRepetition {
    const NAME: &'static str = "max_repetition";
    const DESCRIPTION: &'static str =
        "Removes documents in which one word takes too large a part of all words.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        if !(config.fraction > 0.0 && config.fraction <= 1.0) {
            return Err(Error::Config(format!(
                "`fraction` is {}; it is a number above 0, up to 1",
                config.fraction
            )));
        }
        Ok(MaxRepetition(config.fraction))
    }

    fn apply(&mut self, document: Document<'_>) -> Result<Fate> {
        let mut counts: HashMap<&str, u64> = HashMap::new();
        let mut words = 0u64;
        for word in document.text.split_whitespace() {
            *counts.entry(word).or_default() += 1;
            words += 1;
        }
        let most = counts.values().copied().max().unwrap_or(0);
        Ok(Fate::keep_if(most as f64 <= self.0 * words as f64))
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "A filter of repetitive documents.",
        operators: [MaxRepetition],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_the_most_frequent_word_counts() {
        let mut operator = MaxRepetition::new(Config { fraction: 0.5 }).ok().unwrap();
        for (text, fate) in [
            ("a b", Fate::Keep),
            ("a a a b", Fate::Remove),
            ("", Fate::Keep),
        ] {
            assert_eq!(operator.apply(Document { id: "x", text }).unwrap(), fate);
        }
        for fraction in [0.0, 1.5, f64::NAN] {
            assert!(MaxRepetition::new(Config { fraction }).is_err());
        }
    }
}
