//! Gradient descent, with momentum.
//!
//! Owns: the update of one parameter and the numbers of a step. Must not know: schedules, clipping,
//! which parameters decay.
//!
//! Sources: Robbins and Monro 1951, "A stochastic approximation method"; Polyak 1964, "Some methods of
//! speeding up the convergence of iteration methods" (momentum); Sutskever et al. 2013, "On the
//! importance of initialization and momentum in deep learning" (the form of Nesterov's). Term for term
//! `torch.optim.SGD`:
//!
//! ```text
//! g <- g + wd p
//! b <- g at the first step, else momentum b + (1 - dampening) g
//! p <- p - lr d            d = g without momentum, b with it, g + momentum b with `nesterov`
//! ```

use ablate_sdk::{check, Error, GraphBuilder, Optimizer, Parameter, Result, Slot, Updated};
use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `sgd`; the defaults are PyTorch's.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Step size before the schedule.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
    /// Share of the last step's momentum that is kept; 0 is plain gradient descent.
    #[schemars(range(min = 0.0))]
    pub momentum: f64,
    /// Nesterov's momentum: look at the gradient after the momentum's step.
    pub nesterov: bool,
    /// Added to the gradient times the parameter; not for biases and layer norms.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Share of the gradient that does not enter the momentum, from the second step on.
    pub dampening: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            learning_rate: 1e-3,
            momentum: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            dampening: 0.0,
        }
    }
}

/// The optimizer.
pub struct Sgd(Config);

impl Optimizer for Sgd {
    const NAME: &'static str = "sgd";
    const DESCRIPTION: &'static str = "Gradient descent, with momentum.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        check::positive("learning_rate", config.learning_rate)?;
        check::not_negative("momentum", config.momentum)?;
        check::not_negative("weight_decay", config.weight_decay)?;
        check::finite("dampening", config.dampening)?;
        if config.nesterov && (config.momentum == 0.0 || config.dampening != 0.0) {
            return Err(Error::Config(
                "`nesterov` needs a `momentum` above 0 and no `dampening`".into(),
            ));
        }
        Ok(Sgd(config))
    }

    fn base_learning_rate(&self) -> f64 {
        self.0.learning_rate
    }

    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        if self.0.momentum == 0.0 {
            Vec::new()
        } else {
            vec![Slot::zeros("momentum_buffer", shape)]
        }
    }

    fn scalar_names(&self) -> Vec<&'static str> {
        vec!["learning_rate", "gradient_share"]
    }

    fn scalars(&self, step: u64, learning_rate: f64) -> Result<Vec<f64>> {
        // PyTorch starts the buffer as the first gradient itself.
        let share = if step <= 1 {
            1.0
        } else {
            1.0 - self.0.dampening
        };
        Ok(vec![learning_rate, share])
    }

    fn update<'g>(&self, g: &GraphBuilder<'g>, p: &Parameter<'_, 'g>) -> Result<Updated<'g>> {
        let &[learning_rate, share] = p.scalars else {
            return Err(Error::Other(format!(
                "`sgd` has 2 scalars, not {}",
                p.scalars.len()
            )));
        };
        let mut direction = p.gradient_with_l2(g, self.0.weight_decay)?;
        let mut slots = Vec::new();
        if let [buffer] = p.slots {
            let taken = g.mul(direction, share)?;
            let buffer = g.add(g.mul_scalar(*buffer, self.0.momentum)?, taken)?;
            direction = if self.0.nesterov {
                g.add(direction, g.mul_scalar(buffer, self.0.momentum)?)?
            } else {
                buffer
            };
            slots.push(buffer);
        }
        let parameter = g.sub(p.parameter, g.mul(direction, learning_rate)?)?;
        Ok(Updated { parameter, slots })
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Gradient descent with momentum, as torch.optim.SGD.",
        optimizers: [Sgd],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_values_are_refused_by_key() {
        for (key, config) in [
            (
                "learning_rate",
                Config {
                    learning_rate: -1.0,
                    ..Config::default()
                },
            ),
            (
                "momentum",
                Config {
                    momentum: f64::NAN,
                    ..Config::default()
                },
            ),
            (
                "nesterov",
                Config {
                    nesterov: true,
                    ..Config::default()
                },
            ),
            (
                "dampening",
                Config {
                    dampening: f64::INFINITY,
                    ..Config::default()
                },
            ),
        ] {
            let text = Sgd::new(config).err().map(|e| e.to_string());
            assert!(text.is_some_and(|t| t.contains(key)), "{key}");
        }
    }

    #[test]
    fn momentum_alone_needs_a_slot() {
        assert!(Sgd::new(Config::default()).unwrap().slots(&[3]).is_empty());
        let sgd = Sgd::new(Config {
            momentum: 0.9,
            ..Config::default()
        })
        .unwrap();
        assert_eq!(sgd.slots(&[3]), [Slot::zeros("momentum_buffer", &[3])]);
    }
}
