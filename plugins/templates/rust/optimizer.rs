//! `{{snake}}`: gradient descent with momentum, and weight decay apart from the gradient.
//!
//! `m <- momentum m + gradient`, `p <- (1 - learning_rate weight_decay) p - learning_rate m`

use ablate_sdk::{Error, GraphBuilder, Optimizer, Parameter, Result, Slot, Updated};
use schemars::JsonSchema;
use serde::Deserialize;

/// What a recipe says under `{{snake}}`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Step size before the schedule.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    learning_rate: f64,
    /// Share of the last step that is kept.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    momentum: f64,
    /// Decay per unit of learning rate.
    #[schemars(range(min = 0.0))]
    weight_decay: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            learning_rate: 0.01,
            momentum: 0.9,
            weight_decay: 0.01,
        }
    }
}

/// The optimizer.
pub struct {{Type}}(Config);

impl Optimizer for {{Type}} {
    const NAME: &'static str = "{{snake}}";
    const DESCRIPTION: &'static str = "Gradient descent with momentum and decoupled decay.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        // The schema is for editors and recipes; what the plugin cannot use, it refuses itself.
        for (key, fine) in [
            ("learning_rate", config.learning_rate > 0.0),
            ("momentum", (0.0..1.0).contains(&config.momentum)),
            ("weight_decay", config.weight_decay >= 0.0),
        ] {
            if !fine {
                return Err(Error::Config(format!("`{key}` is out of range: {config:?}")));
            }
        }
        Ok({{Type}}(config))
    }

    fn base_learning_rate(&self) -> f64 {
        self.0.learning_rate
    }

    /// What is kept for a parameter from step to step.
    fn slots(&self, shape: &[usize]) -> Vec<Slot> {
        vec![Slot::zeros("momentum", shape)]
    }

    fn scalar_names(&self) -> Vec<&'static str> {
        vec!["learning_rate", "decay_factor"]
    }

    /// Numbers of a step, computed on the host in double precision.
    fn scalars(&self, _step: u64, learning_rate: f64) -> Result<Vec<f64>> {
        Ok(vec![
            learning_rate,
            1.0 - learning_rate * self.0.weight_decay,
        ])
    }

    /// The update of one parameter, as nodes of the graph.
    fn update<'g>(&self, g: &GraphBuilder<'g>, p: &Parameter<'_, 'g>) -> Result<Updated<'g>> {
        let (&[momentum], &[learning_rate, decay_factor]) = (p.slots, p.scalars) else {
            return Err(Error::Other("`{{snake}}` has 1 slot and 2 scalars".into()));
        };
        let momentum = g.add(g.mul_scalar(momentum, self.0.momentum)?, p.gradient)?;
        let decayed = if p.decays {
            g.mul(p.parameter, decay_factor)?
        } else {
            p.parameter
        };
        Ok(Updated {
            parameter: g.sub(decayed, g.mul(momentum, learning_rate)?)?,
            slots: vec![momentum],
        })
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "The optimizer {{snake}}.",
        optimizers: [{{Type}}],
    };
}
ablate_sdk::export!(PLUGIN);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_values_are_refused_and_the_decay_follows_the_schedule() {
        let config = |learning_rate| Config {
            learning_rate,
            ..Config::default()
        };
        assert!({{Type}}::new(config(-1.0)).is_err());
        let optimizer = {{Type}}::new(config(0.1)).unwrap();
        assert_eq!(optimizer.base_learning_rate(), 0.1);
        assert_eq!(optimizer.scalars(1, 0.5).unwrap(), [0.5, 0.995]);
    }
}
