//! The loop of one trial.
//!
//! Owns the order of things: window, gradients, update, record, stopping rules, evaluation, checkpoint.
//! Must not know the backend, the plugins or the corpus; it sees them through traits.
//!
//! One iteration is one optimizer step: take the next window of random micro-batches, compute the
//! cumulative loss (the weighted sum of the objectives' means over the window) and its gradient,
//! update the parameters, ask the stopping rules. The window has been prepared by the data thread
//! while the step before ran.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ablate_bert::ParameterSpec;
use ablate_compiler::{KernelTime, SessionMemory};
use ablate_graph::RandomKey;

use crate::checkpoint::{self, Progress, States};
use crate::clock::Clock;
use crate::diagnostics::{self, History, Point, WeightSigns};
use crate::error::TrainError;
use crate::metrics::{MetricsLog, MetricsRow};
use crate::objective::Objective;
use crate::optimizer::{Optimizer, SlotSpec};
use crate::outcome::{Ending, NamedTensor, Outcome, TrainEvent};
use crate::prefetch::{DataParts, Prefetcher};
use crate::programs::{divide, Mode, Programs, Queued, Sums};
use crate::rules::{Rules, Verdict};
use crate::schedule::Schedule;
use crate::setup::{Parts, TrainerConfig};
use crate::stopping::{Event, Split};

/// A trial in progress.
pub struct Trainer {
    config: TrainerConfig,
    programs: Programs,
    objectives: Vec<Box<dyn Objective>>,
    optimizer: Box<dyn Optimizer>,
    schedule: Box<dyn Schedule>,
    rules: Rules,
    data: Prefetcher,
    parameters: Vec<ParameterSpec>,
    slots: Vec<(String, SlotSpec)>,
    names: Vec<String>,
    weights: Vec<f64>,
    progress: Progress,
    resumed: bool,
}

impl Trainer {
    /// Builds and compiles the graphs and sets every state: from the checkpoint when there is one, else
    /// to initial values.
    ///
    /// # Errors
    /// When the parts do not fit together, a graph cannot be built, or the checkpoint is unusable.
    pub fn new(config: TrainerConfig, parts: Parts) -> Result<Self, TrainError> {
        let Parts {
            session,
            mut objectives,
            mut optimizer,
            schedule,
            rules,
            mut source,
        } = parts;
        let names: Vec<String> = objectives.iter().map(|o| o.name().to_owned()).collect();
        for (i, name) in names.iter().enumerate() {
            if names[..i].contains(name) {
                return Err(TrainError::Setup(format!(
                    "the objective `{name}` is listed twice; its metrics would share a name"
                )));
            }
        }
        let weights = objectives.iter().map(|o| o.weight()).collect();
        let hooks = objectives.iter().map(|o| o.duplicate());
        let hooks = hooks.collect::<Result<Vec<_>, _>>()?;
        let saved = match &config.checkpoint.path {
            Some(path) => checkpoint::read(path, &config.fingerprint)?,
            None => None,
        };
        let mut capacities = [Vec::new(), Vec::new()];
        if let Some((progress, _)) = &saved {
            source.restore(&progress.cursor)?;
            capacities = progress.capacities.clone();
        }
        let start = source.cursor();
        let mut data = Prefetcher::start(DataParts {
            source,
            objectives: hooks,
            capacities: capacities.clone(),
            packed: config.packed,
        })?;

        // Features and shapes are known from the data alone, so look at the first window.
        let mut programs = Programs::new(session, config.model.clone(), names.clone());
        let parameters = programs.parameters(&mut objectives, &data.peek()?.batches[0].shape)?;
        let slots = programs.load_update(&parameters, &mut *optimizer, config.clip_norm)?;

        let mut trainer = Trainer {
            progress: Progress {
                step: 0,
                micro_step: 0,
                tokens: 0,
                flops: 0.0,
                seconds: 0.0,
                data_wait_seconds: 0.0,
                learning_rate: 0.0,
                grad_norm: 0.0,
                cursor: start,
                rules: Vec::new(),
                metrics_length: 0,
                capacities,
                history: History::default(),
            },
            config,
            programs,
            objectives,
            optimizer,
            schedule,
            rules: Rules::new(rules),
            data,
            parameters,
            slots,
            names,
            weights,
            resumed: false,
        };
        match saved {
            Some((progress, states)) => trainer.resume(progress, states)?,
            None => trainer.initialise()?,
        }
        Ok(trainer)
    }

