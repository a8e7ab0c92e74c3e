//! Adafactor: Adam's second moment kept as a row and a column, with steps relative to the parameter.
//!
//! Owns: the update of one parameter and the numbers of a step. Must not know: schedules, clipping,
//! which parameters decay.
//!
//! Source: Shazeer and Stern 2018, "Adafactor: adaptive learning rates with sublinear memory cost",
//! algorithms 4 and 5. Term for term `torch.optim.Adafactor`, at step t, for a matrix:
//!
//! ```text
//! b     <- 1 - t^beta2_decay                  rho <- min(lr, 1 / sqrt(t))
//! alpha <- max(eps2, rms(p)) rho              p   <- p (1 - lr wd)
//! R     <- b R + (1 - b) mean of g^2 over columns, [rows, 1]
//! C     <- b C + (1 - b) mean of g^2 over rows, [1, columns]
//! V     <- R C / max(mean of R, eps1)
//! u     <- g / sqrt(max(V, eps1^2))
//! p     <- p - alpha u / max(1, rms(u) / clip_threshold)
//! ```
//!
//! A vector keeps `V <- b V + (1 - b) g^2` whole. As in PyTorch the learning rate is the largest
//! relative step (the paper's constant 0.01), and `eps1` holds V away from 0 where the paper adds it to
//! `g^2`. Three switches beyond PyTorch's follow the paper and `transformers.optimization.Adafactor`:
//! `relative_step: false` takes the learning rate as it is, `scale_parameter: false` leaves the size of
//! the parameter out of alpha, and `beta1` adds a running mean of the updates.

use ablate_sdk::{check, Error, GraphBuilder, Optimizer, Parameter, Result, Slot, Tensor, Updated};
use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `adafactor`; the defaults are PyTorch's.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Largest relative step before the schedule, in units of the parameter's root mean square.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
    /// The second moment's decay rate is `1 - step^beta2_decay`.
    #[schemars(range(max = 0.0))]
    pub beta2_decay: f64,
    /// Least root of the second moment, and least root mean square that a parameter counts as.
    #[schemars(inner(range(min = 0.0)))]
    pub eps: [f64; 2],
    /// Updates with a larger root mean square are scaled down to it.
    #[schemars(range(min = 1.0))]
    pub clip_threshold: f64,
    /// Decoupled decay per unit of learning rate; not for biases and layer norms.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Whether the step falls as `1 / sqrt(step)` once that is below the learning rate.
    pub relative_step: bool,
    /// Whether the step is in units of the parameter's root mean square.
    pub scale_parameter: bool,
    /// Decay rate of a running mean of the updates; null for none.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub beta1: Option<f64>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            learning_rate: 1e-2,
            beta2_decay: -0.8,
            // PyTorch's "none given": the distance of 1 to the next number of f32.
            eps: [f32::EPSILON as f64, 1e-3],
            clip_threshold: 1.0,
            weight_decay: 0.0,
            relative_step: true,
            scale_parameter: true,
            beta1: None,
        }
    }
}

/// The optimizer.
pub struct Adafactor(Config);

impl Adafactor {
    /// The new second moment (as slots) and its estimate in the parameter's shape.
    fn second_moment<'g>(
        &self,
        g: &GraphBuilder<'g>,
        p: &Parameter<'_, 'g>,
        share: Tensor<'g>,
    ) -> Result<(Vec<Tensor<'g>>, Tensor<'g>)> {
        let square = g.square(p.gradient)?;
        let toward = |old, new| g.add(old, g.mul(share, g.sub(new, old)?)?);
        let last = g.shape(p.gradient)?.len().wrapping_sub(1);
        match *p.slots {
            [row, column, ..] if last != 0 => {
                let row = toward(row, g.mean(square, &[last], true)?)?;
                let column = toward(column, g.mean(square, &[last - 1], true)?)?;
                let mean = g.mean(row, &[last - 1], true)?;
                let mean = g.maximum_scalar(mean, self.0.eps[0])?;
                let estimate = g.mul(g.div(row, mean)?, column)?;
                Ok((vec![row, column], estimate))
            }
            [variance, ..] if last == 0 => {
                let variance = toward(variance, square)?;
                Ok((vec![variance], variance))
            }
            _ => Err(Error::Other(format!(
                "`adafactor` misses slots of `{}`: there are {}",
                p.name,
                p.slots.len()
            ))),
        }
    }
}

