//! `ablate graph`: the graphs of a trial as text, before or after compilation, or as launches on a GPU.
//!
//! Owns which graphs there are, at which shapes, and how often a step runs each. Must not know what a compiler
//! does to them.

use ablate_bert::BertConfig;
use ablate_compiler::Backend;
use ablate_cuda::listing::Listing;
use ablate_cuda::Precision;
use ablate_graph::ir::Lowered;
use ablate_graph::Graph;
use ablate_recipe::Recipe;
use ablate_train::graphs::{evaluation, gradient, update, update_variant, ForwardShape};
use ablate_train::window::label_window;
use ablate_train::{BatchSource, Objective};

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
    let graph = Graphs::new(recipe, data, plugins, seed)?.part(part)?;
    let Some(backend) = compiled else {
        return Ok(graph.dump());
    };
    let mut session = backend.session()?;
    let program = session.load(graph)?;
    Ok(session.program_text(program)?)
}

/// Steps over which it is counted how often each update graph runs.
pub const COUNTED_STEPS: u64 = 1000;

/// A graph that training steps run.
#[derive(Clone, Debug)]
pub struct Share {
    /// Its name.
    pub name: String,
    /// Runs in each step.
    pub times: usize,
    /// How many of the first [`COUNTED_STEPS`] steps run it; all, unless the optimizer has several update graphs.
    pub steps: u64,
    /// What one run launches.
    pub listings: Listings,
}

/// What a trial launches on a GPU at the shapes of its first training step; nothing is run.
#[derive(Clone, Debug)]
pub struct Launches {
    /// The recipe's precision, as far as a GPU has it.
    pub precision: Precision,
    /// The graph that was asked for, or all of its kind: a name and what one run launches.
    pub parts: Vec<(String, Listing)>,
    /// Everything that training steps run.
    pub step: Vec<Share>,
}

/// One graph as a GPU runs it in each precision.
#[derive(Clone, Debug)]
pub struct Listings {
    /// Everything is stored in single precision.
    single: Listing,
    /// Activations are stored as bfloat16.
    rounded: Listing,
}

impl Listings {
    fn new(graph: Graph) -> Result<Self> {
        let lowered = graph.lower()?;
        Ok(Listings {
            single: listing(&lowered, Precision::F32)?,
            rounded: listing(&lowered, Precision::Bf16)?,
        })
    }

    /// The launches in this precision.
    pub fn of(&self, precision: Precision) -> &Listing {
        match precision {
            Precision::F32 | Precision::Tf32 => &self.single,
            Precision::Bf16 => &self.rounded,
        }
    }
}

/// The launches of a graph and of a whole training step.
///
/// # Errors
/// When a graph cannot be built or compiled.
pub fn launches(
    recipe: &Recipe,
    data: &DataSet,
    plugins: &Plugins,
    seed: u64,
    part: Part,
) -> Result<Launches> {
    let precision = match recipe.precision {
        ablate_recipe::Precision::Bf16 => Precision::Bf16,
        // The others store single precision.
        _ => Precision::F32,
    };
    let mut graphs = Graphs::new(recipe, data, plugins, seed)?;
    let accumulated = recipe.train.accumulate.saturating_sub(1);
    let every_step = |name: &str, times, listings| Share {
        name: name.to_owned(),
        times,
        steps: COUNTED_STEPS,
        listings,
    };
    let gradient = Listings::new(graphs.part(Part::Gradient)?)?;
    let mut step = vec![every_step("gradient", 1, gradient)];
    if accumulated > 0 {
        let graph = Listings::new(graphs.gradient(true)?)?;
        step.push(every_step("gradient, accumulating", accumulated, graph));
    }
    let updates = graphs.updates()?;
    let parts = |shares: &[Share]| -> Vec<(String, Listing)> {
        let part = |share: &Share| {
            let listing = share.listings.of(precision).clone();
            (share.name.clone(), listing)
        };
        shares.iter().map(part).collect()
    };
    let parts = match part {
        Part::Gradient => parts(&step[..1]),
        Part::Update => parts(&updates),
        Part::Evaluation => {
            let lowered = graphs.part(Part::Evaluation)?.lower()?;
            let evaluation = listing(&lowered, precision)?;
            vec![("evaluation".to_owned(), evaluation)]
        }
    };
    step.extend(updates);
    Ok(Launches {
        precision,
        parts,
        step,
    })
}

fn listing(lowered: &Lowered, precision: Precision) -> Result<Listing> {
    let program =
        ablate_cuda::compile(lowered, precision).map_err(ablate_compiler::BackendError::from)?;
    Ok(Listing::new(&program))
}

/// The graphs of a trial, built when asked for.
struct Graphs<'a> {
    recipe: &'a Recipe,
    plugins: &'a Plugins,
    config: BertConfig,
    objectives: Vec<Box<dyn Objective>>,
    shape: ForwardShape,
}

impl<'a> Graphs<'a> {
    fn new(recipe: &'a Recipe, data: &DataSet, plugins: &'a Plugins, seed: u64) -> Result<Self> {
        let plan = model::plan(&recipe.model.bert, data)?;
        let mut objectives = plugins.objectives(&recipe.objectives)?;
        let pairs = pairs(&objectives)?;
        let mut source = TrialBatches::new(data, pairs, recipe.train.batch_size, 1, seed)?;
        let window =
            label_window(&mut objectives, source.next_window()?)?.packed(recipe.train.packed);
        let first = window
            .batches
            .first()
            .ok_or_else(|| ExperimentError::Recipe("there is no batch".to_owned()))?;
        Ok(Graphs {
            recipe,
            plugins,
            config: plan.config,
            shape: ForwardShape::of(first, &first.capacities()),
            objectives,
        })
    }

    fn part(&mut self, part: Part) -> Result<Graph> {
        if part == Part::Gradient {
            return self.gradient(false);
        }
        let evaluation = evaluation(&self.config, &mut self.objectives, &self.shape)?;
        if part == Part::Evaluation {
            return Ok(evaluation.graph);
        }
        let mut optimizer = self.plugins.optimizer(&self.recipe.optimizer)?;
        let clip_norm = self.recipe.train.clip_norm;
        Ok(update(&evaluation.parameters, &mut *optimizer, clip_norm)?.0)
    }

    /// Every update graph with the steps that run it.
    fn updates(&mut self) -> Result<Vec<Share>> {
        let evaluation = evaluation(&self.config, &mut self.objectives, &self.shape)?;
        let mut optimizer = self.plugins.optimizer(&self.recipe.optimizer)?;
        let clip_norm = self.recipe.train.clip_norm;
        let count = optimizer.variants().max(1);
        let mut steps = vec![0; count as usize];
        for step in 1..=COUNTED_STEPS {
            let variant = optimizer.variant(step)?;
            if let Some(steps) = steps.get_mut(variant as usize) {
                *steps += 1;
            }
        }
        let mut updates = vec![];
        for (variant, steps) in (0..count).zip(steps) {
            let parameters = &evaluation.parameters;
            let (graph, _) = update_variant(parameters, &mut *optimizer, clip_norm, variant)?;
            updates.push(Share {
                name: match count {
                    1 => "update".to_owned(),
                    _ => format!("update {}", variant + 1),
                },
                times: 1,
                steps,
                listings: Listings::new(graph)?,
            });
        }
        Ok(updates)
    }

    fn gradient(&mut self, accumulate: bool) -> Result<Graph> {
        let built = gradient(&self.config, &mut self.objectives, &self.shape, accumulate)?;
        Ok(built.graph)
    }
}
