//! Ends a trial after some seconds.
//!
//! Owns: one number. Must not know: what takes the time.
//!
//! Time is the wall clock's since the trial began: steps and evaluations, and what ran before a resume,
//! but not the time between. **Not deterministic**: another run, another machine or a busy one does
//! another number of steps, so the same recipe does not give the same result. Use it to bound an
//! experiment; compare arms by `max_steps`, `max_tokens` or `max_flops`. A trial ends with the first
//! step that ends after the time is up; what follows (the last evaluations) takes its own time.

use ablate_sdk::{check, Decision, Event, Result, Split, StoppingRule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of `max_seconds`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Seconds by the wall clock. Not deterministic.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub seconds: f64,
}

/// The rule.
pub struct MaxSeconds(Config);

/// The rule remembers nothing: events carry the time.
#[derive(Serialize, Deserialize)]
pub struct State {}

impl StoppingRule for MaxSeconds {
    const NAME: &'static str = "max_seconds";
    const DESCRIPTION: &'static str = "Stops after some seconds; not deterministic.";
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<Self> {
        check::positive("seconds", config.seconds)?;
        Ok(MaxSeconds(config))
    }

    fn observe(&mut self, event: &Event<'_>) -> Result<Decision> {
        if event.split != Split::Train || event.seconds < self.0.seconds {
            return Ok(Decision::Continue);
        }
        Ok(Decision::Stop(format!(
            "{:.1} s have passed, the budget was {} s",
            event.seconds, self.0.seconds
        )))
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
        description: "Stops after some seconds.",
        stopping_rules: [MaxSeconds],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_above_0() {
        for seconds in [0.0, f64::NAN] {
            assert!(MaxSeconds::new(Config { seconds }).is_err(), "{seconds}");
        }
    }
}
