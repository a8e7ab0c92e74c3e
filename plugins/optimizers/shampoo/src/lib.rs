//! Shampoo: a second-order method that preconditions each side of a matrix by the inverse fourth root
//! of its gradient statistics.
//!
//! Owns: the update of one parameter, the numbers of a step, and which steps renew the roots. Must not
//! know: schedules, clipping, which parameters decay.
//!
//! Sources: Gupta, Koren and Singer 2018, "Shampoo: preconditioned stochastic tensor optimization"
//! (the method, and its diagonal form); Anil et al. 2020, "Scalable second order optimization for deep
//! learning" (decayed statistics, roots by coupled Newton iteration every few steps, a ridge relative
//! to the statistic); Agarwal et al. 2020, "Disentangling adaptive gradient methods from learning
//! rates" (grafting); Shi et al. 2023, "A distributed data-parallel PyTorch implementation of the
//! distributed Shampoo optimizer" (momentum before preconditioning, decoupled decay). For a matrix:
//!
//! ```text
//! L <- b2 L + (1 - b2) g g^T       R <- b2 R + (1 - b2) g^T g       (summed where b2 = 1)
//! every `interval` steps from the first on:
//!     A <- (L' + epsilon |L'| I)^(-1/4)       B <- (R' + epsilon |R'| I)^(-1/4)
//! m <- b1 m + (1 - b1) g           d <- A m' B
//! p <- p (1 - lr wd) - lr |graft| / |d| d
//! ```
//!
//! Dashes are corrections for the start at 0, norms are Frobenius'. With `graft: adam` the length of a
//! step is that of Adam's, so that Adam's learning rates fit; with `sgd` it is that of m'; with `none`
//! it is the method's own, as in Gupta et al. A side longer than `max_preconditioner_dim` keeps the
//! diagonal of its statistic alone, and so does a vector, whose exponent is -1/2: without grafting that
//! is RMSprop's step, or Adagrad's where b2 = 1.
//!
//! Deliberate difference to Anil et al.: the ridge is relative to Frobenius' norm instead of the largest
//! eigenvalue, an upper bound that costs a sum instead of a power iteration.

mod root;
mod side;

use ablate_sdk::{
    bias_correction, check, Error, GraphBuilder, Optimizer, Parameter, Result, Slot, Tensor,
    Updated,
};
use schemars::JsonSchema;
use serde::Deserialize;

use side::{sides, Settings};

/// Stands for a norm of 0 in a quotient.
const TINY: f64 = 1e-30;

/// Configuration of `shampoo`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Step size before the schedule.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
    /// Decay rates of the running means of the gradient and of the statistics; a second one of 1 sums
    /// the statistics, as in Gupta et al.
    #[schemars(inner(range(min = 0.0, max = 1.0)))]
    pub betas: [f64; 2],
    /// Added to the diagonal of a statistic before its root, in units of the statistic's norm. f32
    /// cannot tell less than about 1e-7.
    #[schemars(range(min = 1e-8, max = 1.0))]
    pub epsilon: f64,
    /// Decoupled decay per unit of learning rate; not for biases and layer norms.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Longest side that is preconditioned by a whole matrix; its cube is what a root costs.
    #[schemars(range(min = 1))]
    pub max_preconditioner_dim: u64,
    /// Steps from one renewal of the roots to the next. The statistics take in every gradient.
    #[schemars(range(min = 1))]
    pub interval: u64,
    /// Whose length a step has.
    pub graft: Graft,
    /// Added to the root of Adam's second moment where Adam's length is grafted.
    #[schemars(range(min = 0.0))]
    pub graft_eps: f64,
}

/// Whose length a step has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Graft {
    /// Adam's with the same betas; a second one of 1 counts as 0.999.
    #[default]
    Adam,
    /// That of the momentum itself.
    Sgd,
    /// Its own.
    None,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            learning_rate: 1e-3,
            betas: [0.9, 0.999],
            epsilon: 1e-6,
            weight_decay: 0.0,
            max_preconditioner_dim: 1024,
            interval: 10,
            graft: Graft::Adam,
            graft_eps: 1e-8,
        }
    }
}

/// The optimizer.
pub struct Shampoo(Config);

impl Shampoo {
    fn max_dim(&self) -> usize {
        usize::try_from(self.0.max_preconditioner_dim).unwrap_or(usize::MAX)
    }

    /// Decay rate of Adam's second moment.
    fn graft_beta(&self) -> f64 {
        let beta2 = self.0.betas[1];
        if beta2 < 1.0 {
            beta2
        } else {
            0.999
        }
    }

    /// `direction` with the length of the grafted method's step. `second` is Adam's moment and the
    /// correction of its root.
    fn grafted<'g>(
        &self,
        g: &GraphBuilder<'g>,
        mean: Tensor<'g>,
        second: Option<(Tensor<'g>, Tensor<'g>)>,
        direction: Tensor<'g>,
    ) -> Result<Tensor<'g>> {
        let model = match (self.0.graft, second) {
            (Graft::None, _) => return Ok(direction),
            (Graft::Adam, Some((square, correction))) => {
                let root = g.mul(g.sqrt(square)?, correction)?;
                g.div(mean, g.add_scalar(root, self.0.graft_eps)?)?
            }
            (_, _) => mean,
        };
        let length = g.maximum_scalar(g.norm(direction)?, TINY)?;
        g.mul(direction, g.div(g.norm(model)?, length)?)
    }
}

