//! A trial, or the data, in a process of its own: the parent's side.
//!
//! Owns what becomes of a trial whose process dies. Must not know how a trial is run.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ablate_datasets::curate::OperatorReport;
use ablate_recipe::{Arm, Recipe};
use ablate_train::MetricsRow;
use ablate_validator::process::{Errors, Limits, Program, Worker};

use crate::data::CorpusFacts;
use crate::error::{ExperimentError, LastSeen, Result};
use crate::events::{Event, Progress};
use crate::plugins::Plugins;
use crate::store::TrialStore;
use crate::trial::{fingerprint, TrialEnd};
use crate::wire::{self, Message, Order, TrialOrder, INTERRUPT};
use crate::worker::WORK;

/// How often the interrupt flag is looked at while the child says nothing.
const SLICE: Duration = Duration::from_millis(100);

/// What is the same for all processes of a run.
pub(crate) struct Office<'a> {
    pub program: &'a Program,
    pub plugins: &'a Plugins,
    pub baseline: &'a Recipe,
    /// The lock of the run, which the child holds along with this process: should this one be killed, nobody
    /// else begins in the folder before the child has saved itself.
    pub lock: &'a File,
}

impl Office<'_> {
    fn start(&self, trial: Option<TrialOrder>) -> Result<Worker> {
        let order = Order {
            plugins: self.plugins.paths().to_vec(),
            files: self.plugins.files(),
            baseline: wire::write(self.baseline)?,
            trial,
        };
        let mut worker = Worker::start(
            self.program,
            WORK,
            Limits::NONE,
            Errors::Shown,
            Some(self.lock),
        )
        .map_err(|source| ExperimentError::Start { source })?;
        worker.send(&order);
        Ok(worker)
    }
}

/// Prepares the baseline's data in a process of its own, for what is to be known of it; a trial does so again.
///
/// # Errors
/// What is wrong with the data, or the process's end.
pub(crate) fn data(
    office: &Office<'_>,
    because: &str,
    progress: &mut dyn Progress,
) -> Result<(CorpusFacts, Vec<OperatorReport>)> {
    let mut worker = office.start(None)?;
    loop {
        let message = worker
            .receive()
            .map_err(|death| ExperimentError::DataDied {
                death: death.to_string(),
                because: because.to_owned(),
            })?;
        match message {
            Message::Data { facts, curation } => {
                let facts = serde_yaml::from_str(&facts).map_err(|e| {
                    ExperimentError::Recipe(format!(
                        "the facts about the corpus are unreadable: {e}"
                    ))
                })?;
                return Ok((facts, curation));
            }
            Message::Failed { message, disk } => {
                return Err(ExperimentError::Elsewhere { message, disk })
            }
            Message::Working(what) => progress.event(Event::Working(&what)),
            _ => {}
        }
    }
}

/// A trial for another process.
pub(crate) struct Isolated<'a> {
    pub arm: &'a Arm,
    pub seed: u64,
    pub number: usize,
    pub trials: usize,
    pub threads: usize,
    pub store: &'a TrialStore,
    /// The plugins that are the reason, in words.
    pub because: &'a str,
}

/// Runs a trial in a process of its own.
///
/// # Errors
/// What ended the trial: an error of its own, or its process's end.
pub(crate) fn run(
    office: &Office<'_>,
    trial: &Isolated<'_>,
    progress: &mut dyn Progress,
    interrupt: &AtomicBool,
) -> Result<TrialEnd> {
    let mut worker = office.start(Some(TrialOrder {
        name: trial.arm.name.clone(),
        data: trial.arm.data.clone(),
        model: trial.arm.model.clone(),
        recipe: wire::write(&trial.arm.recipe)?,
        fingerprint: fingerprint(&trial.arm.recipe, office.baseline),
        seed: trial.seed,
        number: trial.number,
        trials: trial.trials,
        threads: trial.threads,
        folder: trial.store.root().to_owned(),
    }))?;
    let mut last = LastSeen::default();
    let mut told = false;
    loop {
        if !told && interrupt.load(Ordering::Relaxed) {
            worker.send(&INTERRUPT.to_owned());
            told = true;
        }
        let message = worker
            .poll::<Message>(SLICE)
            .map_err(|death| ExperimentError::Died {
                last,
                death: death.to_string(),
                because: trial.because.to_owned(),
            })?;
        let Some(message) = message else { continue };
        match message {
            Message::Working(what) => progress.event(Event::Working(&what)),
            Message::Started {
                parameters,
                resumed_at,
                total_steps,
            } => {
                last.parameters = parameters;
                last.steps = resumed_at;
                progress.event(Event::TrialStarted {
                    arm: &trial.arm.name,
                    seed: trial.seed,
                    number: trial.number,
                    trials: trial.trials,
                    parameters,
                    resumed_at,
                    total_steps,
                });
            }
            Message::Step(row) => {
                let row = MetricsRow::from(row);
                last.steps = row.step;
                last.tokens = row.tokens;
                last.seconds = row.seconds;
                progress.event(Event::Step(&row));
            }
            Message::Evaluation(row) => progress.event(Event::Evaluation(&row.into())),
            Message::Checkpoint { step } => progress.event(Event::Checkpoint { step }),
            Message::Warning(text) => progress.event(Event::Warning(&text)),
            Message::Done(result) => return Ok(TrialEnd::Done(result)),
            Message::Interrupted => return Ok(TrialEnd::Interrupted),
            // The answer to another order.
            Message::Data { .. } => {}
            Message::Failed { message, disk } => {
                return Err(ExperimentError::Elsewhere { message, disk })
            }
        }
    }
}
