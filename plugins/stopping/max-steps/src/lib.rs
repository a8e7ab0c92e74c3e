//! Ends a trial after a number of optimizer steps.
//!
//! Owns: one number. Must not know: anything about losses.

use ablate_sdk::{Decision, Error, Event, Result, Split, StoppingRule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of `max_steps`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Optimizer steps to do.
    #[schemars(range(min = 1))]
    pub steps: u64,
}

/// The rule.
pub struct MaxSteps(Config);

/// The rule remembers nothing: events carry the step.
#[derive(Serialize, Deserialize)]
pub struct State {}

impl StoppingRule for MaxSteps {
    const NAME: &'static str = "max_steps";
    const DESCRIPTION: &'static str = "Stops after a number of optimizer steps.";
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<Self> {
        if config.steps == 0 {
            return Err(Error::Config("`steps` is 0; it is at least 1".into()));
        }
        Ok(MaxSteps(config))
    }

    fn observe(&mut self, event: &Event<'_>) -> Result<Decision> {
        Ok(
            if event.split == Split::Train && event.step >= self.0.steps {
                Decision::Stop(format!("{} steps are done", event.step))
            } else {
                Decision::Continue
            },
        )
    }

    fn save(&self) -> State {
        State {}
    }

    fn load(&mut self, _state: State) -> Result<()> {
        Ok(())
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Stops after a number of steps.",
        stopping_rules: [MaxSteps],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_steps_is_refused() {
        assert!(matches!(
            MaxSteps::new(Config { steps: 0 }),
            Err(Error::Config(_))
        ));
    }
}
