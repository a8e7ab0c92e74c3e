//! What a trial tells while it runs, and what it leaves.

use crate::metrics::MetricsRow;

/// What an observer is told.
#[derive(Debug)]
pub enum TrainEvent<'a> {
    /// A step is done and recorded.
    Step(&'a MetricsRow),
    /// A held-out split was measured and recorded.
    Evaluation(&'a MetricsRow),
    /// The trial is saved.
    Checkpoint {
        /// Optimizer steps done.
        step: u64,
    },
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A stopping rule held.
    Stopped {
        /// Name of the rule.
        by: String,
        /// Its reason.
        reason: String,
    },
    /// The trial makes no sense any more.
    Diverged {
        /// Name of the rule; `diverged` when the loss or gradient is not finite.
        by: String,
        /// What was seen.
        reason: String,
    },
    /// Asked to stop from outside; the checkpoint holds everything.
    Interrupted,
}

/// What a trial leaves.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// Optimizer steps.
    pub steps: u64,
    /// Real tokens trained on.
    pub tokens: u64,
    /// Floating-point operations of the contractions in training (evaluation not counted).
    pub flops: f64,
    /// Seconds, evaluation included.
    pub seconds: f64,
    /// Seconds among them in which training waited for a batch.
    pub data_wait_seconds: f64,
    /// Last validation row; None when diverged or interrupted.
    pub validation: Option<MetricsRow>,
    /// Test row; None when diverged or interrupted.
    pub test: Option<MetricsRow>,
    /// What the history and the weights look like, in words; empty when sound.
    pub diagnosis: Vec<String>,
}

/// A parameter and what it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Hugging Face name.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub values: Vec<f32>,
}
