//! What a trial is made of: its numbers, and what plugins and data bring.
//!
//! Owns the settings and their defaults. Must not know what is done with them.

use std::path::PathBuf;
use std::time::Duration;

use ablate_bert::{BertConfig, Init};
use ablate_compiler::Session;

use crate::batch::BatchSource;
use crate::checkpoint::States;
use crate::objective::Objective;
use crate::optimizer::Optimizer;
use crate::schedule::Schedule;
use crate::stopping::StoppingRule;

/// When and where a trial saves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointPolicy {
    /// The file; None = never.
    pub path: Option<PathBuf>,
    /// Save when this many steps have passed since the last save.
    pub every_steps: u64,
    /// Save when this much time has passed since the last save.
    pub every: Duration,
}

impl Default for CheckpointPolicy {
    fn default() -> Self {
        Self {
            path: None,
            every_steps: 100,
            every: Duration::from_secs(300),
        }
    }
}

/// The numbers of a trial.
#[derive(Clone, Debug)]
pub struct TrainerConfig {
    /// The model.
    pub model: BertConfig,
    /// How weights start.
    pub init: Init,
    /// Weights to start from instead, by Hugging Face name; what is missing is drawn from `init`.
    pub initial: States,
    /// Seed of initial weights and dropout.
    pub seed: u64,
    /// Whether padding is left out of the computation, see [`crate::packing`].
    pub packed: bool,
    /// Largest global norm of the gradient.
    pub clip_norm: Option<f64>,
    /// Base learning rate; the schedule scales it.
    pub learning_rate: f64,
    /// Steps between two validation runs; None = only at the end.
    pub evaluate_every: Option<u64>,
    /// Where `metrics.jsonl` goes; None = nowhere.
    pub metrics: Option<PathBuf>,
    /// When to save.
    pub checkpoint: CheckpointPolicy,
    /// Says which recipe, arm and seed a checkpoint belongs to.
    pub fingerprint: String,
}

/// What plugins and data bring to a trial.
pub struct Parts {
    /// The device.
    pub session: Box<dyn Session>,
    /// Objectives, in the order of the recipe.
    pub objectives: Vec<Box<dyn Objective>>,
    /// The optimizer.
    pub optimizer: Box<dyn Optimizer>,
    /// The learning rate's schedule.
    pub schedule: Box<dyn Schedule>,
    /// Stopping rules, in the order of the recipe.
    pub rules: Vec<Box<dyn StoppingRule>>,
    /// The data.
    pub source: Box<dyn BatchSource>,
}
