//! Learning-rate schedules: the factor on the base rate at each step.
//!
//! Owns the formulas. Must not know optimizers. Steps count from 1, as in run records. After warm-up the
//! formulas are those of transformers' `get_linear_schedule_with_warmup` and
//! `get_cosine_schedule_with_warmup`; warm-up itself is `step / warmup_steps` instead of
//! `(step - 1) / warmup_steps`, so that the first step is not spent at rate zero.

use serde::{Deserialize, Serialize};

/// A schedule with everything it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// The base rate throughout.
    Constant,
    /// Linear warm-up, then linear decay that would reach zero one step after `total_steps`.
    WarmupLinear {
        /// Steps of warm-up; 0 = none.
        warmup_steps: u64,
        /// Steps of the whole run.
        total_steps: u64,
    },
    /// Linear warm-up, then half a cosine down to zero.
    WarmupCosine {
        /// Steps of warm-up; 0 = none.
        warmup_steps: u64,
        /// Steps of the whole run.
        total_steps: u64,
    },
}

impl Schedule {
    /// Factor on the base learning rate at `step` (from 1). Past `total_steps` it is 0.
    pub fn factor(&self, step: u64) -> f64 {
        match *self {
            Schedule::Constant => 1.0,
            Schedule::WarmupLinear {
                warmup_steps,
                total_steps,
            } => match progress(step, warmup_steps, total_steps) {
                Phase::Warmup(f) => f,
                Phase::Decay(done) => 1.0 - done,
            },
            Schedule::WarmupCosine {
                warmup_steps,
                total_steps,
            } => match progress(step, warmup_steps, total_steps) {
                Phase::Warmup(f) => f,
                Phase::Decay(done) => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            },
        }
    }

    /// Steps of the whole run, where the schedule depends on them.
    pub fn total_steps(&self) -> Option<u64> {
        match *self {
            Schedule::Constant => None,
            Schedule::WarmupLinear { total_steps, .. }
            | Schedule::WarmupCosine { total_steps, .. } => Some(total_steps),
        }
    }
}

enum Phase {
    Warmup(f64),
    /// Part of the decay that is behind, 0 to 1.
    Decay(f64),
}

fn progress(step: u64, warmup: u64, total: u64) -> Phase {
    if step <= warmup {
        return Phase::Warmup(step as f64 / warmup as f64);
    }
    let done = (step - 1 - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
    Phase::Decay(done.min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn linear_warms_up_holds_and_decays() {
        let s = Schedule::WarmupLinear {
            warmup_steps: 4,
            total_steps: 12,
        };
        close(s.factor(1), 0.25);
        close(s.factor(4), 1.0);
        // transformers' lambda at index 4 is (12 - 4) / (12 - 4).
        close(s.factor(5), 1.0);
        close(s.factor(6), 7.0 / 8.0);
        close(s.factor(12), 1.0 / 8.0);
        close(s.factor(13), 0.0);
        close(s.factor(99), 0.0);
    }

    #[test]
    fn cosine_is_half_way_down_in_the_middle() {
        let s = Schedule::WarmupCosine {
            warmup_steps: 2,
            total_steps: 10,
        };
        close(s.factor(2), 1.0);
        close(s.factor(3), 1.0);
        close(s.factor(7), 0.5);
        close(s.factor(11), 0.0);
    }

    #[test]
    fn no_warm_up_starts_at_the_base_rate() {
        let s = Schedule::WarmupLinear {
            warmup_steps: 0,
            total_steps: 5,
        };
        close(s.factor(1), 1.0);
        close(Schedule::Constant.factor(1_000_000), 1.0);
    }

    #[test]
    fn all_warm_up_does_not_divide_by_zero() {
        let s = Schedule::WarmupLinear {
            warmup_steps: 5,
            total_steps: 5,
        };
        close(s.factor(5), 1.0);
        close(s.factor(6), 1.0);
        close(s.factor(7), 0.0);
    }
}
