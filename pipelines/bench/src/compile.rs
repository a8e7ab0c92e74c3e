//! Time from a configuration to programs.

use std::time::Instant;

use ablate_bert::BertConfig;
use ablate_compiler::Backend;
use ablate_host::Registry;
use ablate_train::graphs::{self, ForwardShape};
use ablate_train::window::label_window;
use ablate_train::{BatchSource, Objective, Optimizer, TrainError};
use serde_json::json;

use crate::configuration::Configuration;
use crate::error::Result;
use crate::parts::objectives;
use crate::source::SyntheticBatches;

/// What is compiled, as often as one likes.
pub struct Compilation {
    model: BertConfig,
    objectives: Vec<Box<dyn Objective>>,
    optimizer: Box<dyn Optimizer>,
    shape: ForwardShape,
}

impl Compilation {
    /// The programs of a benchmark's training step.
    ///
    /// # Errors
    /// A configuration that makes no model.
    pub fn new(configuration: &Configuration) -> Result<Self> {
        let registry = Registry::with_builtins()?;
        let mut objectives = objectives(&registry)?;
        let mut source = SyntheticBatches::new(configuration);
        let window = source.next_window().map_err(TrainError::from)?;
        let window = label_window(&mut objectives, window)?.packed(configuration.packed);
        let capacities: Vec<usize> = window.units.iter().map(|u| *u as usize).collect();
        Ok(Compilation {
            model: configuration.model()?,
            objectives,
            optimizer: Box::new(registry.make_optimizer("adamw", &json!({}))?),
            // A window of a benchmark has one micro-batch.
            shape: ForwardShape::of(&window.batches[0], &capacities),
        })
    }

    /// Builds the programs in a session of their own; returns the seconds that it took: model,
    /// objectives and update as graphs, gradients, every pass of the compiler, and the session's plans.
    ///
    /// # Errors
    /// When a graph cannot be built or compiled.
    pub fn run(&mut self, backend: &dyn Backend) -> Result<f64> {
        let mut session = backend.session()?;
        let start = Instant::now();
        let built = graphs::gradient(&self.model, &mut self.objectives, &self.shape, false)?;
        session.load(built.graph)?;
        let (update, _) = graphs::update(&built.parameters, &mut *self.optimizer, Some(1.0))?;
        session.load(update)?;
        Ok(start.elapsed().as_secs_f64())
    }
}
