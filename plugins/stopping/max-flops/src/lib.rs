//! Ends a trial after a number of floating-point operations, so that models of different sizes are
//! compared at equal compute.
//!
//! Owns: one number. Must not know: how operations are counted.
//!
//! Counted are the matrix products of training, forward, backward and update, as in the record's `flops`
//! (two for each product that is added up); evaluations are not. The count follows from the model and
//! the batch alone, so this budget is the same on every machine and in every run. A trial ends with the
//! first step that reaches it, over by less than one step.
//!
//! The practice is that of Kaplan et al. 2020, "Scaling laws for neural language models", and Hoffmann
//! et al. 2022, "Training compute-optimal large language models".

use ablate_sdk::{check, Decision, Event, Result, Split, StoppingRule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of `max_flops`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Floating-point operations to spend.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub flops: f64,
}

/// The rule.
pub struct MaxFlops(Config);

/// The rule remembers nothing: events carry the count.
#[derive(Serialize, Deserialize)]
pub struct State {}

impl StoppingRule for MaxFlops {
    const NAME: &'static str = "max_flops";
    const DESCRIPTION: &'static str = "Stops after a number of floating-point operations.";
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<Self> {
        check::positive("flops", config.flops)?;
        Ok(MaxFlops(config))
    }

    fn observe(&mut self, event: &Event<'_>) -> Result<Decision> {
        if event.split != Split::Train || event.flops < self.0.flops {
            return Ok(Decision::Continue);
        }
        Ok(Decision::Stop(format!(
            "{:.3e} floating-point operations are spent, the budget was {:.3e}",
            event.flops, self.0.flops
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
        description: "Stops after a number of floating-point operations.",
        stopping_rules: [MaxFlops],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_above_0() {
        for flops in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(MaxFlops::new(Config { flops }).is_err(), "{flops}");
        }
    }
}
