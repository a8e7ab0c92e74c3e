//! `result.json`: what a trial came to.
//!
//! Owns the keys of the record. Must not know how they are computed.

use ablate_datasets::curate::OperatorReport;
use ablate_train::metrics::number;
use ablate_train::MetricsRow;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::plugins::LoadedPlugin;

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A stopping rule ended it.
    Finished,
    /// It stopped making sense; the diagnosis says why.
    Diverged,
    /// Something broke; the next run tries it again.
    Failed,
}

/// The record of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialResult {
    /// Arm.
    pub arm: String,
    /// Data intervention, if any.
    pub data: Option<String>,
    /// Model intervention, if any.
    pub model: Option<String>,
    /// Seed.
    pub seed: u64,
    /// How it ended.
    pub status: Status,
    /// Name of the stopping rule that ended it; `error` when it failed.
    pub stopped_by: String,
    /// The rule's reason, or the message of the error.
    pub reason: String,
    /// Optimizer steps.
    pub steps: u64,
    /// Real tokens trained on.
    pub tokens: u64,
    /// Floating-point operations of the contractions in training.
    pub flops: f64,
    /// Seconds, evaluation included.
    pub seconds: f64,
    /// Seconds among them in which training waited for a batch; evaluation is not counted.
    pub data_wait_seconds: f64,
    /// Trained parameters.
    pub parameters: u64,
    /// Held-out metrics at the end; null when there is no such split or the trial did not finish.
    pub validation: Option<Map<String, Value>>,
    /// As `validation`, on the test split.
    pub test: Option<Map<String, Value>>,
    /// What the history and the weights look like; empty when sound.
    pub diagnosis: Vec<String>,
    /// False when the arm has a tokenizer of its own, so that losses per token do not compare.
    pub comparable: bool,
    /// What each curation operator did to the training split.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curation: Vec<OperatorReport>,
    /// What the trial used of loaded libraries, with their hashes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<LoadedPlugin>,
    /// Hash of Ablate's version, of the settings that decide the trial, and of the loaded libraries.
    pub fingerprint: String,
}

/// The metrics of a row without its step, tokens and time.
pub fn metrics(row: &MetricsRow) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("loss".to_owned(), number(row.loss));
    for (name, value) in &row.values {
        map.insert(name.clone(), number(*value));
    }
    map
}
