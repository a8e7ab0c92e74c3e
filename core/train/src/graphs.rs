//! The three graphs of a trial: gradient, update, evaluation.
//!
//! Owns what each graph reads, assigns and puts out, and the names of states and inputs. Must not know
//! when they run.
//!
//! - The gradient graph runs forward and backward on one micro-batch. Its loss is the sum over the
//!   objectives of `scale/<objective>` times the objective's sum, where the trainer feeds
//!   weight / units of the whole window. So gradients of a window's micro-batches simply add up.
//! - The update graph reads `grad/<parameter>`, clips by the global norm, and lets the optimizer
//!   assign parameters and slots. An optimizer may have several, of which a step runs one.
//! - The evaluation graph is forward only, without dropout.

use std::collections::BTreeMap;

use ablate_bert::{BertConfig, Encoder, Layout, ParameterSpec, Wanted};
use ablate_graph::{Graph, Phase, Tensor};

use crate::batch::Feature;
use crate::error::TrainError;
use crate::objective::{FrozenState, Objective, ObjectiveContext, ObjectiveGraph};
use crate::optimizer::{Optimizer, SlotSpec, UpdateContext};
use crate::window::{input_name, Labelled};

/// Added to the norm before dividing, as `torch.nn.utils.clip_grad_norm_`.
const CLIP_EPS: f32 = 1e-6;

/// The output of the update graphs: the global norm of the gradients before clipping.
pub(crate) const GRADIENT_NORM: &str = "grad_norm";

/// End of the names of inputs that say where the labels of a per-token feature lie.
const POSITIONS: &str = ".positions";

/// What decides the shape of a forward graph.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ForwardShape {
    /// Rows of a micro-batch.
    pub batch: usize,
    /// Tokens a row.
    pub seq: usize,
    /// The grid that the encoder works on.
    pub layout: Layout,
    /// Capacity of the sparse labels of each objective.
    pub capacities: Vec<usize>,
    /// Names of each objective's features and whether they are per token.
    pub features: Vec<BTreeMap<String, bool>>,
}

impl ForwardShape {
    /// The shape that fits a labelled micro-batch.
    pub fn of(batch: &Labelled, capacities: &[usize]) -> Self {
        let features = batch.features.iter().map(|features| {
            let kind = |f: &Feature| matches!(f, Feature::PerToken(_));
            features
                .iter()
                .map(|(name, f)| (name.clone(), kind(f)))
                .collect()
        });
        ForwardShape {
            batch: batch.batch.batch,
            seq: batch.batch.seq,
            layout: match &batch.packing {
                Some(packing) => packing.layout(),
                None => Layout::Padded,
            },
            capacities: capacities.to_vec(),
            features: features.collect(),
        }
    }
}

/// A forward graph with its parts still at hand.
pub struct Forward {
    /// The graph.
    pub graph: Graph,
    /// Every trained parameter, encoder first, then the heads in the order of the objectives.
    pub parameters: Vec<ParameterSpec>,
    /// What each objective built.
    pub objectives: Vec<ObjectiveGraph>,
    /// States that objectives have brought along, to be set before the graph runs.
    pub frozen: Vec<FrozenState>,
}

/// Name of the state that holds a parameter's gradient.
pub fn gradient_name(parameter: &str) -> String {
    format!("grad/{parameter}")
}

/// Name of the state that holds an optimizer slot of a parameter.
pub fn slot_name(slot: &str, parameter: &str) -> String {
    format!("slot/{slot}/{parameter}")
}

/// Name of the scalar input weight / units of an objective.
pub fn scale_name(objective: &str) -> String {
    format!("scale/{objective}")
}

/// Name of a graph output of an objective: `loss_sum` or one of its metrics.
pub fn output_name(objective: &str, part: &str) -> String {
    format!("{objective}/{part}")
}

/// Above this share of a batch's tokens the last layer is made for all: looking some up costs too.
const MOST_WANTED: f64 = 0.75;

/// Of which tokens the last layer is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Choice {
    /// Those that the only per-token feature names.
    positions: bool,
    /// The first of each example.
    first: bool,
}