    fn initialise(&mut self) -> Result<(), TrainError> {
        for spec in &self.parameters {
            let values = match self.config.initial.get(&spec.name) {
                Some((shape, values)) if *shape == spec.shape => values.clone(),
                Some((shape, _)) => {
                    return Err(TrainError::Initial(format!(
                        "{} has shape {shape:?}, the model needs {:?}",
                        spec.name, spec.shape
                    )))
                }
                None => self
                    .config
                    .model
                    .initial_values(spec, &self.config.init, self.config.seed),
            };
            self.programs.session().set_state(&spec.name, &values)?;
        }
        for (name, slot) in &self.slots {
            let values = vec![slot.initial; slot.shape.iter().product()];
            self.programs.session().set_state(name, &values)?;
        }
        Ok(())
    }

    fn resume(&mut self, progress: Progress, states: States) -> Result<(), TrainError> {
        let wanted = self
            .parameters
            .iter()
            .map(|p| (&p.name, &p.shape))
            .chain(self.slots.iter().map(|(n, s)| (n, &s.shape)));
        for (name, shape) in wanted {
            match states.get(name) {
                Some((found, values)) if found == shape => {
                    self.programs.session().set_state(name, values)?;
                }
                _ => {
                    return Err(TrainError::Setup(format!(
                        "the checkpoint lacks `{name}` {shape:?}; start over with --fresh"
                    )))
                }
            }
        }
        self.rules.load(&progress.rules)?;
        self.resumed = true;
        self.progress = progress;
        Ok(())
    }

    /// The trained parameters.
    pub fn parameters(&self) -> &[ParameterSpec] {
        &self.parameters
    }

    /// Numbers in all parameters together.
    pub fn parameter_count(&self) -> u64 {
        self.parameters.iter().map(|p| p.elements() as u64).sum()
    }

    /// Optimizer steps done; above 0 right after [`Trainer::new`] when it went on from a checkpoint.
    pub fn step(&self) -> u64 {
        self.progress.step
    }

    /// Whether it goes on from a checkpoint.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// The parameters' values now.
    ///
    /// # Errors
    /// When the device fails.
    pub fn tensors(&self) -> Result<Vec<NamedTensor>, TrainError> {
        self.parameters
            .iter()
            .map(|spec| {
                Ok(NamedTensor {
                    name: spec.name.clone(),
                    shape: spec.shape.clone(),
                    values: self.programs.state(&spec.name)?,
                })
            })
            .collect()
    }

    /// Measures each kernel of the steps from now on, or stops; see [`Trainer::profile`].
    pub fn set_profiling(&mut self, on: bool) {
        self.programs.session().set_profiling(on);
    }

    /// The kernels of the programs that training steps run, with the time they took since profiling
    /// was switched on.
    pub fn profile(&self) -> Vec<KernelTime> {
        self.programs.profile()
    }

    /// Memory that the device holds for this trial.
    pub fn memory(&self) -> SessionMemory {
        self.programs.memory()
    }

