//! Decay with the inverse square root of the step, without an end.

use ablate_sdk::{Error, Result, Schedule};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::warm_up;

/// Linear warm-up, then the inverse square root of the step.
///
/// Source: Vaswani et al. 2017, equation 3, in the form of transformers'
/// `get_inverse_sqrt_schedule`.
pub struct InverseSqrt(Config);

/// Configuration of `inverse_sqrt`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Steps until the base rate is reached.
    pub warmup_steps: u64,
    /// Steps after which, counted from the base rate, the rate has fallen by `sqrt(2)`; as
    /// `warmup_steps` when absent, or 10000 where that is 0.
    #[serde(default)]
    pub timescale: Option<u64>,
}

impl Config {
    fn timescale(&self) -> u64 {
        self.timescale.unwrap_or(match self.warmup_steps {
            0 => 10_000,
            steps => steps,
        })
    }
}

impl Schedule for InverseSqrt {
    const NAME: &'static str = "inverse_sqrt";
    const DESCRIPTION: &'static str =
        "Linear from 0 to the base rate, then with the inverse square root of the step.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        if config.timescale() == 0 {
            return Err(Error::Config("`timescale` is 0; it is at least 1".into()));
        }
        Ok(InverseSqrt(config))
    }

    fn factor(&self, step: u64) -> f64 {
        warm_up(step, self.0.warmup_steps).unwrap_or_else(|| {
            let timescale = self.0.timescale() as f64;
            let since = (step - 1 - self.0.warmup_steps) as f64;
            1.0 / ((since + timescale) / timescale).sqrt()
        })
    }
}