impl Optimizer for Adafactor {
    const NAME: &'static str = "adafactor";
    const DESCRIPTION: &'static str =
        "Adam with a factored second moment and steps relative to the parameter.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        check::positive("learning_rate", config.learning_rate)?;
        check::finite("beta2_decay", config.beta2_decay)?;
        if config.beta2_decay > 0.0 {
            return Err(Error::Config(format!(
                "`beta2_decay` is {}; it is 0 or less, as -0.8",
                config.beta2_decay
            )));
        }
        for eps in config.eps {
            check::not_negative("eps", eps)?;
        }
        check::finite("clip_threshold", config.clip_threshold)?;
        if config.clip_threshold < 1.0 {
            return Err(Error::Config(format!(
                "`clip_threshold` is {}; it is at least 1",
                config.clip_threshold
            )));
        }
        check::not_negative("weight_decay", config.weight_decay)?;
        if let Some(beta1) = config.beta1 {
            check::decay_rate("beta1", beta1)?;
        }
        Ok(Adafactor(config))
    }

    fn base_learning_rate(&self) -> f64 {
        self.0.learning_rate
    }

    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let mut slots = match shape {
            [leading @ .., rows, columns] => {
                let with = |rows, columns| [leading, &[rows, columns]].concat();
                vec![
                    Slot::zeros("row_var", &with(*rows, 1)),
                    Slot::zeros("col_var", &with(1, *columns)),
                ]
            }
            _ => vec![Slot::zeros("variance", shape)],
        };
        if self.0.beta1.is_some() {
            slots.push(Slot::zeros("exp_avg", shape));
        }
        slots
    }

    fn scalar_names(&self) -> Vec<&'static str> {
        vec!["share", "relative_step", "decay_factor"]
    }

    fn scalars(&self, step: u64, learning_rate: f64) -> Result<Vec<f64>> {
        if step == 0 {
            return Err(Error::Other("steps count from 1".into()));
        }
        let step = step as f64;
        let rate = if self.0.relative_step {
            learning_rate.min(1.0 / step.sqrt())
        } else {
            learning_rate
        };
        Ok(vec![
            step.powf(self.0.beta2_decay),
            rate,
            1.0 - learning_rate * self.0.weight_decay,
        ])
    }

    fn update<'g>(&self, g: &GraphBuilder<'g>, p: &Parameter<'_, 'g>) -> Result<Updated<'g>> {
        let &[share, relative_step, decay_factor] = p.scalars else {
            return Err(Error::Other(format!(
                "`adafactor` has 3 scalars, not {}",
                p.scalars.len()
            )));
        };
        let [eps1, eps2] = self.0.eps;
        let (mut slots, estimate) = self.second_moment(g, p, share)?;
        let root = g.sqrt(g.maximum_scalar(estimate, eps1 * eps1)?)?;
        let direction = g.div(p.gradient, root)?;
        let excess = g.mul_scalar(g.rms(direction)?, 1.0 / self.0.clip_threshold)?;
        let mut rate = g.div(relative_step, g.maximum_scalar(excess, 1.0)?)?;
        if self.0.scale_parameter {
            rate = g.mul(rate, g.maximum_scalar(g.rms(p.parameter)?, eps2)?)?;
        }
        let mut step = g.mul(direction, rate)?;
        if let (Some(beta1), Some(mean)) = (self.0.beta1, p.slots.last()) {
            step = g.moving_average(*mean, step, beta1)?;
            slots.push(step);
        }
        let decayed = p.decayed(g, self.0.weight_decay, decay_factor)?;
        Ok(Updated {
            parameter: g.sub(decayed, step)?,
            slots,
        })
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Adafactor, as torch.optim.Adafactor.",
        optimizers: [Adafactor],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(config: Config) -> Adafactor {
        Adafactor::new(config).ok().unwrap()
    }

    #[test]
    fn a_matrix_keeps_a_row_and_a_column() {
        let adafactor = made(Config {
            beta1: Some(0.9),
            ..Config::default()
        });
        let shapes: Vec<_> = adafactor
            .slots(&[3, 5])
            .into_iter()
            .map(|s| s.shape)
            .collect();
        assert_eq!(shapes, [vec![3, 1], vec![1, 5], vec![3, 5]]);
        assert_eq!(adafactor.slots(&[4])[0], Slot::zeros("variance", &[4]));
    }

    #[test]
    fn the_relative_step_falls_below_the_learning_rate() {
        let adafactor = made(Config::default());
        assert_eq!(adafactor.scalars(1, 0.01).unwrap(), [1.0, 0.01, 1.0]);
        assert_eq!(adafactor.scalars(40_000, 0.01).unwrap()[1], 0.005);
        let plain = made(Config {
            relative_step: false,
            ..Config::default()
        });
        assert_eq!(plain.scalars(40_000, 0.01).unwrap()[1], 0.01);
        assert!(plain.scalars(0, 0.01).is_err());
    }

    #[test]
    fn impossible_values_are_refused_by_key() {
        for (key, config) in [
            (
                "clip_threshold",
                Config {
                    clip_threshold: 0.5,
                    ..Config::default()
                },
            ),
            (
                "beta2_decay",
                Config {
                    beta2_decay: 0.8,
                    ..Config::default()
                },
            ),
            (
                "beta1",
                Config {
                    beta1: Some(1.0),
                    ..Config::default()
                },
            ),
        ] {
            let text = Adafactor::new(config).err().map(|e| e.to_string());
            assert!(text.is_some_and(|t| t.contains(key)), "{key}");
        }
    }
}
