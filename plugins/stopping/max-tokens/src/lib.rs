//! Ends a trial after a number of tokens.
//!
//! Owns: one number. Must not know: anything about losses, or how long an example is.
//!
//! Tokens are those of the training batches, special tokens included and padding not, as in the record's
//! `tokens`. A trial ends with the first step that reaches the budget, so it is over by less than one
//! step's tokens. Trials on corpora or sequence lengths that differ are then compared at equal data.

use ablate_sdk::{check, Decision, Event, Result, Split, StoppingRule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of `max_tokens`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Tokens to train on.
    #[schemars(range(min = 1))]
    pub tokens: u64,
}

/// The rule.
pub struct MaxTokens(Config);

/// The rule remembers nothing: events carry the count.
#[derive(Serialize, Deserialize)]
pub struct State {}

impl StoppingRule for MaxTokens {
    const NAME: &'static str = "max_tokens";
    const DESCRIPTION: &'static str = "Stops after a number of training tokens.";
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<Self> {
        check::at_least("tokens", config.tokens, 1)?;
        Ok(MaxTokens(config))
    }

    fn observe(&mut self, event: &Event<'_>) -> Result<Decision> {
        if event.split != Split::Train || event.tokens < self.0.tokens {
            return Ok(Decision::Continue);
        }
        Ok(Decision::Stop(format!(
            "{} tokens are trained on, the budget was {}",
            event.tokens, self.0.tokens
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
        description: "Stops after a number of tokens.",
        stopping_rules: [MaxTokens],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tokens_is_refused() {
        let refused = MaxTokens::new(Config { tokens: 0 }).err();
        assert!(refused.is_some_and(|e| e.to_string().contains("`tokens` is 0")));
    }
}
