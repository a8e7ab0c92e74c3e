//! What an experiment tells while it runs.
//!
//! Owns the events; whoever shows them (the command line) implements [`Progress`]. Must not know how
//! they are shown.

use ablate_train::MetricsRow;

use crate::result::TrialResult;

/// Something happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// The recipe was planned.
    Planned {
        /// Trials of the experiment.
        trials: usize,
        /// Trials among them that an earlier run finished.
        finished: usize,
    },
    /// A longer piece of work begins: reading the corpus, training the tokenizer.
    Working(&'a str),
    /// Data is ready.
    DataReady {
        /// What there is, in one line.
        summary: &'a str,
    },
    /// A trial begins or goes on.
    TrialStarted {
        /// Arm.
        arm: &'a str,
        /// Seed.
        seed: u64,
        /// Number of the trial, from 1.
        number: usize,
        /// Trials of the experiment.
        trials: usize,
        /// Trained parameters.
        parameters: u64,
        /// Steps already done in an earlier run.
        resumed_at: u64,
        /// Steps of the whole trial, where known.
        total_steps: Option<u64>,
    },
    /// A step was recorded.
    Step(&'a MetricsRow),
    /// A held-out split was measured.
    Evaluation(&'a MetricsRow),
    /// The trial was saved.
    Checkpoint {
        /// Steps done.
        step: u64,
    },
    /// A trial is over, whatever its status.
    TrialFinished(&'a TrialResult),
    /// Something to know that stops nothing.
    Warning(&'a str),
}

/// Receives events.
pub trait Progress {
    /// Called in order, from one thread.
    fn event(&mut self, event: Event<'_>);
}

/// Shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&mut self, _: Event<'_>) {}
}
