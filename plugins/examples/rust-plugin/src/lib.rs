//! Signum: steps of one size along the sign of a momentum, with decoupled weight decay.
//!
//! Source: Bernstein et al. 2018, "signSGD: compressed optimisation for non-convex problems", algorithm
//! 2 (Signum).

use ablate_sdk::{check, GraphBuilder, Optimizer, Parameter, Result, Slot, Updated};
use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `signum`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Step size before the schedule: much smaller than AdamW's.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    learning_rate: f64,
    /// Share of the momentum that is kept.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    momentum: f64,
    /// Decoupled decay per unit of learning rate.
    #[schemars(range(min = 0.0))]
    weight_decay: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            learning_rate: 1e-4,
            momentum: 0.9,
            weight_decay: 0.1,
        }
    }
}

/// The optimizer.
pub struct Signum(Config);

impl Optimizer for Signum {
    const NAME: &'static str = "signum";
    const DESCRIPTION: &'static str = "Steps of one size along the sign of a momentum.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        check::positive("learning_rate", config.learning_rate)?;
        check::decay_rate("momentum", config.momentum)?;
        Ok(Signum(config))
    }

    fn base_learning_rate(&self) -> f64 {
        self.0.learning_rate
    }

    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        vec![Slot::zeros("momentum", shape)]
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
        let ([momentum], [learning_rate, decay_factor]) = p.parts()?;
        let momentum = g.moving_average(momentum, p.gradient, self.0.momentum)?;
        let step = g.mul(g.sign(momentum)?, learning_rate)?;
        let decayed = p.decayed(g, self.0.weight_decay, decay_factor)?;
        Ok(Updated {
            parameter: g.sub(decayed, step)?,
            slots: vec![momentum],
        })
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "The Signum optimizer.",
        optimizers: [Signum],
    };
}
ablate_sdk::export!(PLUGIN);
