//! `ablate profile`: the first training steps of a trial, measured kernel by kernel.
//!
//! Owns which trial is measured and what of it is left out: stopping rules and evaluation, which would
//! end or interrupt the measuring. Must not know how times are taken or shown.

use ablate_bench::{measure, Measurement, Plan};
use ablate_compiler::Backend;
use ablate_recipe::Recipe;

use crate::data::DataSet;
use crate::error::Result;
use crate::model;
use crate::plugins::Plugins;
use crate::trial::parts;

/// Steps before the measured ones: the first compiles and touches all memory.
const WARMUP: usize = 2;

/// Trains an arm from its initial weights for a few steps: `steps` are timed as a whole, then as many
/// again kernel by kernel. Nothing is written.
///
/// # Errors
/// When the trial cannot be set up or a step fails.
pub fn run(
    recipe: &Recipe,
    data: &DataSet,
    plugins: &Plugins,
    backend: &dyn Backend,
    seed: u64,
    steps: usize,
) -> Result<Measurement> {
    let plan = model::plan(&recipe.model.bert, data)?;
    let (mut config, mut parts) = parts(recipe, recipe, &plan, data, seed, backend, plugins)?;
    config.evaluate_every = None;
    parts.rules.clear();
    let plan = Plan {
        warmup: WARMUP,
        steps,
        profiled: steps,
    };
    Ok(measure(config, parts, plan)?)
}
