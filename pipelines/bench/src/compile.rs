//! Time from a configuration to programs.

use std::time::Instant;

use ablate_bert::BertConfig;
use ablate_compiler::Backend;
use ablate_host::Registry;
use ablate_train::graphs::{self, ForwardShape};
use ablate_train::window::label_window;
use ablate_train::BatchSource;
use serde_json::json;

use crate::configuration::Configuration;
use crate::error::Result;
use crate::parts::objectives;
use crate::source::SyntheticBatches;

/// Seconds that the programs of a training step take to build: model, objectives and update as graphs,
/// gradients, every pass of the compiler, and the session's plan.
///
/// # Errors
/// When a graph cannot be built or compiled.
pub fn compile_seconds(
    configuration: &Configuration,
    model: &BertConfig,
    backend: &dyn Backend,
) -> Result<f64> {
    let registry = Registry::with_builtins()?;
    let mut objectives = objectives(&registry)?;
    let mut optimizer = registry.make_optimizer("adamw", &json!({}))?;
    let mut source = SyntheticBatches::new(configuration);
    let window = source
        .next_window()
        .map_err(ablate_train::TrainError::from)?;
    let window = label_window(&mut objectives, window)?;
    let batch = &window.batches[0];
    let capacities: Vec<usize> = batch.units.iter().map(|u| *u as usize).collect();
    let shape = ForwardShape::of(batch, &capacities);
    let mut session = backend.session()?;

    let start = Instant::now();
    let built = graphs::gradient(model, &mut objectives, &shape, false)?;
    session.load(built.graph)?;
    let (update, _) = graphs::update(&built.parameters, &mut optimizer, Some(1.0))?;
    session.load(update)?;
    Ok(start.elapsed().as_secs_f64())
}
