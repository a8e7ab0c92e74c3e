//! Schedules that fall from the base rate after warm-up until `total_steps`.

use std::f64::consts::PI;

use ablate_sdk::{Error, Result, Schedule};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{behind, check_factor, check_steps, warm_up};

/// Linear warm-up, then linear decay that would reach zero one step after `total_steps`.
pub struct WarmupLinear(LinearConfig);

/// Configuration of `warmup_linear`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinearConfig {
    /// Steps until the base rate is reached.
    pub warmup_steps: u64,
    /// Step at which the rate is 0; as the `max_steps` rule when absent.
    #[schemars(range(min = 1))]
    pub total_steps: u64,
}

impl Schedule for WarmupLinear {
    const NAME: &'static str = "warmup_linear";
    const DESCRIPTION: &'static str = "Linear from 0 to the base rate, then linear to 0.";
    type Config = LinearConfig;

    fn new(config: LinearConfig) -> Result<Self> {
        check_steps(config.warmup_steps, config.total_steps)?;
        Ok(WarmupLinear(config))
    }

    fn factor(&self, step: u64) -> f64 {
        let LinearConfig {
            warmup_steps,
            total_steps,
        } = self.0;
        warm_up(step, warmup_steps).unwrap_or_else(|| 1.0 - behind(step, warmup_steps, total_steps))
    }
}

/// Linear warm-up, then a cosine.
pub struct WarmupCosine(CosineConfig);

/// Configuration of `warmup_cosine`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CosineConfig {
    /// Steps until the base rate is reached.
    pub warmup_steps: u64,
    /// Step at which the cosine ends; as the `max_steps` rule when absent.
    #[schemars(range(min = 1))]
    pub total_steps: u64,
    /// Waves of the cosine; a half falls once from the base rate to the end.
    #[serde(default = "half")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub cycles: f64,
    /// Factor at the end of a fall.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub end_factor: f64,
}

fn half() -> f64 {
    0.5
}

impl Schedule for WarmupCosine {
    const NAME: &'static str = "warmup_cosine";
    const DESCRIPTION: &'static str = "Linear from 0 to the base rate, then half a cosine to 0.";
    type Config = CosineConfig;

    fn new(config: CosineConfig) -> Result<Self> {
        check_steps(config.warmup_steps, config.total_steps)?;
        check_factor("end_factor", config.end_factor)?;
        if !(config.cycles > 0.0 && config.cycles.is_finite()) {
            return Err(Error::Config(format!(
                "`cycles` is {}; it is a number above 0",
                config.cycles
            )));
        }
        Ok(WarmupCosine(config))
    }

    fn factor(&self, step: u64) -> f64 {
        let config = self.0;
        warm_up(step, config.warmup_steps).unwrap_or_else(|| {
            let done = behind(step, config.warmup_steps, config.total_steps);
            let wave = 0.5 * (1.0 + (PI * (2.0 * config.cycles) * done).cos());
            wave * (1.0 - config.end_factor) + config.end_factor
        })
    }
}

/// Linear warm-up, then a power of what is left.
pub struct Polynomial(PolynomialConfig);

/// Configuration of `polynomial`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolynomialConfig {
    /// Steps until the base rate is reached.
    pub warmup_steps: u64,
    /// Step at which `end_factor` is reached; as the `max_steps` rule when absent.
    #[schemars(range(min = 1))]
    pub total_steps: u64,
    /// Exponent; 1 is linear.
    #[serde(default = "one")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub power: f64,
    /// Factor at the end.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub end_factor: f64,
}

fn one() -> f64 {
    1.0
}

impl Schedule for Polynomial {
    const NAME: &'static str = "polynomial";
    const DESCRIPTION: &'static str =
        "Linear from 0 to the base rate, then a power of the part that is left.";
    type Config = PolynomialConfig;

    fn new(config: PolynomialConfig) -> Result<Self> {
        check_steps(config.warmup_steps, config.total_steps)?;
        check_factor("end_factor", config.end_factor)?;
        if !(config.power > 0.0 && config.power.is_finite()) {
            return Err(Error::Config(format!(
                "`power` is {}; it is a number above 0",
                config.power
            )));
        }
        Ok(Polynomial(config))
    }

    fn factor(&self, step: u64) -> f64 {
        let config = self.0;
        warm_up(step, config.warmup_steps).unwrap_or_else(|| {
            let left = 1.0 - behind(step, config.warmup_steps, config.total_steps);
            (1.0 - config.end_factor) * left.powf(config.power) + config.end_factor
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_warms_up_holds_and_decays() {
        let schedule = WarmupLinear(LinearConfig {
            warmup_steps: 4,
            total_steps: 12,
        });
        // transformers' lambda at index 4, step 5 here, is (12 - 4) / (12 - 4).
        let steps = [1, 4, 5, 6, 12, 13, 99];
        let expected = [0.25, 1.0, 1.0, 7.0 / 8.0, 1.0 / 8.0, 0.0, 0.0];
        assert_eq!(steps.map(|step| schedule.factor(step)), expected);
    }

    #[test]
    fn cosine_is_half_way_down_in_the_middle_and_comes_back_with_a_whole_wave() {
        let mut config = CosineConfig {
            warmup_steps: 2,
            total_steps: 10,
            cycles: 0.5,
            end_factor: 0.0,
        };
        let factors = |config| [2, 3, 7, 11].map(|step| WarmupCosine(config).factor(step));
        for (found, expected) in factors(config).into_iter().zip([1.0, 1.0, 0.5, 0.0]) {
            assert!((found - expected).abs() < 1e-15, "{found} {expected}");
        }
        config.cycles = 1.0;
        config.end_factor = 0.2;
        for (found, expected) in factors(config).into_iter().zip([1.0, 1.0, 0.2, 1.0]) {
            assert!((found - expected).abs() < 1e-15, "{found} {expected}");
        }
    }
}
