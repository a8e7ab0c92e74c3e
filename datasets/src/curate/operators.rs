//! The built-in operators: their options and what each keeps.
//!
//! Owns the options with their bounds, from which parsing, defaults and JSON Schema come. Must not know
//! in which order operators run or how they are reported.

use std::collections::{HashMap, HashSet};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Operator;
use crate::split::canonical;
use crate::{DataError, Document, Result};

/// An operator's options.
trait Options: DeserializeOwned + JsonSchema {
    const NAME: &'static str;

    /// What the schema's bounds say, for options that come another way than through a recipe.
    fn problem(&self) -> Option<String>;

    fn start(self) -> Box<dyn Operator>;
}

/// A row of the table of operators.
pub(super) struct Entry {
    pub name: &'static str,
    pub schema: fn() -> Value,
    pub build: fn(&Value) -> Result<Box<dyn Operator>>,
}

/// All of them, by name.
pub(super) static TABLE: [Entry; 4] = [
    entry::<ExactDedup>(),
    entry::<MaxRepetition>(),
    entry::<MaxWords>(),
    entry::<MinWords>(),
];

const fn entry<T: Options>() -> Entry {
    Entry {
        name: T::NAME,
        schema: || schemars::schema_for!(T).to_value(),
        build: build::<T>,
    }
}

fn build<T: Options>(options: &Value) -> Result<Box<dyn Operator>> {
    let wrong = |message: String| DataError::OperatorOptions {
        name: T::NAME.to_owned(),
        message,
    };
    // `{exact_dedup: }` is null in YAML; it means no options.
    let options = match options {
        Value::Null => Value::Object(Default::default()),
        other => other.clone(),
    };
    let options: T = serde_json::from_value(options).map_err(|e| wrong(e.to_string()))?;
    match options.problem() {
        Some(problem) => Err(wrong(problem)),
        None => Ok(options.start()),
    }
}

/// Keeps the first of documents with the same text.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct ExactDedup {
    /// Whether texts that differ only in upper and lower case count as the same.
    ignore_case: bool,
    /// Whether texts that differ only in white space count as the same.
    ignore_whitespace: bool,
}

impl Default for ExactDedup {
    fn default() -> Self {
        ExactDedup {
            ignore_case: true,
            ignore_whitespace: true,
        }
    }
}

impl Options for ExactDedup {
    const NAME: &'static str = "exact_dedup";

    fn problem(&self) -> Option<String> {
        None
    }

    fn start(self) -> Box<dyn Operator> {
        Box::new(Seen {
            options: self,
            texts: HashSet::new(),
        })
    }
}

struct Seen {
    options: ExactDedup,
    /// SHA-256 of the texts: two count as equal if 256 bits agree.
    texts: HashSet<[u8; 32]>,
}

impl Operator for Seen {
    fn keep(&mut self, document: &Document) -> bool {
        let ExactDedup {
            ignore_case,
            ignore_whitespace,
        } = self.options;
        let text = canonical(&document.text, ignore_case, ignore_whitespace);
        self.texts.insert(Sha256::digest(text.as_bytes()).into())
    }
}

/// Removes documents of fewer words.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MinWords {
    /// The fewest words that a document may have.
    #[schemars(range(min = 1))]
    words: usize,
}

impl Options for MinWords {
    const NAME: &'static str = "min_words";

    fn problem(&self) -> Option<String> {
        no_words(self.words)
    }

    fn start(self) -> Box<dyn Operator> {
        Box::new(self)
    }
}

impl Operator for MinWords {
    fn keep(&mut self, document: &Document) -> bool {
        words(document) >= self.words
    }
}

/// Removes documents of more words.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MaxWords {
    /// The most words that a document may have.
    #[schemars(range(min = 1))]
    words: usize,
}

impl Options for MaxWords {
    const NAME: &'static str = "max_words";

    fn problem(&self) -> Option<String> {
        no_words(self.words)
    }

    fn start(self) -> Box<dyn Operator> {
        Box::new(self)
    }
}

impl Operator for MaxWords {
    fn keep(&mut self, document: &Document) -> bool {
        words(document) <= self.words
    }
}

/// Removes documents in which one word takes too large a part of all words, such as a page of
/// "buy buy buy" or a broken record.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MaxRepetition {
    /// The largest allowed share of the most frequent word.
    #[schemars(extend("exclusiveMinimum" = 0.0, "maximum" = 1.0))]
    fraction: f64,
}

impl Options for MaxRepetition {
    const NAME: &'static str = "max_repetition";

    fn problem(&self) -> Option<String> {
        let inside = self.fraction > 0.0 && self.fraction <= 1.0;
        (!inside).then(|| {
            format!(
                "fraction is {}; expected a number above 0, up to 1",
                self.fraction
            )
        })
    }

    fn start(self) -> Box<dyn Operator> {
        Box::new(self)
    }
}

impl Operator for MaxRepetition {
    fn keep(&mut self, document: &Document) -> bool {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for word in document.text.split_whitespace() {
            *counts.entry(word).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or(0);
        most as f64 <= self.fraction * words(document) as f64
    }
}

fn no_words(words: usize) -> Option<String> {
    (words == 0).then(|| "words is 0; expected at least 1".to_owned())
}

fn words(document: &Document) -> usize {
    document.text.split_whitespace().count()
}
