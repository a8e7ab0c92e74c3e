//! Adam, with the decay of an L2 penalty.
//!
//! Owns: the update of one parameter and the numbers of a step. Must not know: schedules, clipping,
//! which parameters decay.
//!
//! Sources: Kingma and Ba 2015, "Adam: a method for stochastic optimization", algorithm 1; `amsgrad`:
//! Reddi et al. 2018, "On the convergence of Adam and beyond". Term for term `torch.optim.Adam`:
//!
//! ```text
//! g <- g + wd p                               m <- b1 m + (1 - b1) g
//! v <- b2 v + (1 - b2) g^2                    u <- max(u, v) with amsgrad, else v
//! p <- p - lr / (1 - b1^t) * m / (sqrt(u) / sqrt(1 - b2^t) + eps)
//! ```
//!
//! Decay enters the gradient and is scaled with it; `adamw` keeps the two apart.

use ablate_sdk::{
    bias_correction, check, Error, GraphBuilder, Optimizer, Parameter, Result, Slot, Updated,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `adam`; the defaults are PyTorch's.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Step size before the schedule.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
    /// Decay rates of the running means of the gradient and of its square.
    #[schemars(inner(range(min = 0.0, max = 1.0)))]
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    #[schemars(range(min = 0.0))]
    pub eps: f64,
    /// Factor of the L2 penalty, added to the gradient times the parameter; not for biases and layer
    /// norms.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Divide by the root of the largest second moment so far instead of the present one.
    pub amsgrad: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            learning_rate: 1e-3,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.0,
            amsgrad: false,
        }
    }
}

/// The optimizer.
pub struct Adam(Config);

impl Optimizer for Adam {
    const NAME: &'static str = "adam";
    const DESCRIPTION: &'static str = "Adam with coupled weight decay (L2).";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        check::positive("learning_rate", config.learning_rate)?;
        for beta in config.betas {
            check::decay_rate("betas", beta)?;
        }
        check::not_negative("eps", config.eps)?;
        check::not_negative("weight_decay", config.weight_decay)?;
        Ok(Adam(config))
    }

    fn base_learning_rate(&self) -> f64 {
        self.0.learning_rate
    }

    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let mut slots = vec![
            Slot::zeros("exp_avg", shape),
            Slot::zeros("exp_avg_sq", shape),
        ];
        if self.0.amsgrad {
            slots.push(Slot::zeros("max_exp_avg_sq", shape));
        }
        slots
    }

    fn scalar_names(&self) -> Vec<&'static str> {
        vec!["step_size", "root_correction"]
    }

    fn scalars(&self, step: u64, learning_rate: f64) -> Result<Vec<f64>> {
        let [beta1, beta2] = self.0.betas;
        Ok(vec![
            learning_rate / bias_correction(beta1, step)?,
            1.0 / bias_correction(beta2, step)?.sqrt(),
        ])
    }

    fn update<'g>(&self, g: &GraphBuilder<'g>, p: &Parameter<'_, 'g>) -> Result<Updated<'g>> {
        let ([mean, square, largest @ ..], &[step_size, root_correction]) = (p.slots, p.scalars)
        else {
            return Err(Error::Other(format!(
                "`adam` keeps at least 2 slots and 2 scalars, not {} and {}",
                p.slots.len(),
                p.scalars.len()
            )));
        };
        let [beta1, beta2] = self.0.betas;
        let gradient = p.gradient_with_l2(g, self.0.weight_decay)?;
        let mean = g.moving_average(*mean, gradient, beta1)?;
        let square = g.moving_average(*square, g.square(gradient)?, beta2)?;
        let mut slots = vec![mean, square];
        let mut second = square;
        if let [largest] = largest {
            second = g.maximum(*largest, square)?;
            slots.push(second);
        }
        let root = g.mul(g.sqrt(second)?, root_correction)?;
        let direction = g.div(mean, g.add_scalar(root, self.0.eps)?)?;
        let parameter = g.sub(p.parameter, g.mul(direction, step_size)?)?;
        Ok(Updated { parameter, slots })
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Adam, as torch.optim.Adam.",
        optimizers: [Adam],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_values_are_refused_by_key() {
        let refused = |config: Config| Adam::new(config).err().map(|e| e.to_string());
        let mut config = Config::default();
        config.betas[1] = 1.0;
        assert!(refused(config).is_some_and(|t| t.contains("betas")));
        let config = Config {
            eps: -1.0,
            ..Config::default()
        };
        assert!(refused(config).is_some_and(|t| t.contains("eps")));
    }

    #[test]
    fn amsgrad_alone_needs_a_third_slot() {
        let slots = |amsgrad| {
            let config = Config {
                amsgrad,
                ..Config::default()
            };
            Adam::new(config).ok().map(|a| a.slots(&[3]).len())
        };
        assert_eq!((slots(false), slots(true)), (Some(2), Some(3)));
    }
}
