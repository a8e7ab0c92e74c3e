//! The compiled programs of a trial in its one session.
//!
//! Owns which graph is compiled for which shape, and how a program is fed and read. Must not know the
//! order of training.

use std::collections::HashSet;

use ablate_bert::{BertConfig, ParameterSpec};
use ablate_compiler::{Kept, KernelTime, ProgramId, Session, SessionMemory};
use ablate_graph::RandomKey;

use crate::error::TrainError;
use crate::graphs::{self, ForwardShape};
use crate::objective::Objective;
use crate::optimizer::{Optimizer, SlotSpec};
use crate::prefetch::Ready;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// Gradients of the first micro-batch overwrite.
    First,
    /// Gradients of the others add.
    Accumulate,
    /// Forward only.
    Evaluate,
}

struct Compiled {
    id: ProgramId,
    parameters: Vec<ParameterSpec>,
    /// Outputs: of each objective its loss, then its metrics.
    outputs: Vec<String>,
    /// Names of each objective's metrics.
    metrics: Vec<Vec<String>>,
}

/// A micro-batch whose losses are not read yet.
pub(crate) struct Queued {
    compiled: usize,
    kept: Kept,
    /// Floating-point operations.
    pub flops: f64,
}

/// An update whose gradient norm is not read yet.
pub(crate) struct QueuedUpdate {
    kept: Kept,
    /// Floating-point operations.
    pub flops: f64,
}

/// Sums over micro-batches: for each objective the loss and its metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sums {
    pub loss: Vec<f64>,
    pub metrics: Vec<Vec<(String, f64)>>,
    pub units: Vec<f64>,
}

/// Weighted loss and the values of a row out of sums.
pub(crate) fn divide(
    sums: &Sums,
    names: &[String],
    weights: &[f64],
    with_metrics: bool,
) -> (f64, Vec<(String, f64)>) {
    let mut total = 0.0;
    let mut values = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let units = sums.units.get(i).copied().unwrap_or(0.0);
        let mean = |sum: f64| if units > 0.0 { sum / units } else { 0.0 };
        let loss = mean(sums.loss.get(i).copied().unwrap_or(0.0));
        total += weights[i] * loss;
        values.push((format!("{name}_loss"), loss));
        if with_metrics {
            for (metric, sum) in sums.metrics.get(i).into_iter().flatten() {
                values.push((format!("{name}_{metric}"), mean(*sum)));
            }
        }
    }
    (total, values)
}

pub(crate) struct Programs {
    session: Box<dyn Session>,
    config: BertConfig,
    names: Vec<String>,
    /// A handful, so that looking through them costs less than making a key.
    forward: Vec<((Mode, ForwardShape), Compiled)>,
    /// The optimizer's update graphs, by number.
    updates: Vec<ProgramId>,
    /// Names of the states that objectives have brought along and that are set.
    frozen: HashSet<String>,
}

impl Programs {
    pub fn new(session: Box<dyn Session>, config: BertConfig, names: Vec<String>) -> Self {
        Programs {
            session,
            config,
            names,
            forward: Vec::new(),
            updates: Vec::new(),
            frozen: HashSet::new(),
        }
    }

    pub fn session(&mut self) -> &mut dyn Session {
        &mut *self.session
    }

    /// What the kernels of the programs of a training step cost, gradient first.
    pub fn profile(&self) -> Vec<KernelTime> {
        let training = self.forward.iter().filter(|(k, _)| k.0 != Mode::Evaluate);
        let mut ids: Vec<ProgramId> = training.map(|(_, c)| c.id).collect();
        ids.sort_unstable();
        ids.extend(&self.updates);
        ids.into_iter()
            .flat_map(|id| self.session.profile(id))
            .collect()
    }

    pub fn memory(&self) -> SessionMemory {
        self.session.memory()
    }

    pub fn state(&self, name: &str) -> Result<Vec<f32>, TrainError> {
        Ok(self.session.state(name)?)
    }

    /// Index of the program for a shape, compiled on first use.
    fn compiled(
        &mut self,
        objectives: &mut [Box<dyn Objective>],
        mode: Mode,
        shape: &ForwardShape,
    ) -> Result<usize, TrainError> {
        let same = |((m, s), _): &((Mode, ForwardShape), Compiled)| *m == mode && s == shape;
        if let Some(found) = self.forward.iter().position(same) {
            return Ok(found);
        }
        tracing::debug!(?mode, batch = shape.batch, seq = shape.seq, layout = ?shape.layout, capacities = ?shape.capacities, "compiling");
        let built = match mode {
            Mode::First => graphs::gradient(&self.config, objectives, shape, false)?,
            Mode::Accumulate => graphs::gradient(&self.config, objectives, shape, true)?,
            Mode::Evaluate => graphs::evaluation(&self.config, objectives, shape)?,
        };
        let metrics = built.metric_names();
        let mut outputs = Vec::new();
        for (name, metrics) in self.names.iter().zip(&metrics) {
            outputs.push(graphs::output_name(name, "loss_sum"));
            outputs.extend(metrics.iter().map(|m| graphs::output_name(name, m)));
        }
        let compiled = Compiled {
            outputs,
            metrics,
            parameters: built.parameters,
            id: self.session.load(built.graph)?,
        };
        for state in built.frozen {
            // Every graph brings its own; the values are the same.
            if self.frozen.insert(state.name.clone()) {
                self.session.set_state(&state.name, &state.values)?;
            }
        }
        self.forward.push(((mode, shape.clone()), compiled));
        Ok(self.forward.len() - 1)
    }

