//! What a stopping-rule plugin fills in, and how several rules together end a trial.
//!
//! Owns events, decisions and their precedence. Must not know how a step is computed.

use serde::{Deserialize, Serialize};

use crate::objective::PluginError;

/// Part of the corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What the model learns from.
    Train,
    /// Held out; may steer stopping rules.
    Validation,
    /// Held out; looked at once, at the end.
    Test,
}

impl Split {
    /// The name written to run records.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }
}

/// What a stopping rule is told: after each optimizer step ([`Split::Train`]) and after each
/// validation run ([`Split::Validation`]). Rules never see the test split.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Optimizer steps done, from 1.
    pub step: u64,
    /// Real tokens trained on so far.
    pub tokens: u64,
    /// Floating-point operations of the matrix products in training so far, as in
    /// [`Outcome::flops`](crate::Outcome::flops).
    pub flops: f64,
    /// Seconds since the trial began, evaluations and runs before a resume included. Other than all
    /// else here not the same from run to run.
    pub seconds: f64,
    /// Where the metrics come from.
    pub split: Split,
    /// `loss`, `<objective>_loss`; on training events also `grad_norm` and `learning_rate`, on
    /// validation events also `<objective>_<metric>`. Values may be NaN or infinite.
    pub metrics: &'a [(&'a str, f64)],
}

impl Event<'_> {
    /// The value of a metric, if the event has it.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| *v)
    }
}

/// What a rule says to an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// Go on.
    Continue,
    /// The trial is done.
    Stop {
        /// Why, for the record.
        reason: String,
    },
    /// The trial makes no sense any more.
    Abort {
        /// What the rule saw.
        diagnosis: String,
    },
}

/// A stopping rule. Called from one thread at a time, not always the same one. In a composition (see
/// [`Stop`](crate::Stop)) it is asked on after it has said to stop.
pub trait StoppingRule: Send {
    /// Name as in the recipe; goes into `stopped_by`.
    fn name(&self) -> &str;

    /// Looks at an event.
    ///
    /// # Errors
    /// When the plugin fails.
    fn observe(&mut self, event: &Event<'_>) -> Result<Decision, PluginError>;

    /// The rule's memory, for checkpoints.
    ///
    /// # Errors
    /// When the plugin fails.
    fn save(&self) -> Result<Vec<u8>, PluginError>;

    /// Takes back what [`StoppingRule::save`] gave.
    ///
    /// # Errors
    /// When the bytes are not this rule's.
    fn load(&mut self, state: &[u8]) -> Result<(), PluginError>;
}
