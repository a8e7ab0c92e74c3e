//! `min_words` and `max_words`: remove documents by their length in words.
//!
//! Owns what a word is: a run of characters without white space. Must not know how documents are read.

use ablate_sdk::{Document, Error, Fate, Operator, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `min_words`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MinConfig {
    /// The fewest words that a document may have.
    #[schemars(range(min = 1))]
    pub words: u64,
}

/// Configuration of `max_words`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxConfig {
    /// The most words that a document may have.
    #[schemars(range(min = 1))]
    pub words: u64,
}

/// Removes documents of fewer words.
pub struct MinWords(u64);

impl Operator for MinWords {
    const NAME: &'static str = "min_words";
    const DESCRIPTION: &'static str = "Removes documents of fewer words.";
    type Config = MinConfig;

    fn new(config: MinConfig) -> Result<Self> {
        some(config.words).map(MinWords)
    }

    fn apply(&mut self, document: Document<'_>) -> Result<Fate> {
        Ok(Fate::keep_if(words(document) >= self.0))
    }
}

/// Removes documents of more words.
pub struct MaxWords(u64);

impl Operator for MaxWords {
    const NAME: &'static str = "max_words";
    const DESCRIPTION: &'static str = "Removes documents of more words.";
    type Config = MaxConfig;

    fn new(config: MaxConfig) -> Result<Self> {
        some(config.words).map(MaxWords)
    }

    fn apply(&mut self, document: Document<'_>) -> Result<Fate> {
        Ok(Fate::keep_if(words(document) <= self.0))
    }
}

fn some(words: u64) -> Result<u64> {
    if words == 0 {
        return Err(Error::Config("`words` is 0; it is at least 1".into()));
    }
    Ok(words)
}

fn words(document: Document<'_>) -> u64 {
    document.text.split_whitespace().count() as u64
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Filters by the number of words.",
        operators: [MinWords, MaxWords],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_are_inside() {
        let mut least = MinWords::new(MinConfig { words: 2 }).ok().unwrap();
        let mut most = MaxWords::new(MaxConfig { words: 2 }).ok().unwrap();
        for (text, at_least, at_most) in [
            ("a", Fate::Remove, Fate::Keep),
            (" a\n b ", Fate::Keep, Fate::Keep),
            ("a b c", Fate::Keep, Fate::Remove),
        ] {
            let document = Document { id: "x", text };
            assert_eq!(least.apply(document).unwrap(), at_least, "{text}");
            assert_eq!(most.apply(document).unwrap(), at_most, "{text}");
        }
        assert!(MinWords::new(MinConfig { words: 0 }).is_err());
    }
}
