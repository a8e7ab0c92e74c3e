//! Ends a trial when the training loss no longer falls.
//!
//! Owns: the means of two neighbouring windows of the training loss. Must not know: validation.
//!
//! After every step the mean loss of the last `window` steps is compared with the mean of the
//! `window` steps before: the rule holds when `(before - last) / |before| < tolerance`. A rising loss
//! counts as converged too; whether it blew up is the business of `diverged`. A loss that is not
//! finite empties the windows.

use std::collections::VecDeque;

use ablate_sdk::{Decision, Error, Event, Exact, Result, Split, StoppingRule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of `converged`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Steps in each of the two windows.
    #[schemars(range(min = 1))]
    pub window: u32,
    /// Smallest relative improvement from window to window that counts as progress.
    pub tolerance: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            window: 50,
            tolerance: 1e-3,
        }
    }
}

/// The rule.
pub struct Converged {
    config: Config,
    losses: VecDeque<f64>,
}

/// The losses of the last two windows, oldest first.
#[derive(Serialize, Deserialize)]
pub struct State {
    losses: Vec<Exact>,
}

impl Converged {
    fn window(&self) -> usize {
        self.config.window as usize
    }

    /// Takes the next training loss; `Some((before, last))` once there are two full windows.
    fn push(&mut self, loss: f64) -> Option<(f64, f64)> {
        if !loss.is_finite() {
            self.losses.clear();
            return None;
        }
        let window = self.window();
        if self.losses.len() == 2 * window {
            self.losses.pop_front();
        }
        self.losses.push_back(loss);
        let mean = |from| self.losses.range(from..from + window).sum::<f64>() / window as f64;
        (self.losses.len() == 2 * window).then(|| (mean(0), mean(window)))
    }
}

impl StoppingRule for Converged {
    const NAME: &'static str = "converged";
    const DESCRIPTION: &'static str = "Stops when the training loss no longer falls.";
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<Self> {
        if config.window == 0 {
            return Err(Error::Config("`window` is 0; it is at least 1".into()));
        }
        if !config.tolerance.is_finite() {
            return Err(Error::Config(format!(
                "`tolerance` is {}; it is a number such as 0.001",
                config.tolerance
            )));
        }
        Ok(Converged {
            config,
            losses: VecDeque::new(),
        })
    }

    fn observe(&mut self, event: &Event<'_>) -> Result<Decision> {
        if event.split != Split::Train {
            return Ok(Decision::Continue);
        }
        let Some((before, last)) = self.push(event.require("loss")?) else {
            return Ok(Decision::Continue);
        };
        // A mean of exactly 0 cannot improve by any share of itself.
        let improvement = if before == 0.0 {
            0.0
        } else {
            (before - last) / before.abs()
        };
        if improvement >= self.config.tolerance {
            return Ok(Decision::Continue);
        }
        Ok(Decision::Stop(format!(
            "the mean training loss of the last {0} steps is {last:.4}, of the {0} before {before:.4}: \
             an improvement of {improvement:.2e}, below {1:.2e}",
            self.config.window, self.config.tolerance
        )))
    }

    fn save(&self) -> State {
        State {
            losses: self.losses.iter().copied().map(Exact).collect(),
        }
    }

    fn load(&mut self, state: State) -> Result<()> {
        if state.losses.len() > 2 * self.window() {
            return Err(Error::State(format!(
                "the saved state of `converged` has {} losses; two windows of {} hold fewer",
                state.losses.len(),
                self.config.window
            )));
        }
        self.losses = state.losses.into_iter().map(|x| x.0).collect();
        Ok(())
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Stops when the training loss has converged.",
        stopping_rules: [Converged],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(window: u32) -> Converged {
        Converged::new(Config {
            window,
            tolerance: 0.01,
        })
        .ok()
        .unwrap()
    }

    #[test]
    fn means_are_those_of_neighbouring_windows() {
        let mut rule = rule(2);
        let found: Vec<_> = [8.0, 6.0, 5.0, 3.0, 1.0]
            .into_iter()
            .map(|x| rule.push(x))
            .collect();
        assert_eq!(
            found,
            [None, None, None, Some((7.0, 4.0)), Some((5.5, 2.0))]
        );
    }

    #[test]
    fn a_loss_that_is_not_finite_starts_anew() {
        let mut rule = rule(1);
        assert_eq!(rule.push(2.0), None);
        assert_eq!(rule.push(f64::NAN), None);
        assert_eq!(rule.push(1.0), None);
        assert_eq!(rule.push(1.0), Some((1.0, 1.0)));
    }

    #[test]
    fn state_longer_than_the_windows_is_refused() {
        let state = State {
            losses: vec![Exact(1.0); 5],
        };
        assert!(matches!(rule(2).load(state), Err(Error::State(_))));
    }
}
