//! RMSprop: steps divided by the root of a running mean of squared gradients.
//!
//! Owns: the update of one parameter and the numbers of a step. Must not know: schedules, clipping,
//! which parameters decay.
//!
//! Sources: Tieleman and Hinton 2012, lecture 6.5 of "Neural networks for machine learning";
//! `centered`: Graves 2013, "Generating sequences with recurrent neural networks". Term for term
//! `torch.optim.RMSprop`:
//!
//! ```text
//! g <- g + wd p
//! s <- alpha s + (1 - alpha) g^2
//! m <- alpha m + (1 - alpha) g                     with `centered`
//! d <- g / (sqrt(s) + eps), or g / (sqrt(s - m^2) + eps) with `centered`
//! b <- momentum b + d                              with `momentum`
//! p <- p - lr d, or p - lr b with `momentum`
//! ```
//!
//! One deliberate difference: `s - m^2`, a variance, is cut at 0, below which rounding can push it when
//! the gradient hardly changes; PyTorch's root is then NaN.

use ablate_sdk::{check, Error, GraphBuilder, Optimizer, Parameter, Result, Slot, Updated};
use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `rmsprop`; the defaults are PyTorch's.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Step size before the schedule.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
    /// Decay rate of the running mean of squared gradients.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub alpha: f64,
    /// Added to the root.
    #[schemars(range(min = 0.0))]
    pub eps: f64,
    /// Factor of the L2 penalty, added to the gradient times the parameter; not for biases and layer
    /// norms.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Share of the last step's momentum that is kept; 0 is none.
    #[schemars(range(min = 0.0))]
    pub momentum: f64,
    /// Divide by the root of the gradient's variance instead of its second moment.
    pub centered: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            learning_rate: 1e-2,
            alpha: 0.99,
            eps: 1e-8,
            weight_decay: 0.0,
            momentum: 0.0,
            centered: false,
        }
    }
}

/// The optimizer.
pub struct RmsProp(Config);

impl Optimizer for RmsProp {
    const NAME: &'static str = "rmsprop";
    const DESCRIPTION: &'static str = "Steps divided by the root of recent squared gradients.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        check::positive("learning_rate", config.learning_rate)?;
        check::decay_rate("alpha", config.alpha)?;
        for (key, value) in [
            ("eps", config.eps),
            ("weight_decay", config.weight_decay),
            ("momentum", config.momentum),
        ] {
            check::not_negative(key, value)?;
        }
        Ok(RmsProp(config))
    }

    fn base_learning_rate(&self) -> f64 {
        self.0.learning_rate
    }

    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        let mut names = vec!["square_avg"];
        if self.0.centered {
            names.push("grad_avg");
        }
        if self.0.momentum != 0.0 {
            names.push("momentum_buffer");
        }
        names.into_iter().map(|n| Slot::zeros(n, shape)).collect()
    }

    fn scalar_names(&self) -> Vec<&'static str> {
        vec!["learning_rate"]
    }

    fn scalars(&self, _step: u64, learning_rate: f64) -> Result<Vec<f64>> {
        Ok(vec![learning_rate])
    }

    fn update<'g>(&self, g: &GraphBuilder<'g>, p: &Parameter<'_, 'g>) -> Result<Updated<'g>> {
        let &[learning_rate] = p.scalars else {
            return Err(Error::Other(format!(
                "`rmsprop` has 1 scalar, not {}",
                p.scalars.len()
            )));
        };
        let mut old = p.slots.iter().copied();
        let mut next = || {
            old.next()
                .ok_or_else(|| Error::Other("`rmsprop` misses a slot".into()))
        };
        let gradient = p.gradient_with_l2(g, self.0.weight_decay)?;
        let square = g.moving_average(next()?, g.square(gradient)?, self.0.alpha)?;
        let mut slots = vec![square];
        let mut spread = square;
        if self.0.centered {
            let mean = g.moving_average(next()?, gradient, self.0.alpha)?;
            slots.push(mean);
            spread = g.relu(g.sub(square, g.square(mean)?)?)?;
        }
        let root = g.add_scalar(g.sqrt(spread)?, self.0.eps)?;
        let mut direction = g.div(gradient, root)?;
        if self.0.momentum != 0.0 {
            let kept = g.mul_scalar(next()?, self.0.momentum)?;
            direction = g.add(kept, direction)?;
            slots.push(direction);
        }
        Ok(Updated {
            parameter: g.sub(p.parameter, g.mul(direction, learning_rate)?)?,
            slots,
        })
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "RMSprop, as torch.optim.RMSprop.",
        optimizers: [RmsProp],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_that_the_options_need() {
        let names = |centered, momentum| -> Vec<&str> {
            let config = Config {
                centered,
                momentum,
                ..Config::default()
            };
            let rmsprop = RmsProp::new(config).ok().unwrap();
            rmsprop.slots(&[2]).into_iter().map(|s| s.name).collect()
        };
        assert_eq!(names(false, 0.0), ["square_avg"]);
        assert_eq!(
            names(true, 0.9),
            ["square_avg", "grad_avg", "momentum_buffer"]
        );
    }

    #[test]
    fn impossible_values_are_refused_by_key() {
        let config = Config {
            alpha: 1.0,
            ..Config::default()
        };
        let text = RmsProp::new(config).err().map(|e| e.to_string());
        assert!(text.is_some_and(|t| t.contains("alpha")));
    }
}
