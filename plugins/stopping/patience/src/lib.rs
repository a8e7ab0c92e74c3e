//! Ends a trial when a validation metric has not improved for some evaluations (early stopping).
//!
//! Owns: the best value and how long ago it was. Must not know: how evaluations are made.
//!
//! Source: Prechelt 1998, "Early stopping - but when?".

use ablate_sdk::{Decision, Error, Event, Exact, Result, Split, StoppingRule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of `patience`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Evaluations in a row without improvement that end the trial.
    #[schemars(range(min = 1))]
    pub evaluations: u32,
    /// Smallest change for the better that counts as improvement.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub min_delta: f64,
    /// The validation metric to watch.
    #[serde(default = "loss")]
    pub metric: String,
    /// Which way is better.
    #[serde(default)]
    pub better: Better,
}

fn loss() -> String {
    "loss".into()
}

/// Which way a metric is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Higher for metrics whose name ends in `accuracy`, else lower.
    #[default]
    Auto,
    /// Lower is better.
    Lower,
    /// Higher is better.
    Higher,
}

/// The rule.
pub struct Patience {
    config: Config,
    /// The best value so far and its step.
    best: Option<(f64, u64)>,
    waited: u32,
}

/// The best value with its step, and the evaluations since.
#[derive(Serialize, Deserialize)]
pub struct State {
    best: Option<(Exact, u64)>,
    waited: u32,
}

impl Patience {
    fn improves(&self, value: f64) -> bool {
        let higher = match self.config.better {
            Better::Auto => self.config.metric.ends_with("accuracy"),
            Better::Lower => false,
            Better::Higher => true,
        };
        let Some((best, _)) = self.best else {
            return !value.is_nan();
        };
        let gain = if higher { value - best } else { best - value };
        // NaN is no improvement: it fails the comparison.
        gain > self.config.min_delta
    }
}

impl StoppingRule for Patience {
    const NAME: &'static str = "patience";
    const DESCRIPTION: &'static str =
        "Stops when a validation metric has not improved for a while.";
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<Self> {
        if config.evaluations == 0 {
            return Err(Error::Config("`evaluations` is 0; it is at least 1".into()));
        }
        if !(config.min_delta >= 0.0 && config.min_delta.is_finite()) {
            return Err(Error::Config(format!(
                "`min_delta` is {}; it is a number from 0 on",
                config.min_delta
            )));
        }
        Ok(Patience {
            config,
            best: None,
            waited: 0,
        })
    }

    fn observe(&mut self, event: &Event<'_>) -> Result<Decision> {
        if event.split != Split::Validation {
            return Ok(Decision::Continue);
        }
        let value = event.require(&self.config.metric)?;
        if self.improves(value) {
            self.best = Some((value, event.step));
            self.waited = 0;
            return Ok(Decision::Continue);
        }
        self.waited += 1;
        if self.waited < self.config.evaluations {
            return Ok(Decision::Continue);
        }
        let best = self.best.map_or(
            "there was no value that is a number".into(),
            |(best, step)| format!("the best is {best:.4} of step {step}"),
        );
        Ok(Decision::Stop(format!(
            "validation {} has not improved for {} evaluations: it is {value:.4}, {best}",
            self.config.metric, self.waited
        )))
    }

    fn save(&self) -> State {
        State {
            best: self.best.map(|(best, step)| (Exact(best), step)),
            waited: self.waited,
        }
    }

    fn load(&mut self, state: State) -> Result<()> {
        self.best = state.best.map(|(best, step)| (best.0, step));
        self.waited = state.waited;
        Ok(())
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Early stopping on a validation metric.",
        stopping_rules: [Patience],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(metric: &str, better: Better) -> Patience {
        let config = Config {
            evaluations: 2,
            min_delta: 0.1,
            metric: metric.into(),
            better,
        };
        Patience {
            best: Some((1.0, 5)),
            ..Patience::new(config).ok().unwrap()
        }
    }

    #[test]
    fn better_is_lower_for_losses_and_higher_for_accuracies() {
        let loss = rule("mlm_loss", Better::Auto);
        assert!(loss.improves(0.8) && !loss.improves(0.95) && !loss.improves(1.2));
        let accuracy = rule("nsp_accuracy", Better::Auto);
        assert!(accuracy.improves(1.2) && !accuracy.improves(1.05) && !accuracy.improves(0.8));
        assert!(rule("loss", Better::Higher).improves(1.2));
        assert!(rule("nsp_accuracy", Better::Lower).improves(0.8));
    }

    #[test]
    fn a_value_that_is_no_number_never_improves() {
        let mut rule = rule("loss", Better::Auto);
        assert!(!rule.improves(f64::NAN));
        rule.best = None;
        assert!(!rule.improves(f64::NAN) && rule.improves(3.0));
    }
}