/// Encoder and objectives on one micro-batch.
///
/// The last layer is made of those tokens alone that are read of it, where objectives look them up by
/// the positions of one feature or take the pooler's output.
///
/// # Errors
/// When the model is impossible or a plugin's graph hook fails.
pub fn forward(
    config: &BertConfig,
    objectives: &mut [Box<dyn Objective>],
    shape: &ForwardShape,
    training: bool,
) -> Result<Forward, TrainError> {
    // What is read is known only when all has been built: so build for what is usual, and look.
    let mut choice = usual(shape);
    loop {
        let (built, read) = attempt(config, objectives, shape, training, choice)?;
        if read == choice {
            return Ok(built);
        }
        // Less than was made is the next choice; for nothing or more, everything is made.
        choice = read.filter(|read| read.positions || read.first);
    }
}

/// The tokens that most recipes read; none for all of them.
fn usual(shape: &ForwardShape) -> Option<Choice> {
    let mut lists = Vec::new();
    for (features, &capacity) in shape.features.iter().zip(&shape.capacities) {
        lists.extend(
            features
                .values()
                .filter(|&&per_token| per_token)
                .map(|_| capacity),
        );
    }
    // A token of two lists would be made twice, with two dropout masks.
    let (positions, listed) = match lists[..] {
        [] => (false, 0),
        [listed] => (true, listed),
        _ => return None,
    };
    let most = MOST_WANTED * (shape.batch * shape.seq) as f64;
    let choice = Choice {
        positions,
        first: true,
    };
    ((listed + shape.batch) as f64 <= most).then_some(choice)
}

/// Builds for a choice of tokens, and tells what is read.
fn attempt(
    config: &BertConfig,
    objectives: &mut [Box<dyn Objective>],
    shape: &ForwardShape,
    training: bool,
    choice: Option<Choice>,
) -> Result<(Forward, Option<Choice>), TrainError> {
    let mut graph = Graph::new();
    let mut inputs = Vec::with_capacity(objectives.len());
    for ((objective, names), &predictions) in objectives
        .iter()
        .zip(&shape.features)
        .zip(&shape.capacities)
    {
        // A batch without a single label still needs a graph; one entry of weight 0 stands for it.
        let predictions = predictions.max(1);
        let name = objective.name();
        let features = feature_inputs(
            &mut graph,
            name,
            names,
            shape,
            predictions,
            config.vocab_size,
        )?;
        inputs.push((predictions, features));
    }
    let wanted = choice.map(|choice| Wanted {
        positions: inputs
            .iter()
            .flat_map(|(_, features)| features)
            .find(|(name, _)| choice.positions && name.ends_with(POSITIONS))
            .map(|(_, positions)| positions.clone()),
        first: choice.first,
    });
    let (batch, seq) = (shape.batch, shape.seq);
    let (size, layout) = ([batch, seq], shape.layout);
    let mut encoder =
        Encoder::build_for(&mut graph, config, size, layout, training, wanted.as_ref())?;
    let mut heads: Vec<ParameterSpec> = Vec::new();
    let mut frozen = Vec::new();
    let mut built = Vec::with_capacity(objectives.len());
    for (objective, (predictions, features)) in objectives.iter_mut().zip(inputs) {
        let name = objective.name().to_owned();
        graph.push_scope(&name);
        let mut cx = ObjectiveContext {
            graph: &mut graph,
            encoder: &mut encoder,
            batch,
            seq,
            predictions,
            training,
            features,
            parameters: Vec::new(),
            heads: heads.clone(),
            frozen: Vec::new(),
        };
        let result = objective.build(&mut cx);
        heads.append(&mut cx.parameters);
        frozen.append(&mut cx.frozen);
        graph.pop_scope();
        built.push(result?);
    }
    let results = |o: &ObjectiveGraph| {
        let metrics = o.metrics.iter().map(|(_, tensor)| tensor.clone());
        [o.loss_sum.clone()]
            .into_iter()
            .chain(metrics)
            .collect::<Vec<_>>()
    };
    let roots: Vec<Tensor> = built.iter().flat_map(results).collect();
    let read = encoder.read(&graph, &roots.iter().collect::<Vec<_>>())?;
    let read = read.map(|read| Choice {
        positions: read.positions.is_some(),
        first: read.first,
    });
    let mut parameters = encoder.parameters().to_vec();
    parameters.append(&mut heads);
    let forward = Forward {
        graph,
        parameters,
        objectives: built,
        frozen,
    };
    Ok((forward, read))
}

