//! Ends a trial when a loss has reached a target, for "how long until" questions.
//!
//! Owns: a threshold. Must not know: how the loss is made.

use ablate_sdk::{Decision, Error, Event, Result, Split, StoppingRule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of `target_loss`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The loss to reach, in nats.
    pub loss: f64,
    /// Which loss: `loss` (the cumulative one), `mlm_loss`, ...
    #[serde(default = "loss")]
    pub metric: String,
    /// Where it is reached. A training loss is that of a single batch, and noisy.
    #[serde(default = "validation")]
    pub split: Split,
}

fn loss() -> String {
    "loss".into()
}

fn validation() -> Split {
    Split::Validation
}

/// The rule.
pub struct TargetLoss(Config);

/// The rule remembers nothing.
#[derive(Serialize, Deserialize)]
pub struct State {}

impl StoppingRule for TargetLoss {
    const NAME: &'static str = "target_loss";
    const DESCRIPTION: &'static str = "Stops when a loss has reached a target.";
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<Self> {
        if !config.loss.is_finite() {
            return Err(Error::Config(format!(
                "`loss` is {}; it is a number",
                config.loss
            )));
        }
        Ok(TargetLoss(config))
    }

    fn observe(&mut self, event: &Event<'_>) -> Result<Decision> {
        if event.split != self.0.split {
            return Ok(Decision::Continue);
        }
        let value = event.require(&self.0.metric)?;
        // NaN is below nothing.
        Ok(if value <= self.0.loss {
            Decision::Stop(format!(
                "{} {} is {value:.4}, the target was {:.4}",
                event.split.name(),
                self.0.metric,
                self.0.loss
            ))
        } else {
            Decision::Continue
        })
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
        description: "Stops at a target loss.",
        stopping_rules: [TargetLoss],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_number() {
        let config = Config {
            loss: f64::NAN,
            metric: loss(),
            split: validation(),
        };
        assert!(matches!(TargetLoss::new(config), Err(Error::Config(_))));
    }
}
