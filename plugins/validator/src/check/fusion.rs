//! What a plugin's expression became: kernels, and the time of a step beside the nearest built-in.
//!
//! Nothing here can fail for being slow or large; it is a measurement.

use std::time::Instant;

use ablate_bert::{encoder_parameters, BertConfig, Init, ParameterSpec};
use ablate_compiler::{compile, Backend, Program, ProgramId, Session};
use ablate_graph::{Feeds, Graph, RandomKey};
use ablate_host::{Kind, Registry};
use ablate_train::graphs::{gradient, gradient_name, scale_name, update, ForwardShape};
use ablate_train::window::{label, Labelled};
use ablate_train::{
    Objective, ObjectiveContext, ObjectiveGraph, Optimizer, PluginError, PreparedBatch, SlotSpec,
    Update, UpdateContext,
};
use serde_json::json;

use super::bench::{count, Bench, Stop};
use crate::rig;

/// A model large enough that a step is work, and small enough that twenty take less than a second.
fn model() -> BertConfig {
    BertConfig {
        vocab_size: rig::VOCABULARY,
        hidden_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 256,
        max_position_embeddings: rig::SEQ,
        ..BertConfig::default()
    }
}

/// Rows of the batch of a step.
const ROWS: usize = 32;

/// Steps that are timed of each of the two.
const TIMED: usize = 15;

pub(super) fn fusion(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    match bench.kind {
        Kind::Optimizer => optimizer(bench, &registry),
        Kind::Objective => objective(bench, &registry),
        _ => Err(Stop::Skipped("it builds no graph".into())),
    }
}

fn program(graph: &Graph) -> Result<Program, Stop> {
    compile(&graph.lower()?).map_err(|e| Stop::Failed(e.to_string()))
}

/// A program that can be run again and again.
struct Runner {
    session: Box<dyn Session>,
    program: ProgramId,
    feeds: Feeds,
}

impl Runner {
    fn seconds(&mut self) -> Result<f64, Stop> {
        let since = Instant::now();
        self.session
            .run(self.program, &self.feeds, RandomKey { seed: 1, step: 1 })?;
        Ok(since.elapsed().as_secs_f64())
    }
}