    /// Compiles the gradient program for a first micro-batch and says which parameters it trains.
    pub fn parameters(
        &mut self,
        objectives: &mut [Box<dyn Objective>],
        shape: &ForwardShape,
    ) -> Result<Vec<ParameterSpec>, TrainError> {
        let index = self.compiled(objectives, Mode::First, shape)?;
        Ok(self.forward[index].1.parameters.clone())
    }

    /// Compiles the update programs.
    pub fn load_update(
        &mut self,
        parameters: &[ParameterSpec],
        optimizer: &mut dyn Optimizer,
        clip: Option<f64>,
    ) -> Result<Vec<(String, SlotSpec)>, TrainError> {
        let mut all = Vec::new();
        for variant in 0..optimizer.variants().max(1) {
            let (graph, slots) = graphs::update_variant(parameters, optimizer, clip, variant)?;
            self.updates.push(self.session.load(graph)?);
            all = slots;
        }
        Ok(all)
    }

    /// Runs one micro-batch. Its outputs are for [`Programs::add`], so that a device need not be waited for
    /// while there is more for it to do.
    pub fn run(
        &mut self,
        objectives: &mut [Box<dyn Objective>],
        mode: Mode,
        batch: &Ready,
        key: RandomKey,
    ) -> Result<Queued, TrainError> {
        let index = self.compiled(objectives, mode, &batch.shape)?;
        let compiled = &self.forward[index].1;
        self.session.run(compiled.id, &batch.feeds, key)?;
        Ok(Queued {
            compiled: index,
            kept: self.session.keep(compiled.id, &compiled.outputs)?,
            flops: self.session.flops(compiled.id),
        })
    }

    /// Waits for a micro-batch and adds what it put out, and its units by objective, to `sums`.
    pub fn add(
        &mut self,
        queued: Queued,
        units: &[f64],
        sums: &mut Sums,
    ) -> Result<(), TrainError> {
        let compiled = &self.forward[queued.compiled].1;
        let values = self.session.read(queued.kept)?;
        let mut values = scalars(&values, &compiled.outputs)?;
        sums.loss.resize(self.names.len(), 0.0);
        sums.metrics.resize(self.names.len(), Vec::new());
        sums.units.resize(self.names.len(), 0.0);
        for (i, metrics) in compiled.metrics.iter().enumerate() {
            sums.units[i] += units[i];
            sums.loss[i] += values.next().unwrap_or(f64::NAN);
            for (metric, value) in metrics.iter().zip(&mut values) {
                match sums.metrics[i].iter_mut().find(|(m, _)| m == metric) {
                    Some((_, sum)) => *sum += value,
                    None => sums.metrics[i].push((metric.clone(), value)),
                }
            }
        }
        Ok(())
    }

    /// Runs the update. Its gradient norm is for [`Programs::gradient_norm`].
    pub fn run_update(
        &mut self,
        optimizer: &dyn Optimizer,
        step: u64,
        learning_rate: f64,
    ) -> Result<QueuedUpdate, TrainError> {
        let variant = optimizer.variant(step)?;
        let Some(&id) = self.updates.get(variant as usize) else {
            return Err(TrainError::Setup(format!(
                "the optimizer `{}` asks for update graph {variant} at step {step}, but has {}, counted \
                 from 0",
                optimizer.name(),
                self.updates.len()
            )));
        };
        let mut feeds = ablate_graph::Feeds::new();
        let names = optimizer.scalar_names()?;
        let values = optimizer.scalars(step, learning_rate)?;
        if names.len() != values.len() {
            return Err(TrainError::Setup(format!(
                "the optimizer `{}` names {} scalars and gives {} values",
                optimizer.name(),
                names.len(),
                values.len()
            )));
        }
        for (name, value) in names.into_iter().zip(values) {
            feeds.set(name, vec![value as f32]);
        }
        self.session.run(id, &feeds, RandomKey::default())?;
        Ok(QueuedUpdate {
            kept: self.session.keep(id, &[graphs::GRADIENT_NORM.to_owned()])?,
            flops: self.session.flops(id),
        })
    }

    /// Waits for an update, and so for all that was queued before it; the gradient norm before clipping.
    pub fn gradient_norm(&mut self, update: QueuedUpdate) -> Result<f64, TrainError> {
        let values = self.session.read(update.kept)?;
        let mut norm = scalars(&values, &[graphs::GRADIENT_NORM.to_owned()])?;
        Ok(norm.next().unwrap_or(f64::NAN))
    }
}

/// Outputs of one element each.
fn scalars<'a>(
    values: &'a [f32],
    names: &[String],
) -> Result<impl Iterator<Item = f64> + 'a, TrainError> {
    if values.len() != names.len() {
        return Err(TrainError::Setup(format!(
            "the outputs {} have {} elements together, expected one each",
            names.join(", "),
            values.len()
        )));
    }
    Ok(values.iter().map(|v| f64::from(*v)))
}
