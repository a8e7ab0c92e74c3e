//! Measures the steps of any trial.
//!
//! Owns the clock around a step. Must not know the model, the data or the device.
//!
//! A step is timed from the end of the one before it to its own end, as the trainer reports them, so
//! that fetching, labelling, recording and judging count.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ablate_compiler::{KernelTime, SessionMemory};
use ablate_train::{Ending, Parts, TrainEvent, Trainer, TrainerConfig};

use crate::error::{BenchError, Result};
use crate::memory::peak_rss_bytes;
use crate::profile::{kernel_table, part_table, tree, Tree};

/// How many steps of which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Steps that are not measured; the first compiles and touches all memory.
    pub warmup: usize,
    /// Steps that are timed as a whole.
    pub steps: usize,
    /// Steps after these that are timed kernel by kernel.
    pub profiled: usize,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Numbers in all parameters together.
    pub parameters: u64,
    /// Time of setting up: look at the data, graphs, passes, memory, initial values.
    pub setup_s: f64,
    /// Time of the first step.
    pub first_step_s: f64,
    /// Time of each measured step.
    pub step_s: Vec<f64>,
    /// Time of each profiled step.
    pub profiled_s: Vec<f64>,
    /// Real tokens a step, on average.
    pub tokens: f64,
    /// Floating-point operations of the matrix products a step, on average.
    pub flops: f64,
    /// Loss of the last step: a number far from what it should be means that the steps are no
    /// training.
    pub loss: f64,
    /// Largest resident memory of the process so far, when the system tells.
    pub peak_rss_bytes: Option<u64>,
    /// What of it the device holds.
    pub memory: SessionMemory,
    /// Kernels that ran in the profiled steps.
    pub kernels: Vec<KernelTime>,
}

/// Trains for as many steps as the plan says. The trial's own stopping rules must not end it earlier.
///
/// # Errors
/// When the trial cannot be set up, a step fails, or the trial ends by itself.
pub fn measure(config: TrainerConfig, parts: Parts, plan: Plan) -> Result<Measurement> {
    let start = Instant::now();
    let mut trainer = Trainer::new(config, parts)?;
    let setup_s = start.elapsed().as_secs_f64();

    let mut seen = Seen::default();
    seen.take(&mut trainer, plan.warmup + plan.steps)?;
    let peak_rss_bytes = peak_rss_bytes();
    let mut step_s = std::mem::take(&mut seen.step_s);
    let first_step_s = step_s.first().copied().unwrap_or_default();
    step_s.drain(..plan.warmup.min(step_s.len()));

    let mut kernels = Vec::new();
    if plan.profiled > 0 {
        trainer.set_profiling(true);
        seen.take(&mut trainer, plan.profiled)?;
        trainer.set_profiling(false);
        kernels = trainer.profile();
        kernels.retain(|k| k.calls > 0);
    }
    let all = (plan.warmup + plan.steps + plan.profiled).max(1) as f64;
    Ok(Measurement {
        parameters: trainer.parameter_count(),
        setup_s,
        first_step_s,
        step_s,
        profiled_s: seen.step_s,
        tokens: seen.tokens as f64 / all,
        flops: seen.flops / all,
        loss: seen.loss,
        peak_rss_bytes,
        memory: trainer.memory(),
        kernels,
    })
}

#[derive(Default)]
struct Seen {
    step_s: Vec<f64>,
    tokens: u64,
    flops: f64,
    loss: f64,
}

impl Seen {
    /// Takes `steps` more steps.
    fn take(&mut self, trainer: &mut Trainer, steps: usize) -> Result<()> {
        let enough = AtomicBool::new(steps == 0);
        self.step_s.reserve(steps);
        let mut last = Instant::now();
        let mut left = steps;
        let outcome = trainer.run(
            &mut |event| {
                if let TrainEvent::Step(row) = event {
                    let now = Instant::now();
                    self.step_s.push((now - last).as_secs_f64());
                    last = now;
                    (self.tokens, self.loss) = (row.tokens, row.loss);
                    left = left.saturating_sub(1);
                    enough.store(left == 0, Ordering::Relaxed);
                }
            },
            &enough,
        )?;
        self.flops = outcome.flops;
        let reason = match outcome.ending {
            Ending::Interrupted => return Ok(()),
            Ending::Stopped { by, reason } | Ending::Diverged { by, reason } => {
                format!("{by}: {reason}")
            }
        };
        Err(BenchError::Ended {
            done: outcome.steps,
            wanted: outcome.steps + left as u64,
            reason,
        })
    }
}

impl Measurement {
    /// The mean time of a profiled step: what the kernels' times are held against.
    pub fn profiled_step_s(&self) -> f64 {
        self.profiled_s.iter().sum::<f64>() / self.profiled_s.len().max(1) as f64
    }

    /// The kernels of a step as a table, the longest first.
    pub fn kernel_table(&self) -> String {
        kernel_table(&self.kernels, self.profiled_s.len(), self.profiled_step_s())
    }

    /// Time and memory of a step by part of the model.
    pub fn part_table(&self) -> String {
        part_table(&self.kernels, self.profiled_s.len(), self.profiled_step_s())
    }

    /// The kernels of a step as a tree.
    pub fn tree(&self) -> Tree {
        tree(&self.kernels, self.profiled_s.len(), self.profiled_step_s())
    }
}

/// The median; zero of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
