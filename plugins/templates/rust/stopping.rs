//! `{{snake}}`: stops when a validation metric has risen several times in a row.

use ablate_sdk::{Decision, Error, Event, Exact, Result, Split, StoppingRule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a recipe says under `{{snake}}`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Metric of the validation split, such as `loss`.
    metric: String,
    /// Rises in a row that end a trial.
    #[schemars(range(min = 1))]
    rises: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            metric: "loss".into(),
            rises: 3,
        }
    }
}

/// The rule.
pub struct {{Type}} {
    config: Config,
    state: State,
}

/// What the rule remembers; it is saved with the trial.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// The value of the last evaluation, saved bit by bit.
    last: Option<Exact>,
    rises: u32,
}

impl StoppingRule for {{Type}} {
    const NAME: &'static str = "{{snake}}";
    const DESCRIPTION: &'static str = "Stops when a validation metric rises again and again.";
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<Self> {
        // The schema is for editors and recipes; what the plugin cannot use, it refuses itself.
        if config.rises == 0 {
            return Err(Error::Config("`rises` is 0; it is at least 1".into()));
        }
        Ok({{Type}} {
            config,
            state: State::default(),
        })
    }

    fn observe(&mut self, event: &Event<'_>) -> Result<Decision> {
        if event.split != Split::Validation {
            return Ok(Decision::Continue);
        }
        let value = event.require(&self.config.metric)?;
        let rises = self.state.last.is_some_and(|last| value > last.0);
        self.state.rises = if rises { self.state.rises.saturating_add(1) } else { 0 };
        self.state.last = Some(Exact(value));
        if self.state.rises < self.config.rises {
            return Ok(Decision::Continue);
        }
        Ok(Decision::Stop(format!(
            "validation {} has risen {} times in a row, to {value:.4}",
            self.config.metric, self.state.rises
        )))
    }

    fn save(&self) -> State {
        self.state.clone()
    }

    fn load(&mut self, state: State) -> Result<()> {
        self.state = state;
        Ok(())
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "The stopping rule {{snake}}.",
        stopping_rules: [{{Type}}],
    };
}
ablate_sdk::export!(PLUGIN);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_without_rises_is_refused_and_state_is_taken_over() {
        let config = |rises| Config {
            rises,
            ..Config::default()
        };
        assert!({{Type}}::new(config(0)).is_err());
        let mut rule = {{Type}}::new(config(2)).unwrap();
        let state = State {
            last: Some(Exact(1.5)),
            rises: 1,
        };
        rule.load(state).unwrap();
        assert_eq!(rule.save().rises, 1);
    }
}