fn feature_inputs(
    graph: &mut Graph,
    objective: &str,
    names: &BTreeMap<String, bool>,
    shape: &ForwardShape,
    predictions: usize,
    vocabulary: usize,
) -> Result<BTreeMap<String, Tensor>, TrainError> {
    let mut features = BTreeMap::new();
    for (name, &per_token) in names {
        let length = if per_token { predictions } else { shape.batch };
        let part = |p: &str| format!("{name}.{p}");
        if per_token {
            let key = format!("{name}{POSITIONS}");
            let bound = shape.batch * shape.seq;
            let input = graph.index_input(&input_name(objective, &key), &[length], bound)?;
            features.insert(key, input);
        }
        let key = part("values");
        let label_name = input_name(objective, &key);
        // The classes of a per-sequence label are known to the plugin alone.
        let input = if per_token {
            graph.index_input(&label_name, &[length], vocabulary)?
        } else {
            graph.input(&label_name, &[length])?
        };
        features.insert(key, input);
        let key = part("weights");
        let input = graph.input(&input_name(objective, &key), &[length])?;
        features.insert(key, input);
    }
    Ok(features)
}

impl Forward {
    /// The cumulative loss: sum of `scale/<objective>` (scalar inputs) times each objective's sum.
    ///
    /// # Errors
    /// When a loss is no scalar.
    pub fn weighted_loss(
        &mut self,
        objectives: &[Box<dyn Objective>],
    ) -> Result<Tensor, TrainError> {
        let g = &mut self.graph;
        let mut total: Option<Tensor> = None;
        for (objective, built) in objectives.iter().zip(&self.objectives) {
            let scale = g.input(&scale_name(objective.name()), &[])?;
            let sum = scalar(g, &built.loss_sum)?;
            let part = g.mul(&scale, &sum)?;
            total = Some(match total {
                Some(t) => g.add(&t, &part)?,
                None => part,
            });
        }
        total.ok_or_else(|| TrainError::Setup("a recipe needs at least one objective".to_owned()))
    }

    fn declare_outputs(&mut self, objectives: &[Box<dyn Objective>]) -> Result<(), TrainError> {
        for (objective, built) in objectives.iter().zip(&self.objectives) {
            let name = objective.name();
            let sum = scalar(&mut self.graph, &built.loss_sum)?;
            self.graph.output(&output_name(name, "loss_sum"), &sum)?;
            for (metric, tensor) in &built.metrics {
                let sum = scalar(&mut self.graph, tensor)?;
                self.graph.output(&output_name(name, metric), &sum)?;
            }
        }
        Ok(())
    }

    /// Names of each objective's metrics.
    pub fn metric_names(&self) -> Vec<Vec<String>> {
        self.objectives
            .iter()
            .map(|o| o.metrics.iter().map(|(n, _)| n.clone()).collect())
            .collect()
    }
}

/// A tensor of one element as a scalar of shape `[]`; anything else is an error.
fn scalar(g: &mut Graph, t: &Tensor) -> Result<Tensor, TrainError> {
    if t.rank() == 0 {
        return Ok(t.clone());
    }
    Ok(g.reshape(t, &[])?)
}

/// Forward, backward and `grad/<parameter>` of one micro-batch; `accumulate` adds to what the states
/// hold, otherwise they are overwritten.
///
/// # Errors
/// As [`forward`]; also when a parameter is not reached by the loss, which names it.
pub fn gradient(
    config: &BertConfig,
    objectives: &mut [Box<dyn Objective>],
    shape: &ForwardShape,
    accumulate: bool,
) -> Result<Forward, TrainError> {
    let mut built = forward(config, objectives, shape, true)?;
    let loss = built.weighted_loss(objectives)?;
    built.declare_outputs(objectives)?;
    let g = &mut built.graph;
    let parameters = g.parameters().to_vec();
    let tensors: Vec<Tensor> = parameters.iter().map(|(_, t)| t.clone()).collect();
    let gradients = g.gradients(&loss, &tensors)?;
    for ((name, parameter), gradient) in parameters.iter().zip(&gradients) {
        let state = g.state(&gradient_name(name), &parameter.shape())?;
        let value = if accumulate {
            g.in_phase(Phase::Backward, |g| g.add(&state, gradient))?
        } else {
            gradient.clone()
        };
        g.assign(&state, &value)?;
    }
    Ok(built)
}

/// Forward without dropout; outputs as the gradient graph's.
///
/// # Errors
/// As [`forward`].
pub fn evaluation(
    config: &BertConfig,
    objectives: &mut [Box<dyn Objective>],
    shape: &ForwardShape,
) -> Result<Forward, TrainError> {
    let mut built = forward(config, objectives, shape, false)?;
    built.declare_outputs(objectives)?;
    Ok(built)
}

