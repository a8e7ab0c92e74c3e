//! The compiled programs of a trial in its one session.
//!
//! Owns which graph is compiled for which shape, and how a program is fed and read. Must not know the
//! order of training.

use std::collections::{HashMap, HashSet};

use ablate_bert::{BertConfig, ParameterSpec};
use ablate_compiler::{KernelTime, ProgramId, Session, SessionMemory};
use ablate_graph::RandomKey;

use crate::error::TrainError;
use crate::graphs::{self, ForwardShape};
use crate::objective::Objective;
use crate::optimizer::{Optimizer, SlotSpec};
use crate::window::{grow, Labelled};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// Gradients of the first micro-batch overwrite.
    First,
    /// Gradients of the others add.
    Accumulate,
    /// Forward only.
    Evaluate,
}

#[derive(Clone)]
struct Compiled {
    id: ProgramId,
    parameters: Vec<ParameterSpec>,
    /// Names of the metrics of each objective.
    metrics: Vec<Vec<String>>,
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
    forward: HashMap<(Mode, ForwardShape), Compiled>,
    /// The optimizer's update graphs, by number.
    updates: Vec<ProgramId>,
    /// Names of the states that objectives have brought along and that are set.
    frozen: HashSet<String>,
    /// Capacities in use: training, evaluation.
    pub capacities: [Vec<usize>; 2],
}

impl Programs {
    pub fn new(session: Box<dyn Session>, config: BertConfig, names: Vec<String>) -> Self {
        Programs {
            session,
            config,
            names,
            forward: HashMap::new(),
            updates: Vec::new(),
            frozen: HashSet::new(),
            capacities: [Vec::new(), Vec::new()],
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

    /// Makes room for these micro-batches, growing the capacities where needed.
    pub fn fit<'a>(&mut self, mode: Mode, batches: impl IntoIterator<Item = &'a Labelled>) {
        let slot = usize::from(mode == Mode::Evaluate);
        for batch in batches {
            let limit = batch.batch.batch * batch.batch.seq;
            self.capacities[slot] = grow(&self.capacities[slot], &batch.predictions(), limit);
        }
    }

    fn compiled(
        &mut self,
        objectives: &mut [Box<dyn Objective>],
        mode: Mode,
        batch: &Labelled,
    ) -> Result<Compiled, TrainError> {
        let slot = usize::from(mode == Mode::Evaluate);
        let key = (mode, ForwardShape::of(batch, &self.capacities[slot]));
        if let Some(found) = self.forward.get(&key) {
            return Ok(found.clone());
        }
        tracing::debug!(?mode, batch = key.1.batch, seq = key.1.seq, layout = ?key.1.layout, capacities = ?key.1.capacities, "compiling");
        let built = match mode {
            Mode::First => graphs::gradient(&self.config, objectives, &key.1, false)?,
            Mode::Accumulate => graphs::gradient(&self.config, objectives, &key.1, true)?,
            Mode::Evaluate => graphs::evaluation(&self.config, objectives, &key.1)?,
        };
        let metrics = built.metric_names();
        let compiled = Compiled {
            parameters: built.parameters,
            metrics,
            id: self.session.load(built.graph)?,
        };
        for state in built.frozen {
            // Every graph brings its own; the values are the same.
            if self.frozen.insert(state.name.clone()) {
                self.session.set_state(&state.name, &state.values)?;
            }
        }
        self.forward.insert(key, compiled.clone());
        Ok(compiled)
    }

    /// Compiles the gradient program for a first micro-batch and says which parameters it trains.
    pub fn parameters(
        &mut self,
        objectives: &mut [Box<dyn Objective>],
        batch: &Labelled,
    ) -> Result<Vec<ParameterSpec>, TrainError> {
        Ok(self.compiled(objectives, Mode::First, batch)?.parameters)
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

    /// Runs one micro-batch and adds what it puts out to `sums`. `scales` are fed to gradient
    /// programs. Returns the floating-point operations.
    pub fn run(
        &mut self,
        objectives: &mut [Box<dyn Objective>],
        mode: Mode,
        batch: &Labelled,
        scales: &[f64],
        key: RandomKey,
        sums: &mut Sums,
    ) -> Result<f64, TrainError> {
        let compiled = self.compiled(objectives, mode, batch)?;
        let slot = usize::from(mode == Mode::Evaluate);
        let mut feeds = batch.feeds(&self.names, &self.capacities[slot]);
        if mode != Mode::Evaluate {
            for (name, &scale) in self.names.iter().zip(scales) {
                feeds.set(graphs::scale_name(name), vec![scale as f32]);
            }
        }
        self.session.run(compiled.id, &feeds, key)?;
        sums.loss.resize(self.names.len(), 0.0);
        sums.metrics.resize(self.names.len(), Vec::new());
        sums.units.resize(self.names.len(), 0.0);
        for (i, name) in self.names.iter().enumerate() {
            sums.units[i] += batch.units[i];
            sums.loss[i] += self.scalar(compiled.id, &graphs::output_name(name, "loss_sum"))?;
            for metric in &compiled.metrics[i] {
                let value = self.scalar(compiled.id, &graphs::output_name(name, metric))?;
                match sums.metrics[i].iter_mut().find(|(m, _)| m == metric) {
                    Some((_, sum)) => *sum += value,
                    None => sums.metrics[i].push((metric.clone(), value)),
                }
            }
        }
        Ok(self.session.flops(compiled.id))
    }

    /// Runs the update; returns the gradient norm and the floating-point operations.
    pub fn run_update(
        &mut self,
        optimizer: &dyn Optimizer,
        step: u64,
        learning_rate: f64,
    ) -> Result<(f64, f64), TrainError> {
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
        Ok((self.scalar(id, "grad_norm")?, self.session.flops(id)))
    }

    fn scalar(&self, program: ProgramId, name: &str) -> Result<f64, TrainError> {
        let values = self.session.output(program, name)?;
        match values {
            [value] => Ok(f64::from(*value)),
            _ => Err(TrainError::Setup(format!(
                "output `{name}` has {} elements, expected 1",
                values.len()
            ))),
        }
    }
}
