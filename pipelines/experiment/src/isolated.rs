//! A trial in a process of its own: the parent's side.
//!
//! Owns what becomes of a trial whose process dies. Must not know how a trial is run.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ablate_recipe::{Arm, Recipe};
use ablate_train::MetricsRow;
use ablate_validator::process::{Errors, Limits, Program, Worker};

use crate::error::{ExperimentError, LastSeen, Result};
use crate::events::{Event, Progress};
use crate::store::TrialStore;
use crate::trial::{fingerprint, TrialEnd};
use crate::wire::{Message, Order, INTERRUPT};
use crate::worker::WORK;

/// How often the interrupt flag is looked at while the child says nothing.
const SLICE: Duration = Duration::from_millis(100);

/// A trial for another process.
pub(crate) struct Isolated<'a> {
    pub program: &'a Program,
    pub arm: &'a Arm,
    pub baseline: &'a Recipe,
    pub seed: u64,
    pub number: usize,
    pub trials: usize,
    pub threads: usize,
    pub store: &'a TrialStore,
    /// The lock of the run, which the child holds along with this process: should this one be killed, nobody
    /// else begins in the folder before the child has saved itself.
    pub lock: &'a File,
    /// The plugins that are the reason, in words.
    pub because: &'a str,
}

/// Runs a trial in a process of its own.
///
/// # Errors
/// What ended the trial: an error of its own, or its process's end.
pub(crate) fn run(
    trial: &Isolated<'_>,
    progress: &mut dyn Progress,
    interrupt: &AtomicBool,
) -> Result<TrialEnd> {
    let (recipe, baseline) = Order::recipes(trial.arm, trial.baseline)?;
    let start = |e| ExperimentError::Start { source: e };
    let mut worker = Worker::start(
        trial.program,
        WORK,
        Limits::NONE,
        Errors::Shown,
        Some(trial.lock),
    )
    .map_err(start)?;
    worker.send(&Order {
        name: trial.arm.name.clone(),
        data: trial.arm.data.clone(),
        model: trial.arm.model.clone(),
        recipe,
        baseline,
        fingerprint: fingerprint(&trial.arm.recipe, trial.baseline),
        seed: trial.seed,
        number: trial.number,
        trials: trial.trials,
        threads: trial.threads,
        folder: trial.store.root().to_owned(),
    });
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
            Message::Failed { message, disk } => {
                return Err(ExperimentError::Elsewhere { message, disk })
            }
        }
    }
}
