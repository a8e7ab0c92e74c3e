//! LAMB: Adam's direction, scaled tensor by tensor to the size of the parameters.
//!
//! Owns: the update of one parameter and the numbers of a step. Must not know: schedules, clipping,
//! which parameters decay.
//!
//! Source: You et al. 2020, "Large batch optimization for deep learning: training BERT in 76 minutes",
//! algorithm 2, with the identity for its function phi:
//!
//! ```text
//! m <- b1 m + (1 - b1) g                       v <- b2 v + (1 - b2) g^2
//! r <- m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + wd p
//! p <- p - lr |p| / |r| r                      |p| / |r| is 1 where either norm is 0
//! ```
//!
//! The norms are those of the whole tensor. The defaults are the paper's, but for the decay of 0.01:
//! that is what the paper trains BERT with, its algorithm has no default. Google's code for BERT scales
//! only tensors that decay, no biases and layer norms: `layer_adaptation: decayed`.

use ablate_sdk::{
    bias_correction, check, GraphBuilder, Optimizer, Parameter, Result, Slot, Tensor, Updated,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Stands for a norm of 0 in a quotient that is then not used.
const TINY: f64 = 1e-30;

/// Configuration of `lamb`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Step size before the schedule, in units of the parameter's own norm.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
    /// Decay rates of the running means of the gradient and of its square.
    #[schemars(inner(range(min = 0.0, max = 1.0)))]
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    #[schemars(range(min = 0.0))]
    pub eps: f64,
    /// Decay, added to the direction before it is scaled; not for biases and layer norms.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Whose steps are scaled to the size of the parameter.
    pub layer_adaptation: LayerAdaptation,
}

/// Whose steps are scaled to the size of the parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LayerAdaptation {
    /// Every parameter's, as in the paper.
    #[default]
    All,
    /// Those that decay: no biases and layer norms, as in Google's code for BERT.
    Decayed,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            learning_rate: 1e-3,
            betas: [0.9, 0.999],
            eps: 1e-6,
            weight_decay: 0.01,
            layer_adaptation: LayerAdaptation::All,
        }
    }
}

/// The optimizer.
pub struct Lamb(Config);

/// `|p| / |r|`, or 1 where either is 0; shape `[]`.
fn trust_ratio<'g>(
    g: &GraphBuilder<'g>,
    parameter: Tensor<'g>,
    direction: Tensor<'g>,
) -> Result<Tensor<'g>> {
    let (of_parameter, of_direction) = (g.norm(parameter)?, g.norm(direction)?);
    let both = g.mul(
        g.greater_scalar(of_parameter, 0.0)?,
        g.greater_scalar(of_direction, 0.0)?,
    )?;
    let ratio = g.div(of_parameter, g.maximum_scalar(of_direction, TINY)?)?;
    g.select(both, ratio, g.scalar(1.0)?)
}

impl Optimizer for Lamb {
    const NAME: &'static str = "lamb";
    const DESCRIPTION: &'static str =
        "Adam scaled to each parameter's own norm, for large batches.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        check::positive("learning_rate", config.learning_rate)?;
        for beta in config.betas {
            check::decay_rate("betas", beta)?;
        }
        check::not_negative("eps", config.eps)?;
        check::not_negative("weight_decay", config.weight_decay)?;
        Ok(Lamb(config))
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
        vec!["learning_rate", "mean_correction", "root_correction"]
    }

    fn scalars(&self, step: u64, learning_rate: f64) -> Result<Vec<f64>> {
        let [beta1, beta2] = self.0.betas;
        Ok(vec![
            learning_rate,
            1.0 / bias_correction(beta1, step)?,
            1.0 / bias_correction(beta2, step)?.sqrt(),
        ])
    }

    fn update<'g>(&self, g: &GraphBuilder<'g>, p: &Parameter<'_, 'g>) -> Result<Updated<'g>> {
        let ([mean, square], [learning_rate, mean_correction, root_correction]) = p.parts()?;
        let [beta1, beta2] = self.0.betas;
        let mean = g.moving_average(mean, p.gradient, beta1)?;
        let square = g.moving_average(square, g.square(p.gradient)?, beta2)?;
        let root = g.add_scalar(g.mul(g.sqrt(square)?, root_correction)?, self.0.eps)?;
        let mut direction = g.div(g.mul(mean, mean_correction)?, root)?;
        if p.decays && self.0.weight_decay != 0.0 {
            direction = g.add(direction, g.mul_scalar(p.parameter, self.0.weight_decay)?)?;
        }
        let mut rate = learning_rate;
        if p.decays || self.0.layer_adaptation == LayerAdaptation::All {
            rate = g.mul(rate, trust_ratio(g, p.parameter, direction)?)?;
        }
        Ok(Updated {
            parameter: g.sub(p.parameter, g.mul(direction, rate)?)?,
            slots: vec![mean, square],
        })
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "LAMB, for large batches.",
        optimizers: [Lamb],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_values_are_refused_by_key() {
        let config = Config {
            weight_decay: f64::NAN,
            ..Config::default()
        };
        let text = Lamb::new(config).err().map(|e| e.to_string());
        assert!(text.is_some_and(|t| t.contains("weight_decay")));
    }
}
