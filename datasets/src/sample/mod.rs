//! The sample corpus.
use serde::{Deserialize, Serialize};

use crate::{DataError, Document, Result};

/// Options of the generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SampleOptions {
    /// Seed of the stream "data".
    pub seed: u64,
    /// Documents, duplicates and noise included.
    pub documents: usize,
    /// Topics.
    pub topics: usize,
    /// Share of documents that are copies of others.
    pub duplicates: f64,
    /// Share of noisy documents.
    pub noise: f64,
}

impl Default for SampleOptions {
    fn default() -> Self {
        SampleOptions {
            seed: 1,
            documents: 1500,
            topics: 12,
            duplicates: 0.05,
            noise: 0.03,
        }
    }
}

impl SampleOptions {
    /// Checks ranges.
    ///
    /// # Errors
    ///
    /// An option out of range.
    pub fn validate(&self) -> Result<()> {
        Ok(())
    }
}

/// A generated corpus.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The documents.
    pub documents: Vec<Document>,
    /// The generator's own entropy per word, in nats.
    pub entropy_nats_per_word: f64,
}

/// Generates.
///
/// # Errors
///
/// As [`SampleOptions::validate`].
pub fn generate(options: &SampleOptions) -> Result<Sample> {
    options.validate()?;
    Err(DataError::Sample {
        option: "documents",
        found: options.documents.to_string(),
        expected: "-",
    })
}
