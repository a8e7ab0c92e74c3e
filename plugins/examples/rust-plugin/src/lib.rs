//! Lion, an optimizer found by program search: steps of one size along the sign of an interpolated
//! momentum, with decoupled weight decay.
//!
//! Source: Chen et al. 2023, "Symbolic discovery of optimization algorithms", algorithm 2.

use ablate_sdk::{Error, GraphBuilder, Optimizer, Parameter, Result, Slot, Updated};
use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `lion`; the defaults are the paper's.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Step size before the schedule: three to ten times smaller than AdamW's.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    learning_rate: f64,
    /// Shares of the momentum in the step's direction, and in the momentum itself.
    betas: [f64; 2],
    /// Decoupled decay per unit of learning rate.
    #[schemars(range(min = 0.0))]
    weight_decay: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            learning_rate: 1e-4,
            betas: [0.9, 0.99],
            weight_decay: 0.1,
        }
    }
}

/// The optimizer.
pub struct Lion(Config);

impl Optimizer for Lion {
    const NAME: &'static str = "lion";
    const DESCRIPTION: &'static str = "Steps along the sign of an interpolated momentum.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        if !(config.learning_rate > 0.0 && config.learning_rate.is_finite()) {
            return Err(Error::Config("`learning_rate` is a number above 0".into()));
        }
        Ok(Lion(config))
    }

    fn base_learning_rate(&self) -> f64 {
        self.0.learning_rate
    }

    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        vec![Slot::zeros("exp_avg", shape)]
    }

    fn scalar_names(&self) -> Vec<&'static str> {
        vec!["learning_rate", "decay_factor"]
    }

    fn scalars(&self, _step: u64, learning_rate: f64) -> Result<Vec<f64>> {
        Ok(vec![
            learning_rate,
            1.0 - learning_rate * self.0.weight_decay,
        ])
    }

    fn update<'g>(&self, g: &GraphBuilder<'g>, p: &Parameter<'_, 'g>) -> Result<Updated<'g>> {
        let (&[momentum], &[learning_rate, decay_factor]) = (p.slots, p.scalars) else {
            return Err(Error::Other("`lion` keeps 1 slot and 2 scalars".into()));
        };
        let mix = |beta: f64| {
            g.add(
                g.mul_scalar(momentum, beta)?,
                g.mul_scalar(p.gradient, 1.0 - beta)?,
            )
        };
        let direction = g.sign(mix(self.0.betas[0])?)?;
        let decayed = if p.decays {
            g.mul(p.parameter, decay_factor)?
        } else {
            p.parameter
        };
        Ok(Updated {
            parameter: g.sub(decayed, g.mul(direction, learning_rate)?)?,
            slots: vec![mix(self.0.betas[1])?],
        })
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "The Lion optimizer.",
        optimizers: [Lion],
    };
}
ablate_sdk::export!(PLUGIN);
