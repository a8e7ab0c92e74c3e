//! `{{snake}}`: a linear warm-up, then the inverse square root of the step.

use ablate_sdk::{Error, Result, Schedule};
use schemars::JsonSchema;
use serde::Deserialize;

/// What a recipe says under `{{snake}}`. A key `total_steps`, if you add one, is filled with the steps
/// of the recipe's `max_steps` rule.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Steps until the base rate is reached.
    #[schemars(range(min = 1))]
    warmup_steps: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { warmup_steps: 100 }
    }
}

/// The schedule.
pub struct {{Type}}(Config);

impl Schedule for {{Type}} {
    const NAME: &'static str = "{{snake}}";
    const DESCRIPTION: &'static str = "Warm-up, then the inverse square root of the step.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        // The schema is for editors and recipes; what the plugin cannot use, it refuses itself.
        if config.warmup_steps == 0 {
            return Err(Error::Config("`warmup_steps` is 0; it is at least 1".into()));
        }
        Ok({{Type}}(config))
    }

    /// The factor on the learning rate at a step, counted from 1.
    fn factor(&self, step: u64) -> f64 {
        let t = step as f64 / self.0.warmup_steps as f64;
        t.min(1.0 / t.sqrt())
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "The schedule {{snake}}.",
        schedules: [{{Type}}],
    };
}
ablate_sdk::export!(PLUGIN);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_to_one_and_falls() {
        let schedule = {{Type}}::new(Config { warmup_steps: 4 }).unwrap();
        let factors: Vec<f64> = [1, 2, 4, 16].map(|step| schedule.factor(step)).into();
        assert_eq!(factors, [0.25, 0.5, 1.0, 0.5]);
        assert!({{Type}}::new(Config { warmup_steps: 0 }).is_err());
    }
}
