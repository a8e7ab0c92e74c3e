//! AdamW: Adam with weight decay apart from the gradient.
//!
//! Owns: the update of one parameter and the numbers of a step. Must not know: schedules, clipping,
//! which parameters decay.
//!
//! Sources: Kingma and Ba 2015, "Adam: a method for stochastic optimization"; Loshchilov and Hutter
//! 2019, "Decoupled weight decay regularization"; `amsgrad`: Reddi et al. 2018, "On the convergence of
//! Adam and beyond". Term for term `torch.optim.AdamW`:
//!
//! ```text
//! p <- p (1 - lr wd)                          m <- b1 m + (1 - b1) g
//! v <- b2 v + (1 - b2) g^2                    u <- max(u, v) with amsgrad, else v
//! p <- p - lr / (1 - b1^t) * m / (sqrt(u) / sqrt(1 - b2^t) + eps)
//! ```
//!
//! `bias_correction: false` leaves the two corrections out, as the optimizer of Google's BERT did.

use ablate_sdk::{
    bias_correction, check, Error, GraphBuilder, Optimizer, Parameter, Result, Slot, Updated,
};
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
    /// Divide by the root of the largest second moment so far instead of the present one.
    pub amsgrad: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            learning_rate: 1e-3,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.01,
            bias_correction: true,
            amsgrad: false,
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
        check::positive("learning_rate", config.learning_rate)?;
        for beta in config.betas {
            check::decay_rate("betas", beta)?;
        }
        check::not_negative("eps", config.eps)?;
        check::not_negative("weight_decay", config.weight_decay)?;
        Ok(AdamW(config))
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
        vec!["decay_factor", "step_size", "root_correction"]
    }

    fn scalars(&self, step: u64, learning_rate: f64) -> Result<Vec<f64>> {
        let [of_mean, of_square] = if self.0.bias_correction {
            let [beta1, beta2] = self.0.betas;
            [bias_correction(beta1, step)?, bias_correction(beta2, step)?]
        } else {
            [1.0, 1.0]
        };
        Ok(vec![
            1.0 - learning_rate * self.0.weight_decay,
            learning_rate / of_mean,
            1.0 / of_square.sqrt(),
        ])
    }

    fn update<'g>(&self, g: &GraphBuilder<'g>, p: &Parameter<'_, 'g>) -> Result<Updated<'g>> {
        let ([mean, square, largest @ ..], &[decay_factor, step_size, root_correction]) =
            (p.slots, p.scalars)
        else {
            return Err(Error::Other(format!(
                "`adamw` keeps at least 2 slots and 3 scalars, not {} and {}",
                p.slots.len(),
                p.scalars.len()
            )));
        };
        let [beta1, beta2] = self.0.betas;
        let decayed = p.decayed(g, self.0.weight_decay, decay_factor)?;
        let mean = g.moving_average(*mean, p.gradient, beta1)?;
        let square = g.moving_average(*square, g.square(p.gradient)?, beta2)?;
        let mut slots = vec![mean, square];
        let mut second = square;
        if let [largest] = largest {
            second = g.maximum(*largest, square)?;
            slots.push(second);
        }
        let root = g.mul(g.sqrt(second)?, root_correction)?;
        let direction = g.div(mean, g.add_scalar(root, self.0.eps)?)?;
        let parameter = g.sub(decayed, g.mul(direction, step_size)?)?;
        Ok(Updated { parameter, slots })
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
