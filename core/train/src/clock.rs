//! Time of a trial and of its saves.

use std::time::Instant;

use crate::setup::CheckpointPolicy;

/// Time since the trial began, runs before a resume included, and when the next save is due.
pub(crate) struct Clock {
    start: Instant,
    before: f64,
    saved_at: Instant,
    saved_step: Option<u64>,
}

impl Clock {
    pub fn new(before: f64) -> Self {
        let now = Instant::now();
        Clock {
            start: now,
            before,
            saved_at: now,
            saved_step: None,
        }
    }

    pub fn seconds(&self) -> f64 {
        self.before + self.start.elapsed().as_secs_f64()
    }

    pub fn save_is_due(&mut self, policy: &CheckpointPolicy, step: u64) -> bool {
        let since = *self.saved_step.get_or_insert(step - 1);
        (policy.every_steps > 0 && step - since >= policy.every_steps)
            || self.saved_at.elapsed() >= policy.every
    }

    pub fn saved(&mut self, step: u64) {
        self.saved_at = Instant::now();
        self.saved_step = Some(step);
    }
}
