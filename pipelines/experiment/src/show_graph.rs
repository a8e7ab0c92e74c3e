//! `ablate graph`: the graphs of a trial as text, before or after compilation.
//!
//! Owns which graphs there are and at which shapes. Must not know what a compiler does to them.

use ablate_compiler::Backend;
use ablate_recipe::Recipe;
use ablate_train::graphs::{evaluation, gradient, update, ForwardShape};
use ablate_train::window::label_window;
use ablate_train::BatchSource;

use crate::batches::TrialBatches;
use crate::data::DataSet;
use crate::error::{ExperimentError, Result};
use crate::model;
use crate::objectives::pairs;
use crate::plugins::Plugins;

/// A graph of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Forward and backward of one micro-batch.
    Gradient,
    /// Clipping and the optimizer.
    Update,
    /// Forward without dropout.
    Evaluation,
}

/// The text of a graph at the shapes of the first training step: the luminal nodes, or with a backend
/// the compiled program.
///
/// # Errors
/// When the graph cannot be built or compiled.
pub fn text(
    recipe: &Recipe,
    data: &DataSet,
    plugins: &Plugins,
    seed: u64,
    part: Part,
    compiled: Option<&dyn Backend>,
) -> Result<String> {
    let plan = model::plan(&recipe.model.bert, data)?;
    let mut objectives = plugins.objectives(&recipe.objectives)?;
    let pairs = pairs(&objectives)?;
    let mut source = TrialBatches::new(data, pairs, recipe.train.batch_size, 1, seed)?;
    let window = label_window(&mut objectives, source.next_window()?)?.packed(recipe.train.packed);
    let first = window
        .batches
        .first()
        .ok_or_else(|| ExperimentError::Recipe("there is no batch".to_owned()))?;
    let shape = ForwardShape::of(first, &first.predictions());
    let graph = match part {
        Part::Gradient => gradient(&plan.config, &mut objectives, &shape, false)?.graph,
        Part::Evaluation => evaluation(&plan.config, &mut objectives, &shape)?.graph,
        Part::Update => {
            let parameters = evaluation(&plan.config, &mut objectives, &shape)?.parameters;
            let mut optimizer = plugins.optimizer(&recipe.optimizer)?;
            update(&parameters, &mut *optimizer, recipe.train.clip_norm)?.0
        }
    };
    let Some(backend) = compiled else {
        return Ok(graph.dump());
    };
    let mut session = backend.session()?;
    let program = session.load(graph)?;
    Ok(session.program_text(program)?)
}
