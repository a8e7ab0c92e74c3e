//! Schedules with a warm-up: `constant`, `warmup_constant`, `warmup_linear`, `warmup_cosine`,
//! `polynomial` and `inverse_sqrt`.
//!
//! Owns the formulas. Must not know optimizers. Source: transformers' `optimization.py`, function by
//! function. One difference, on purpose: warm-up is `step / warmup_steps` instead of `(step - 1) /
//! warmup_steps`, so that the first step is not spent at rate zero. After warm-up the factors are
//! transformers', whose step 0 is step 1 here.

mod decay;
mod inverse_sqrt;

pub use decay::{Polynomial, WarmupCosine, WarmupLinear};
pub use inverse_sqrt::InverseSqrt;

use ablate_sdk::{Error, Result, Schedule};
use schemars::JsonSchema;
use serde::Deserialize;

/// The base rate throughout.
pub struct Constant;

/// Configuration of `constant`: nothing.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConstantConfig {}

impl Schedule for Constant {
    const NAME: &'static str = "constant";
    const DESCRIPTION: &'static str = "Always the base rate.";
    type Config = ConstantConfig;

    fn new(_config: ConstantConfig) -> Result<Self> {
        Ok(Constant)
    }

    fn factor(&self, _step: u64) -> f64 {
        1.0
    }
}

/// Linear from 0, then the base rate.
pub struct WarmupConstant(WarmupConstantConfig);

/// Configuration of `warmup_constant`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WarmupConstantConfig {
    /// Steps until the base rate is reached.
    pub warmup_steps: u64,
}

impl Schedule for WarmupConstant {
    const NAME: &'static str = "warmup_constant";
    const DESCRIPTION: &'static str = "Linear from 0 to the base rate, then the base rate.";
    type Config = WarmupConstantConfig;

    fn new(config: WarmupConstantConfig) -> Result<Self> {
        Ok(WarmupConstant(config))
    }

    fn factor(&self, step: u64) -> f64 {
        warm_up(step, self.0.warmup_steps).unwrap_or(1.0)
    }
}

/// The factor while `step` is in the warm-up.
fn warm_up(step: u64, warmup: u64) -> Option<f64> {
    (step <= warmup).then(|| step as f64 / warmup as f64)
}

/// Part of the steps after warm-up that is behind at the beginning of `step`, 0 to 1.
fn behind(step: u64, warmup: u64, total: u64) -> f64 {
    let done = (step - 1 - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
    done.min(1.0)
}

fn check_steps(warmup: u64, total: u64) -> Result<()> {
    if total == 0 {
        return Err(Error::Config("`total_steps` is 0; it is at least 1".into()));
    }
    if warmup > total {
        return Err(Error::Config(format!(
            "`warmup_steps` is {warmup}, more than the {total} of `total_steps`"
        )));
    }
    Ok(())
}

fn check_factor(key: &str, value: f64) -> Result<()> {
    if !(0.0..=1.0).contains(&value) {
        return Err(Error::Config(format!(
            "`{key}` is {value}; it is a number from 0 to 1"
        )));
    }
    Ok(())
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Learning-rate schedules with a warm-up.",
        schedules: [Constant, WarmupConstant, WarmupLinear, WarmupCosine, Polynomial, InverseSqrt],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_warm_up_starts_at_the_base_rate() {
        assert_eq!(warm_up(1, 0), None);
        assert_eq!(behind(1, 0, 5), 0.0);
        assert_eq!(
            WarmupConstant(WarmupConstantConfig { warmup_steps: 4 }).factor(1),
            0.25
        );
        assert_eq!(
            WarmupConstant(WarmupConstantConfig { warmup_steps: 4 }).factor(5),
            1.0
        );
    }

    #[test]
    fn all_warm_up_does_not_divide_by_zero() {
        assert_eq!(warm_up(5, 5), Some(1.0));
        assert_eq!([6, 7, 99].map(|step| behind(step, 5, 5)), [0.0, 1.0, 1.0]);
    }
}
