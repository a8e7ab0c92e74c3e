//! Lion: steps of one size along the sign of an interpolated momentum.
//!
//! Owns: the update of one parameter and the numbers of a step. Must not know: schedules, clipping,
//! which parameters decay.
//!
//! Source: Chen et al. 2023, "Symbolic discovery of optimization algorithms", algorithm 2:
//!
//! ```text
//! p <- p (1 - lr wd)
//! p <- p - lr sign(b1 m + (1 - b1) g)
//! m <- b2 m + (1 - b2) g
//! ```
//!
//! The defaults are those of the authors' code (which decays nothing unless told to). The paper
//! advises a learning rate three to ten times smaller than AdamW's, and a decay larger by the same
//! factor.

use ablate_sdk::{check, GraphBuilder, Optimizer, Parameter, Result, Slot, Updated};
use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `lion`; the defaults are those of the authors' code.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Step size before the schedule: three to ten times smaller than AdamW's.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
    /// Shares of the momentum in the step's direction, and in the momentum itself.
    #[schemars(inner(range(min = 0.0, max = 1.0)))]
    pub betas: [f64; 2],
    /// Decoupled decay per unit of learning rate; not for biases and layer norms.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            learning_rate: 1e-4,
            betas: [0.9, 0.99],
            weight_decay: 0.0,
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
        check::positive("learning_rate", config.learning_rate)?;
        for beta in config.betas {
            check::decay_rate("betas", beta)?;
        }
        check::not_negative("weight_decay", config.weight_decay)?;
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
        let ([momentum], [learning_rate, decay_factor]) = p.parts()?;
        let [beta1, beta2] = self.0.betas;
        let decayed = p.decayed(g, self.0.weight_decay, decay_factor)?;
        let direction = g.sign(g.moving_average(momentum, p.gradient, beta1)?)?;
        Ok(Updated {
            parameter: g.sub(decayed, g.mul(direction, learning_rate)?)?,
            slots: vec![g.moving_average(momentum, p.gradient, beta2)?],
        })
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Lion, as optax.lion.",
        optimizers: [Lion],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_values_are_refused_by_key() {
        let config = Config {
            betas: [1.0, 0.9],
            ..Config::default()
        };
        let text = Lion::new(config).err().map(|e| e.to_string());
        assert!(text.is_some_and(|t| t.contains("betas")));
    }
}
