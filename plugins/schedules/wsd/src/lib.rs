//! `wsd`: warm-up, a stable phase at the base rate, and a decay at the end.
//!
//! Owns the formula. Must not know optimizers. Source: Hu et al. 2024, "MiniCPM", section 4.2; the
//! shapes of the decay as in transformers' `get_wsd_schedule` and in Hägele et al. 2024. Warm-up is
//! `step / warmup_steps`, so that the first step is not spent at rate zero.

use std::f64::consts::PI;

use ablate_sdk::{Error, Result, Schedule};
use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `wsd`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Steps until the base rate is reached.
    pub warmup_steps: u64,
    /// Steps of the decay, the last ones of `total_steps`.
    pub decay_steps: u64,
    /// Step at which the decay ends; as the `max_steps` rule when absent.
    #[schemars(range(min = 1))]
    pub total_steps: u64,
    /// Shape of the decay.
    #[serde(default)]
    pub decay: Decay,
    /// Factor at the end.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub end_factor: f64,
}

/// Shape of the decay, over the part `t` of it that is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// `(1 + cos(pi t)) / 2`
    #[default]
    Cosine,
    /// `1 - t`
    Linear,
    /// `1 - sqrt(t)`
    OneMinusSqrt,
}

/// The schedule.
pub struct Wsd(Config);

impl Schedule for Wsd {
    const NAME: &'static str = "wsd";
    const DESCRIPTION: &'static str =
        "Warm-up, stable at the base rate, decay over the last steps.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        let Config {
            warmup_steps,
            decay_steps,
            total_steps,
            end_factor,
            ..
        } = config;
        if total_steps == 0 {
            return Err(Error::Config("`total_steps` is 0; it is at least 1".into()));
        }
        if warmup_steps.saturating_add(decay_steps) > total_steps {
            return Err(Error::Config(format!(
                "`warmup_steps` and `decay_steps` are {warmup_steps} and {decay_steps}, together more \
                 than the {total_steps} of `total_steps`"
            )));
        }
        if !(0.0..=1.0).contains(&end_factor) {
            return Err(Error::Config(format!(
                "`end_factor` is {end_factor}; it is a number from 0 to 1"
            )));
        }
        Ok(Wsd(config))
    }

    fn factor(&self, step: u64) -> f64 {
        let config = self.0;
        if step <= config.warmup_steps {
            return step as f64 / config.warmup_steps as f64;
        }
        // Steps that are done when this one begins.
        let done = step - 1;
        let stable_until = config.total_steps - config.decay_steps;
        if done < stable_until {
            return 1.0;
        }
        if done >= config.total_steps {
            return config.end_factor;
        }
        let t = (done - stable_until) as f64 / config.decay_steps as f64;
        let falls = match config.decay {
            Decay::Cosine => 0.5 * (1.0 + (PI * t).cos()),
            Decay::Linear => 1.0 - t,
            Decay::OneMinusSqrt => 1.0 - t.sqrt(),
        };
        falls * (1.0 - config.end_factor) + config.end_factor
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "The warm-up, stable, decay schedule.",
        schedules: [Wsd],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_phases() {
        let schedule = Wsd(Config {
            warmup_steps: 2,
            decay_steps: 4,
            total_steps: 10,
            decay: Decay::Linear,
            end_factor: 0.2,
        });
        let steps = [1, 2, 3, 6, 7, 9, 10, 11, 50];
        let expected = [0.5, 1.0, 1.0, 1.0, 1.0, 0.6, 0.4, 0.2, 0.2];
        for (step, expected) in steps.into_iter().zip(expected) {
            let found = schedule.factor(step);
            assert!((found - expected).abs() < 1e-15, "{step}: {found}");
        }
    }
}
