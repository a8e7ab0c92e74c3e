//! Adagrad: steps divided by the root of the sum of all squared gradients so far.
//!
//! Owns: the update of one parameter and the numbers of a step. Must not know: schedules, clipping,
//! which parameters decay.
//!
//! Source: Duchi, Hazan and Singer 2011, "Adaptive subgradient methods for online learning and
//! stochastic optimization" (the diagonal form). Term for term `torch.optim.Adagrad`:
//!
//! ```text
//! g <- g + wd p
//! s <- s + g^2
//! p <- p - lr / (1 + (t - 1) lr_decay) * g / (sqrt(s) + eps)
//! ```

use ablate_sdk::{check, GraphBuilder, Optimizer, Parameter, Result, Slot, Updated};
use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `adagrad`; the defaults are PyTorch's.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Step size before the schedule.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
    /// How fast the step size falls with the steps, beside the schedule.
    #[schemars(range(min = 0.0))]
    pub learning_rate_decay: f64,
    /// Factor of the L2 penalty, added to the gradient times the parameter; not for biases and layer
    /// norms.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// What the sum of squares starts as.
    #[schemars(range(min = 0.0))]
    pub initial_accumulator_value: f64,
    /// Added to the root of the sum.
    #[schemars(range(min = 0.0))]
    pub eps: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            learning_rate: 1e-2,
            learning_rate_decay: 0.0,
            weight_decay: 0.0,
            initial_accumulator_value: 0.0,
            eps: 1e-10,
        }
    }
}

/// The optimizer.
pub struct Adagrad(Config);

impl Optimizer for Adagrad {
    const NAME: &'static str = "adagrad";
    const DESCRIPTION: &'static str = "Steps divided by the root of all squared gradients so far.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        check::positive("learning_rate", config.learning_rate)?;
        for (key, value) in [
            ("learning_rate_decay", config.learning_rate_decay),
            ("weight_decay", config.weight_decay),
            (
                "initial_accumulator_value",
                config.initial_accumulator_value,
            ),
            ("eps", config.eps),
        ] {
            check::not_negative(key, value)?;
        }
        Ok(Adagrad(config))
    }

    fn base_learning_rate(&self) -> f64 {
        self.0.learning_rate
    }

    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        vec![Slot {
            initial: self.0.initial_accumulator_value,
            ..Slot::zeros("sum", shape)
        }]
    }

    fn scalar_names(&self) -> Vec<&'static str> {
        vec!["step_size"]
    }

    fn scalars(&self, step: u64, learning_rate: f64) -> Result<Vec<f64>> {
        let before = step.saturating_sub(1) as f64;
        Ok(vec![
            learning_rate / (1.0 + before * self.0.learning_rate_decay),
        ])
    }

    fn update<'g>(&self, g: &GraphBuilder<'g>, p: &Parameter<'_, 'g>) -> Result<Updated<'g>> {
        let ([sum], [step_size]) = p.parts()?;
        let gradient = p.gradient_with_l2(g, self.0.weight_decay)?;
        let sum = g.add(sum, g.square(gradient)?)?;
        let root = g.add_scalar(g.sqrt(sum)?, self.0.eps)?;
        let direction = g.div(gradient, root)?;
        Ok(Updated {
            parameter: g.sub(p.parameter, g.mul(direction, step_size)?)?,
            slots: vec![sum],
        })
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Adagrad, as torch.optim.Adagrad.",
        optimizers: [Adagrad],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_size_falls_with_the_steps() {
        let adagrad = Adagrad::new(Config {
            learning_rate_decay: 0.5,
            ..Config::default()
        })
        .ok()
        .unwrap();
        assert_eq!(adagrad.scalars(1, 0.3).unwrap(), [0.3]);
        assert_eq!(adagrad.scalars(3, 0.3).unwrap(), [0.15]);
    }

    #[test]
    fn impossible_values_are_refused_by_key() {
        let config = Config {
            initial_accumulator_value: -1.0,
            ..Config::default()
        };
        let text = Adagrad::new(config).err().map(|e| e.to_string());
        assert!(text.is_some_and(|t| t.contains("initial_accumulator_value")));
    }
}
