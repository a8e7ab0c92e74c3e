//! `one_cycle`: up from a small rate to the base rate, then down to a far smaller one.
//!
//! Owns the formula. Must not know optimizers. Source: Smith and Topin 2018, "Super-convergence", in
//! the form of `torch.optim.lr_scheduler.OneCycleLR`, whose `max_lr` is the base rate here. Two
//! differences, on purpose: momentum is left alone, and past the last step the rate stays where it is
//! instead of being an error.

use std::f64::consts::PI;

use ablate_sdk::{Error, Result, Schedule};
use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `one_cycle`; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Steps of the cycle; as the `max_steps` rule when absent.
    #[schemars(range(min = 1))]
    pub total_steps: u64,
    /// Part of the cycle in which the rate rises.
    #[serde(default = "third")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub pct_start: f64,
    /// The cycle begins at the base rate over this.
    #[serde(default = "twenty_five")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub div_factor: f64,
    /// The cycle ends at its first rate over this.
    #[serde(default = "ten_thousand")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub final_div_factor: f64,
    /// How the rate goes from one value to the next.
    #[serde(default)]
    pub anneal_strategy: Anneal,
    /// Down to the first rate as slowly as up, and only then to the last.
    #[serde(default)]
    pub three_phase: bool,
}

fn third() -> f64 {
    0.3
}

fn twenty_five() -> f64 {
    25.0
}

fn ten_thousand() -> f64 {
    1e4
}

/// How the rate goes from one value to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Anneal {
    /// Half a cosine.
    #[default]
    Cos,
    /// A straight line.
    Linear,
}

/// The schedule.
pub struct OneCycle {
    anneal: Anneal,
    /// Where each phase ends, counted in steps that are done, and the factors at its ends.
    phases: Vec<(f64, f64, f64)>,
}

impl Schedule for OneCycle {
    const NAME: &'static str = "one_cycle";
    const DESCRIPTION: &'static str =
        "Up to the base rate and down again, once, as PyTorch's OneCycleLR.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        let bad = |key: &str, value: f64, expected: &str| {
            Err(Error::Config(format!(
                "`{key}` is {value}; it is {expected}"
            )))
        };
        if config.total_steps == 0 {
            return bad("total_steps", 0.0, "at least 1");
        }
        if !(0.0..=1.0).contains(&config.pct_start) {
            return bad("pct_start", config.pct_start, "a number from 0 to 1");
        }
        for (key, value) in [
            ("div_factor", config.div_factor),
            ("final_div_factor", config.final_div_factor),
        ] {
            if !(value > 0.0 && value.is_finite()) {
                return bad(key, value, "a number above 0");
            }
        }
        let total = config.total_steps as f64;
        let first = 1.0 / config.div_factor;
        let last = first / config.final_div_factor;
        let up = config.pct_start * total - 1.0;
        let phases = if config.three_phase {
            vec![
                (up, first, 1.0),
                (2.0 * config.pct_start * total - 2.0, 1.0, first),
                (total - 1.0, first, last),
            ]
        } else {
            vec![(up, first, 1.0), (total - 1.0, 1.0, last)]
        };
        Ok(OneCycle {
            anneal: config.anneal_strategy,
            phases,
        })
    }

    fn factor(&self, step: u64) -> f64 {
        let done = (step - 1) as f64;
        let mut begin = 0.0;
        for (i, &(end, from, to)) in self.phases.iter().enumerate() {
            if done <= end || i + 1 == self.phases.len() {
                let length = end - begin;
                // A phase of no length is over at once; so is the cycle past its last step.
                let part = if length > 0.0 {
                    ((done - begin) / length).min(1.0)
                } else {
                    1.0
                };
                return match self.anneal {
                    Anneal::Cos => to + (from - to) / 2.0 * (1.0 + (PI * part).cos()),
                    Anneal::Linear => (to - from) * part + from,
                };
            }
            begin = end;
        }
        1.0
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "The one-cycle schedule.",
        schedules: [OneCycle],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(total_steps: u64) -> Config {
        Config {
            total_steps,
            pct_start: 0.5,
            div_factor: 10.0,
            final_div_factor: 100.0,
            anneal_strategy: Anneal::Linear,
            three_phase: false,
        }
    }

    #[test]
    fn up_down_and_then_still() {
        let schedule = OneCycle::new(config(20)).ok().unwrap();
        // The peak is at step 10, when pct_start * total - 1 = 9 steps are done.
        for (step, expected) in [(1, 0.1), (10, 1.0), (20, 0.001), (21, 0.001), (500, 0.001)] {
            let found = schedule.factor(step);
            assert!((found - expected).abs() < 1e-15, "{step}: {found}");
        }
    }

    #[test]
    fn cycles_too_short_for_a_phase_stay_finite() {
        for total in 1..6 {
            for three_phase in [false, true] {
                let config = Config {
                    three_phase,
                    ..config(total)
                };
                let schedule = OneCycle::new(config).ok().unwrap();
                for step in 1..10 {
                    let factor = schedule.factor(step);
                    assert!((0.0..=1.0).contains(&factor), "{total} {step}: {factor}");
                }
            }
        }
    }
}