/// Median time of a step of `own` over that of `other`, run in turn so that both see the same machine.
fn ratio(own: &mut Runner, other: &mut Runner) -> Result<(f64, f64), Stop> {
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    // The first runs find cold memory.
    own.seconds()?;
    other.seconds()?;
    for _ in 0..TIMED {
        mine.push(own.seconds()?);
        theirs.push(other.seconds()?);
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    Ok((median(&mut mine), median(&mut theirs)))
}

// Optimizers.

/// The update that costs least: it forgets everything but the gradient. What is left are the kernels of the
/// gradient's norm and one kernel for each parameter.
struct Least;

impl Optimizer for Least {
    fn name(&self) -> &str {
        "least"
    }
    fn slots(&self, _: &ParameterSpec) -> Result<Vec<SlotSpec>, PluginError> {
        Ok(vec![])
    }
    fn scalar_names(&self) -> Result<Vec<String>, PluginError> {
        Ok(vec![])
    }
    fn scalars(&self, _: u64, _: f64) -> Result<Vec<f64>, PluginError> {
        Ok(vec![])
    }
    fn update(&mut self, graph: &mut Graph, cx: UpdateContext) -> Result<Update, PluginError> {
        let parameter = graph
            .sub(&cx.parameter, &cx.gradient)
            .map_err(|e| PluginError::new("least", "update", e))?;
        Ok(Update {
            parameter,
            slots: vec![],
        })
    }
}

fn update_runner(
    backend: &dyn Backend,
    made: &mut dyn Optimizer,
    parameters: &[ParameterSpec],
) -> Result<Runner, Stop> {
    let (graph, slots) = update(parameters, made, None)?;
    let mut session = backend.session()?;
    for p in parameters {
        let values = rig::numbers(&p.name, p.elements());
        session.set_state(&gradient_name(&p.name), &values)?;
        session.set_state(&p.name, &values)?;
    }
    for (name, slot) in slots {
        session.set_state(&name, &vec![slot.initial; slot.shape.iter().product()])?;
    }
    let program = session.load(graph)?;
    let mut feeds = Feeds::new();
    for (name, value) in made.scalar_names()?.into_iter().zip(made.scalars(1, 1e-3)?) {
        feeds.set(name, vec![value as f32]);
    }
    Ok(Runner {
        session,
        program,
        feeds,
    })
}

fn optimizer(bench: &mut Bench<'_>, registry: &Registry) -> Result<String, Stop> {
    let parameters = encoder_parameters(&model());
    let mut own = bench.optimizer(registry)?;
    bench.doing("compiling the update");
    let kernels = |made: &mut dyn Optimizer| -> Result<usize, Stop> {
        Ok(program(&update(&parameters, made, None)?.0)?.steps.len())
    };
    // One kernel a parameter is the least; what is beyond it comes from the plugin's expression.
    let added = kernels(&mut own)?.saturating_sub(kernels(&mut Least)?);
    let each = 1.0 + added as f64 / parameters.len() as f64;
    bench.doing("timing the update");
    // The nearest is the one that keeps as much for a parameter.
    let (peer, config) = match own.slots(&parameters[0])?.len() {
        0 => ("sgd", json!({})),
        1 => ("sgd", json!({"momentum": 0.9})),
        _ => ("adamw", json!({})),
    };
    let mut other = Registry::with_builtins()?.make_optimizer(peer, &config)?;
    let (mine, theirs) = ratio(
        &mut update_runner(bench.backend, &mut own, &parameters)?,
        &mut update_runner(bench.backend, &mut other, &parameters)?,
    )?;
    let times = mine / theirs;
    bench.data = Some(json!({
        "parameters": parameters.len(),
        "kernels_per_parameter": each,
        "step_seconds": mine,
        "beside": peer,
        "beside_seconds": theirs,
        "ratio": times,
    }));
    Ok(format!(
        "{each:.2} kernels a parameter ({} parameters); a step takes {times:.2} times that of `{peer}`",
        parameters.len()
    ))
}

// Objectives.

/// The loss that costs least: half the square of the hidden states.
struct Bare;

impl Objective for Bare {
    fn name(&self) -> &str {
        "bare"
    }
    fn weight(&self) -> f64 {
        1.0
    }
    fn needs_pairs(&self) -> bool {
        false
    }
    fn duplicate(&self) -> Result<Box<dyn Objective>, PluginError> {
        Ok(Box::new(Bare))
    }
    fn prepare(&mut self, batch: &mut PreparedBatch) -> Result<f64, PluginError> {
        Ok(batch.rows as f64)
    }
    fn build(&mut self, cx: &mut ObjectiveContext<'_>) -> Result<ObjectiveGraph, PluginError> {
        let hidden = cx.encoder.hidden().clone();
        let sum = cx
            .graph
            .square(&hidden)
            .and_then(|square| cx.graph.sum_all(&square))
            .and_then(|sum| cx.graph.mul_scalar(&sum, 0.5));
        Ok(ObjectiveGraph {
            loss_sum: sum.map_err(|e| PluginError::new("bare", "build", e))?,
            metrics: vec![],
        })
    }
}

type Objectives = Vec<Box<dyn Objective>>;

fn labelled(objectives: &mut Objectives) -> Result<(Labelled, ForwardShape), Stop> {
    let pairs = rig::pairs(&*objectives[0]);
    let labelled = label(objectives, rig::batch(ROWS, 0, 1, pairs))?;
    let shape = ForwardShape::of(&labelled, &labelled.predictions());
    Ok((labelled, shape))
}

/// Kernels of forward and backward.
fn kernels(objectives: &mut Objectives) -> Result<[usize; 2], Stop> {
    let (_, shape) = labelled(objectives)?;
    let graph = gradient(&model(), objectives, &shape, false)?.graph;
    let counts = program(&graph)?.counts();
    let of = |phase: &str| {
        counts
            .iter()
            .filter(|((p, _), _)| p == phase)
            .map(|(_, n)| n)
            .sum()
    };
    Ok([of("forward"), of("backward")])
}

fn gradient_runner(backend: &dyn Backend, objectives: &mut Objectives) -> Result<Runner, Stop> {
    let config = model();
    let (labelled, shape) = labelled(objectives)?;
    let built = gradient(&config, objectives, &shape, false)?;
    let name = objectives[0].name().to_owned();
    let mut feeds = labelled.feeds(std::slice::from_ref(&name), &shape.capacities);
    feeds.set(
        scale_name(&name),
        vec![(1.0 / labelled.units[0].max(1.0)) as f32],
    );
    let mut session = backend.session()?;
    for spec in &built.parameters {
        let values = config.initial_values(spec, &Init::Normal { std: 0.02 }, 5);
        session.set_state(&spec.name, &values)?;
    }
    for state in &built.frozen {
        session.set_state(&state.name, &state.values)?;
    }
    let program = session.load(built.graph)?;
    Ok(Runner {
        session,
        program,
        feeds,
    })
}

fn objective(bench: &mut Bench<'_>, registry: &Registry) -> Result<String, Stop> {
    let mut own: Objectives = vec![Box::new(bench.objective(registry)?)];
    bench.doing("compiling the gradient");
    let (with, without) = (kernels(&mut own)?, kernels(&mut vec![Box::new(Bare)])?);
    let [forward, backward] = [0, 1].map(|i| with[i].saturating_sub(without[i]));
    let (first, _) = labelled(&mut own)?;
    let per_token = first
        .features
        .iter()
        .flatten()
        .any(|(_, f)| matches!(f, ablate_train::Feature::PerToken(_)));
    let peer = if per_token { "mlm" } else { "nsp" };
    bench.doing("timing the gradient");
    let other = Registry::with_builtins()?.make_objective(peer, &json!({}))?;
    let (mine, theirs) = ratio(
        &mut gradient_runner(bench.backend, &mut own)?,
        &mut gradient_runner(bench.backend, &mut vec![Box::new(other)])?,
    )?;
    let times = mine / theirs;
    bench.data = Some(json!({
        "kernels_forward": forward,
        "kernels_backward": backward,
        "encoder_kernels_forward": without[0],
        "encoder_kernels_backward": without[1],
        "step_seconds": mine,
        "beside": peer,
        "beside_seconds": theirs,
        "ratio": times,
    }));
    Ok(format!(
        "{} forward and {backward} backward over the bare encoder's {} and {}; encoder and objective take {times:.2} times as long as with `{peer}`",
        count(forward, "kernel"),
        without[0],
        without[1]
    ))
}