    /// Trains until a rule holds or `interrupt` becomes true, then measures the held-out splits.
    ///
    /// # Errors
    /// When a plugin, the device, the data or a file fails. The last checkpoint stays usable.
    pub fn run(
        &mut self,
        observer: &mut dyn FnMut(TrainEvent<'_>),
        interrupt: &AtomicBool,
    ) -> Result<Outcome, TrainError> {
        let mut clock = Clock::new(self.progress.seconds);
        let mut log = match &self.config.metrics {
            Some(path) => Some(MetricsLog::open(path, self.progress.metrics_length)?),
            None => None,
        };
        let mut validation: Option<MetricsRow> = None;
        let verdict = loop {
            if interrupt.load(Ordering::Relaxed) {
                self.save(&mut log, &mut clock, observer)?;
                return Ok(self.outcome(Ending::Interrupted, None, None, &clock, Vec::new()));
            }
            let row = self.one_step(&clock)?;
            record(&mut log, &row)?;
            observer(TrainEvent::Step(&row));
            let verdict = self.judge(&row, Split::Train)?;
            if verdict != Verdict::Continue {
                break verdict;
            }
            let due = self
                .config
                .evaluate_every
                .is_some_and(|n| n > 0 && row.step % n == 0);
            if due {
                let row = self.evaluate(Split::Validation, &clock)?;
                if let Some(row) = &row {
                    record(&mut log, row)?;
                    observer(TrainEvent::Evaluation(row));
                    let verdict = self.judge(row, Split::Validation)?;
                    if verdict != Verdict::Continue {
                        validation = Some(row.clone());
                        break verdict;
                    }
                }
            }
            if due || clock.save_is_due(&self.config.checkpoint, row.step) {
                self.save(&mut log, &mut clock, observer)?;
            }
        };
        let ending = match verdict {
            Verdict::Abort { by, diagnosis } => {
                let diagnosis_lines = self.diagnosis()?;
                let ending = Ending::Diverged {
                    by,
                    reason: diagnosis,
                };
                return Ok(self.outcome(ending, None, None, &clock, diagnosis_lines));
            }
            Verdict::Stop { by, reason } => Ending::Stopped { by, reason },
            // The loop breaks only on the other two.
            Verdict::Continue => Ending::Interrupted,
        };
        if validation.is_none() {
            validation = self.evaluate(Split::Validation, &clock)?;
            if let Some(row) = &validation {
                record(&mut log, row)?;
                observer(TrainEvent::Evaluation(row));
            }
        }
        let test = self.evaluate(Split::Test, &clock)?;
        if let Some(row) = &test {
            record(&mut log, row)?;
            observer(TrainEvent::Evaluation(row));
        }
        if let Some(log) = &mut log {
            log.sync()?;
        }
        let diagnosis = self.diagnosis()?;
        Ok(self.outcome(ending, validation, test, &clock, diagnosis))
    }

    /// Gradient and update over the next window.
    fn one_step(&mut self, clock: &Clock) -> Result<MetricsRow, TrainError> {
        let start = Instant::now();
        let mut window = self.data.next()?;
        let waited = start.elapsed().as_secs_f64();
        // All of the step is queued before anything is read, so that a device is waited for once.
        let mut queued = Vec::with_capacity(window.batches.len());
        for (i, batch) in window.batches.iter().enumerate() {
            let mode = if i == 0 {
                Mode::First
            } else {
                Mode::Accumulate
            };
            let key = RandomKey {
                seed: self.config.seed,
                step: self.progress.micro_step,
            };
            let ran = self.programs.run(&mut self.objectives, mode, batch, key)?;
            self.progress.flops += ran.flops;
            self.progress.micro_step += 1;
            queued.push(ran);
        }
        let step = self.progress.step + 1;
        let learning_rate = self.config.learning_rate * self.schedule.factor(step)?;
        let update = self
            .programs
            .run_update(&*self.optimizer, step, learning_rate)?;
        self.progress.flops += update.flops;
        // The last first: then the others are there.
        let grad_norm = self.programs.gradient_norm(update)?;
        let mut sums = Sums::default();
        for (ran, batch) in queued.into_iter().zip(&window.batches) {
            self.programs.add(ran, &batch.units, &mut sums)?;
        }
        let (loss, values) = divide(&sums, &self.names, &self.weights, false);
        self.progress.step = step;
        self.progress.tokens += window.tokens;
        self.progress.data_wait_seconds += waited;
        self.progress.cursor = std::mem::take(&mut window.next);
        let capacities = &window.batches[0].shape.capacities;
        self.progress.capacities[0].clone_from(capacities);
        self.data.recycle(window);
        self.progress.learning_rate = learning_rate;
        self.progress.grad_norm = grad_norm;
        self.progress.history.push(Point {
            step,
            loss,
            grad_norm,
            learning_rate,
        });
        Ok(self.row(None, loss, values, clock))
    }

    fn row(
        &self,
        split: Option<Split>,
        loss: f64,
        values: Vec<(String, f64)>,
        clock: &Clock,
    ) -> MetricsRow {
        MetricsRow {
            step: self.progress.step,
            tokens: self.progress.tokens,
            split,
            loss,
            values,
            learning_rate: self.progress.learning_rate,
            grad_norm: self.progress.grad_norm,
            seconds: clock.seconds(),
            data_seconds: split.is_none().then_some(self.progress.data_wait_seconds),
        }
    }

    /// Measures a held-out split; None when it holds no example.
    fn evaluate(&mut self, split: Split, clock: &Clock) -> Result<Option<MetricsRow>, TrainError> {
        let mut sums = Sums::default();
        // One batch is queued ahead of the one that is read, so that a device always has one to do.
        let mut before: Option<(Queued, Vec<f64>)> = None;
        let batches = self.data.evaluation(split)?;
        while let Some(batch) = batches.next()? {
            let ran = self.programs.run(
                &mut self.objectives,
                Mode::Evaluate,
                &batch,
                RandomKey::default(),
            )?;
            self.progress.capacities[1] = batch.shape.capacities;
            if let Some((ran, units)) = before.replace((ran, batch.units)) {
                self.programs.add(ran, &units, &mut sums)?;
            }
        }
        let Some((ran, units)) = before else {
            return Ok(None);
        };
        self.programs.add(ran, &units, &mut sums)?;
        let (loss, values) = divide(&sums, &self.names, &self.weights, true);
        Ok(Some(self.row(Some(split), loss, values, clock)))
    }

    /// Shows a row to the stopping rules. A training row that is not finite ends the trial even when no
    /// rule minds: every later step would be made of NaN.
    fn judge(&mut self, row: &MetricsRow, split: Split) -> Result<Verdict, TrainError> {
        let mut metrics: Vec<(&str, f64)> = vec![("loss", row.loss)];
        metrics.extend(row.values.iter().map(|(n, v)| (n.as_str(), *v)));
        if split == Split::Train {
            metrics.push(("learning_rate", row.learning_rate));
            metrics.push(("grad_norm", row.grad_norm));
        }
        let event = Event {
            step: row.step,
            tokens: row.tokens,
            flops: self.progress.flops,
            seconds: row.seconds,
            split,
            metrics: &metrics,
        };
        let verdict = self.rules.observe(&event)?;
        if matches!(verdict, Verdict::Abort { .. }) {
            return Ok(verdict);
        }
        let finite = row.loss.is_finite() && (split != Split::Train || row.grad_norm.is_finite());
        if finite {
            return Ok(verdict);
        }
        let what = if row.loss.is_finite() {
            "gradient norm"
        } else {
            "loss"
        };
        Ok(Verdict::Abort {
            by: "diverged".to_owned(),
            diagnosis: format!("the {what} is not a finite number at step {}", row.step),
        })
    }

    fn save(
        &mut self,
        log: &mut Option<MetricsLog>,
        clock: &mut Clock,
        observer: &mut dyn FnMut(TrainEvent<'_>),
    ) -> Result<(), TrainError> {
        let Some(path) = self.config.checkpoint.path.clone() else {
            return Ok(());
        };
        // The rows first: a checkpoint must never know of bytes that the disk does not have.
        self.progress.metrics_length = match log {
            Some(log) => log.sync()?,
            None => 0,
        };
        self.progress.seconds = clock.seconds();
        self.progress.rules = self.rules.save()?;
        let mut states = States::new();
        for tensor in self.tensors()? {
            states.insert(tensor.name, (tensor.shape, tensor.values));
        }
        for (name, slot) in &self.slots {
            let values = self.programs.state(name)?;
            states.insert(name.clone(), (slot.shape.clone(), values));
        }
        checkpoint::write(&path, &self.config.fingerprint, &self.progress, &states)?;
        clock.saved(self.progress.step);
        observer(TrainEvent::Checkpoint {
            step: self.progress.step,
        });
        Ok(())
    }

    fn diagnosis(&self) -> Result<Vec<String>, TrainError> {
        let mut signs = WeightSigns::default();
        for spec in &self.parameters {
            if spec.role == ablate_bert::Role::Weight {
                let values = self.programs.state(&spec.name)?;
                diagnostics::inspect_weight(&mut signs, &spec.name, &spec.shape, &values);
            }
        }
        Ok(diagnostics::diagnose(&self.progress.history, &signs))
    }

    fn outcome(
        &self,
        ending: Ending,
        validation: Option<MetricsRow>,
        test: Option<MetricsRow>,
        clock: &Clock,
        diagnosis: Vec<String>,
    ) -> Outcome {
        Outcome {
            ending,
            steps: self.progress.step,
            tokens: self.progress.tokens,
            flops: self.progress.flops,
            seconds: clock.seconds(),
            data_wait_seconds: self.progress.data_wait_seconds,
            validation,
            test,
            diagnosis,
        }
    }
}

fn record(log: &mut Option<MetricsLog>, row: &MetricsRow) -> Result<(), TrainError> {
    if let Some(log) = log {
        log.append(row)?;
    }
    Ok(())
}
