//! AdamW: Adam with weight decay apart from the gradient.
//!
//! Owns: the update of one parameter and the numbers of a step. Must not know: schedules, clipping,
//! which parameters decay.
//!
//! Sources: Kingma and Ba 2015; Loshchilov and Hutter 2019; term for term `torch.optim.AdamW`:
//! decay first, `p (1 - lr wd)`; then `p - lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)`.

use ablate_sdk::{Error, GraphBuilder, Optimizer, Parameter, Result, Slot, Updated};
use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `adamw`; the defaults are PyTorch's.
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
    /// Decoupled decay per unit of learning rate; not for biases and layer norms.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Whether the running means are corrected for their start at zero (Google's BERT: no).
    pub bias_correction: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            learning_rate: 1e-3,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.01,
            bias_correction: true,
        }
    }
}

/// The optimizer.
pub struct AdamW(Config);

impl Optimizer for AdamW {
    const NAME: &'static str = "adamw";
    const DESCRIPTION: &'static str = "Adam with decoupled weight decay.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        let refuse = |key: &str, value: f64, range: &str| {
            Err(Error::Config(format!("`{key}` is {value}; it is {range}")))
        };
        if !(config.learning_rate > 0.0 && config.learning_rate.is_finite()) {
            return refuse("learning_rate", config.learning_rate, "a number above 0");
        }
        if let Some(beta) = config.betas.into_iter().find(|b| !(0.0..1.0).contains(b)) {
            return refuse("betas", beta, "from 0 up to, but not including, 1");
        }
        for (key, value) in [("eps", config.eps), ("weight_decay", config.weight_decay)] {
            if !(value >= 0.0 && value.is_finite()) {
                return refuse(key, value, "a number from 0 on");
            }
        }
        Ok(AdamW(config))
    }

    fn base_learning_rate(&self) -> f64 {
        self.0.learning_rate
    }

    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        vec![
            Slot::zeros("exp_avg", shape),
            Slot::zeros("exp_avg_sq", shape),
        ]
    }

    fn scalar_names(&self) -> Vec<&'static str> {
        vec!["decay_factor", "step_size", "root_correction"]
    }

    fn scalars(&self, step: u64, learning_rate: f64) -> Result<Vec<f64>> {
        let corrections = if self.0.bias_correction {
            if step == 0 {
                return Err(Error::Other("steps count from 1".into()));
            }
            // Beyond 2^31 steps the corrections are 1 in any precision.
            let t = i32::try_from(step).unwrap_or(i32::MAX);
            self.0.betas.map(|beta| 1.0 - beta.powi(t))
        } else {
            [1.0, 1.0]
        };
        Ok(vec![
            1.0 - learning_rate * self.0.weight_decay,
            learning_rate / corrections[0],
            1.0 / corrections[1].sqrt(),
        ])
    }

    fn update<'g>(&self, g: &GraphBuilder<'g>, p: &Parameter<'_, 'g>) -> Result<Updated<'g>> {
        let (&[mean, square], &[decay_factor, step_size, root_correction]) = (p.slots, p.scalars)
        else {
            return Err(Error::Other(format!(
                "`adamw` keeps 2 slots and 3 scalars, not {} and {}",
                p.slots.len(),
                p.scalars.len()
            )));
        };
        let [beta1, beta2] = self.0.betas;
        let decayed = if p.decays && self.0.weight_decay != 0.0 {
            g.mul(p.parameter, decay_factor)?
        } else {
            p.parameter
        };
        let mean = g.add(
            g.mul_scalar(mean, beta1)?,
            g.mul_scalar(p.gradient, 1.0 - beta1)?,
        )?;
        let new_square = g.mul_scalar(g.square(p.gradient)?, 1.0 - beta2)?;
        let square = g.add(g.mul_scalar(square, beta2)?, new_square)?;
        let root = g.mul(g.sqrt(square)?, root_correction)?;
        let direction = g.div(mean, g.add_scalar(root, self.0.eps)?)?;
        let parameter = g.sub(decayed, g.mul(direction, step_size)?)?;
        Ok(Updated {
            parameter,
            slots: vec![mean, square],
        })
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "AdamW, as torch.optim.AdamW.",
        optimizers: [AdamW],
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
                    learning_rate: 0.0,
                    ..Config::default()
                },
            ),
            (
                "betas",
                Config {
                    betas: [0.9, 1.0],
                    ..Config::default()
                },
            ),
            (
                "eps",
                Config {
                    eps: f64::NAN,
                    ..Config::default()
                },
            ),
            (
                "weight_decay",
                Config {
                    weight_decay: -0.1,
                    ..Config::default()
                },
            ),
        ] {
            let text = AdamW::new(config).err().map(|e| e.to_string());
            assert!(text.is_some_and(|t| t.contains(key)), "{key}");
        }
    }

    #[test]
    fn corrections_are_exact_at_the_first_step_and_vanish_later() {
        let adamw = AdamW::new(Config::default()).unwrap();
        let first = adamw.scalars(1, 0.1).unwrap();
        assert!((first[0] - 0.999).abs() < 1e-15);
        assert!((first[1] - 0.1 / (1.0 - 0.9)).abs() < 1e-15);
        assert!((first[2] - 1.0 / 0.001f64.sqrt()).abs() < 1e-10);
        assert_eq!(adamw.scalars(u64::MAX, 0.1).unwrap()[1..], [0.1, 1.0]);
        let plain = AdamW::new(Config {
            bias_correction: false,
            ..Config::default()
        })
        .unwrap();
        assert_eq!(plain.scalars(1, 0.1).unwrap()[1..], [0.1, 1.0]);
        assert!(adamw.scalars(0, 0.1).is_err());
    }
}