/// The clipped update of every parameter, and what its slots start as: `(state name, slot)`.
///
/// Clipping multiplies every gradient by min(1, clip / (norm + 1e-6)) with the norm over all
/// gradients together, as PyTorch. The norm before clipping is the output `grad_norm`.
///
/// Of an optimizer with several update graphs this is the first.
///
/// # Errors
/// When the optimizer's graph hook fails.
pub fn update(
    parameters: &[ParameterSpec],
    optimizer: &mut dyn Optimizer,
    clip: Option<f64>,
) -> Result<(Graph, Vec<(String, SlotSpec)>), TrainError> {
    update_variant(parameters, optimizer, clip, 0)
}

/// As [`update`], the update graph with this number.
///
/// # Errors
/// As [`update`].
pub fn update_variant(
    parameters: &[ParameterSpec],
    optimizer: &mut dyn Optimizer,
    clip: Option<f64>,
    variant: u32,
) -> Result<(Graph, Vec<(String, SlotSpec)>), TrainError> {
    let mut graph = Graph::new();
    let built = graph.in_phase(Phase::Update, |g| {
        update_nodes(g, parameters, optimizer, clip, variant)
    });
    Ok((graph, built?))
}

fn update_nodes(
    g: &mut Graph,
    parameters: &[ParameterSpec],
    optimizer: &mut dyn Optimizer,
    clip: Option<f64>,
    variant: u32,
) -> Result<Vec<(String, SlotSpec)>, TrainError> {
    let mut gradients = Vec::with_capacity(parameters.len());
    g.push_scope("grad_norm");
    let mut squares: Option<Tensor> = None;
    for spec in parameters {
        let gradient = g.state(&gradient_name(&spec.name), &spec.shape)?;
        let square = g.square(&gradient)?;
        let axes: Vec<usize> = (0..spec.shape.len()).collect();
        let sum = g.sum(&square, &axes, false)?;
        squares = Some(match squares {
            Some(s) => g.add(&s, &sum)?,
            None => sum,
        });
        gradients.push(gradient);
    }
    let squares =
        squares.ok_or_else(|| TrainError::Setup("the model has no parameters".to_owned()))?;
    let norm = g.sqrt(&squares)?;
    g.output(GRADIENT_NORM, &norm)?;
    let factor = match clip {
        Some(limit) => {
            let below = g.add_scalar(&norm, CLIP_EPS)?;
            let limit = g.scalar(limit as f32);
            let ratio = g.div(&limit, &below)?;
            let one = g.scalar(1.0);
            Some(g.minimum(&one, &ratio)?)
        }
        None => None,
    };
    g.pop_scope();
    let mut scalars = Vec::new();
    for name in optimizer.scalar_names()? {
        scalars.push(g.input(&name, &[])?);
    }
    let mut slots = Vec::new();
    for (spec, gradient) in parameters.iter().zip(gradients) {
        let parameter = g.parameter(&spec.name, &spec.shape)?;
        g.push_scope(&spec.name);
        let gradient = match &factor {
            Some(f) => g.mul(&gradient, f)?,
            None => gradient,
        };
        let mut tensors = Vec::new();
        for slot in optimizer.slots(spec)? {
            let name = slot_name(&slot.name, &spec.name);
            tensors.push(g.state(&name, &slot.shape)?);
            slots.push((name, slot));
        }
        let update = optimizer.update(
            g,
            UpdateContext {
                name: spec.name.clone(),
                role: spec.role,
                parameter: parameter.clone(),
                gradient,
                slots: tensors.clone(),
                scalars: scalars.clone(),
                decays: spec.decays(),
                variant,
            },
        )?;
        if update.slots.len() != tensors.len() {
            return Err(TrainError::Setup(format!(
                "the optimizer `{}` returned {} slots for {}, it declared {}",
                optimizer.name(),
                update.slots.len(),
                spec.name,
                tensors.len()
            )));
        }
        g.assign(&parameter, &update.parameter)?;
        for (state, value) in tensors.iter().zip(&update.slots) {
            // A slot that stays as it is needs no kernel.
            if value.node() != state.node() || value.view() != state.view() {
                g.assign(state, value)?;
            }
        }
        g.pop_scope();
    }
    Ok(slots)
}