impl Optimizer for Shampoo {
    const NAME: &'static str = "shampoo";
    const DESCRIPTION: &'static str =
        "Second order: both sides of a matrix preconditioned by inverse roots.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        check::positive("learning_rate", config.learning_rate)?;
        check::decay_rate("betas", config.betas[0])?;
        if config.betas[1] != 1.0 {
            check::decay_rate("betas", config.betas[1])?;
        }
        if !(1e-8..=1.0).contains(&config.epsilon) {
            return Err(Error::Config(format!(
                "`epsilon` is {}; it is from 1e-8 to 1",
                config.epsilon
            )));
        }
        check::not_negative("weight_decay", config.weight_decay)?;
        check::not_negative("graft_eps", config.graft_eps)?;
        check::at_least("max_preconditioner_dim", config.max_preconditioner_dim, 1)?;
        check::at_least("interval", config.interval, 1)?;
        Ok(Shampoo(config))
    }

    fn base_learning_rate(&self) -> f64 {
        self.0.learning_rate
    }

    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let mut slots = vec![Slot::zeros("exp_avg", shape)];
        if self.0.graft == Graft::Adam {
            slots.push(Slot::zeros("exp_avg_sq", shape));
        }
        slots.extend(sides(shape, self.max_dim()).iter().flat_map(|s| s.slots()));
        slots
    }

    /// The first graph renews the roots, the second keeps them.
    fn variants(&self) -> u32 {
        if self.0.interval == 1 {
            1
        } else {
            2
        }
    }

    fn variant(&self, step: u64) -> u32 {
        u32::from(!step.saturating_sub(1).is_multiple_of(self.0.interval))
    }

    fn scalar_names(&self) -> Vec<&'static str> {
        vec![
            "learning_rate",
            "decay_factor",
            "mean_correction",
            "statistic_correction",
            "root_correction",
        ]
    }

    fn scalars(&self, step: u64, learning_rate: f64) -> Result<Vec<f64>> {
        let [beta1, beta2] = self.0.betas;
        let statistic_correction = if beta2 < 1.0 {
            1.0 / bias_correction(beta2, step)?
        } else {
            1.0
        };
        Ok(vec![
            learning_rate,
            1.0 - learning_rate * self.0.weight_decay,
            1.0 / bias_correction(beta1, step)?,
            statistic_correction,
            1.0 / bias_correction(self.graft_beta(), step)?.sqrt(),
        ])
    }

    fn update<'g>(&self, g: &GraphBuilder<'g>, p: &Parameter<'_, 'g>) -> Result<Updated<'g>> {
        let &[learning_rate, decay_factor, mean_correction, correction, root_correction] =
            p.scalars
        else {
            return Err(Error::Other(format!(
                "`shampoo` has 5 scalars, not {}",
                p.scalars.len()
            )));
        };
        let missing = || Error::Other("`shampoo` misses a slot".into());
        let (old_mean, mut old) = p.slots.split_first().ok_or_else(missing)?;
        let mean = g.moving_average(*old_mean, p.gradient, self.0.betas[0])?;
        let mut slots = vec![mean];
        let mut second = None;
        if self.0.graft == Graft::Adam {
            let (square, rest) = old.split_first().ok_or_else(missing)?;
            let square = g.moving_average(*square, g.square(p.gradient)?, self.graft_beta())?;
            slots.push(square);
            second = Some((square, root_correction));
            old = rest;
        }
        let settings = Settings {
            beta2: self.0.betas[1],
            epsilon: self.0.epsilon,
            refresh: p.variant == 0,
            correction,
        };
        let mean = g.mul(mean, mean_correction)?;
        let mut direction = mean;
        for side in sides(&g.shape(p.parameter)?, self.max_dim()) {
            let taken = side.take(g, old, p.gradient, &settings)?;
            direction = side.apply(g, taken.root, direction)?;
            old = old.get(taken.slots.len()..).ok_or_else(missing)?;
            slots.extend(taken.slots);
        }
        let direction = self.grafted(g, mean, second, direction)?;
        let decayed = p.decayed(g, self.0.weight_decay, decay_factor)?;
        Ok(Updated {
            parameter: g.sub(decayed, g.mul(direction, learning_rate)?)?,
            slots,
        })
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Shampoo, a second-order method.",
        optimizers: [Shampoo],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(config: Config) -> Shampoo {
        Shampoo::new(config).ok().unwrap()
    }

    #[test]
    fn roots_are_renewed_at_the_first_step_and_then_at_intervals() {
        let shampoo = made(Config {
            interval: 3,
            ..Config::default()
        });
        let variants: Vec<u32> = (1..=7).map(|step| shampoo.variant(step)).collect();
        assert_eq!(variants, [0, 1, 1, 0, 1, 1, 0]);
        let every = made(Config {
            interval: 1,
            ..Config::default()
        });
        assert_eq!((every.variants(), every.variant(5)), (1, 0));
    }

    #[test]
    fn slots_follow_shape_and_graft() {
        let names = |graft, shape: &[usize]| -> Vec<&str> {
            let shampoo = made(Config {
                graft,
                max_preconditioner_dim: 8,
                ..Config::default()
            });
            shampoo.slots(shape).into_iter().map(|s| s.name).collect()
        };
        assert_eq!(
            names(Graft::Adam, &[4, 9]),
            ["exp_avg", "exp_avg_sq", "left", "left_root", "right"]
        );
        assert_eq!(names(Graft::None, &[4]), ["exp_avg", "left"]);
    }

    #[test]
    fn impossible_values_are_refused_by_key() {
        for (key, config) in [
            (
                "epsilon",
                Config {
                    epsilon: 0.0,
                    ..Config::default()
                },
            ),
            (
                "betas",
                Config {
                    betas: [1.0, 1.0],
                    ..Config::default()
                },
            ),
            (
                "interval",
                Config {
                    interval: 0,
                    ..Config::default()
                },
            ),
        ] {
            let text = Shampoo::new(config).err().map(|e| e.to_string());
            assert!(text.is_some_and(|t| t.contains(key)), "{key}");
        }
    }
}
