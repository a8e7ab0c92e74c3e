//! Ends a trial that has blown up, with a diagnosis instead of a crash.
//!
//! Owns: what counts as blown up, and what to say about it. Must not know: how to repair it.
//!
//! Two signs: a loss or gradient norm that is not finite, in training or validation; or a mean
//! training loss of the last `window` steps above `factor` times the best such mean so far.

use std::collections::VecDeque;

use ablate_sdk::{Decision, Error, Event, Exact, Result, Split, StoppingRule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of `diverged`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many times the best mean loss is too much.
    #[schemars(extend("exclusiveMinimum" = 1.0))]
    pub factor: f64,
    /// Steps over which the training loss is averaged.
    #[schemars(range(min = 1))]
    pub window: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            factor: 2.0,
            window: 20,
        }
    }
}

/// The rule.
pub struct Diverged {
    config: Config,
    memory: Memory,
}

/// What the rule has seen.
#[derive(Clone, Debug, Default, PartialEq)]
struct Memory {
    /// Training losses of the running window, oldest first.
    losses: VecDeque<f64>,
    /// The mean of the first full window.
    initial: Option<f64>,
    /// The best mean of a window and the step it ended at.
    best: Option<(f64, u64)>,
    /// The last finite training loss and its step.
    finite: Option<(f64, u64)>,
    /// The first and the last finite gradient norm.
    norms: Option<(f64, f64)>,
}

/// Saved memory.
#[derive(Serialize, Deserialize)]
pub struct State {
    losses: Vec<Exact>,
    initial: Option<Exact>,
    best: Option<(Exact, u64)>,
    finite: Option<(Exact, u64)>,
    norms: Option<(Exact, Exact)>,
}

impl Diverged {
    fn context(&self) -> String {
        let mut text = match self.memory.finite {
            Some((loss, step)) => {
                format!("The last finite training loss was {loss:.4} at step {step}. ")
            }
            None => "No training loss was finite: look at the initial values and the data. ".into(),
        };
        if let Some((first, last)) = self.memory.norms {
            text += &format!("The gradient norm went from {first:.3e} to {last:.3e}. ");
            if last > 10.0 * first {
                text += "Gradients explode: lower the learning rate, warm up longer, or set \
                         `train.clip_norm`. ";
            }
        }
        text + "The usual cause is a learning rate that is too high."
    }

    /// Takes a finite training loss; the mean of the last window where it is too high.
    fn push(&mut self, loss: f64, step: u64) -> Option<f64> {
        let window = self.config.window as usize;
        let memory = &mut self.memory;
        memory.finite = Some((loss, step));
        if memory.losses.len() == window {
            memory.losses.pop_front();
        }
        memory.losses.push_back(loss);
        if memory.losses.len() < window {
            return None;
        }
        let mean = memory.losses.iter().sum::<f64>() / window as f64;
        let initial = *memory.initial.get_or_insert(mean);
        let best = memory.best.get_or_insert((mean, step));
        if mean < best.0 {
            *best = (mean, step);
        }
        // Near zero a loss may well double from noise: nothing below a hundredth of the first
        // window's mean counts as best.
        (mean > self.config.factor * best.0.max(initial / 100.0)).then_some(mean)
    }
}

impl StoppingRule for Diverged {
    const NAME: &'static str = "diverged";
    const DESCRIPTION: &'static str = "Ends a trial whose loss has blown up, with a diagnosis.";
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<Self> {
        if !(config.factor > 1.0 && config.factor.is_finite()) {
            return Err(Error::Config(format!(
                "`factor` is {}; it is a number above 1",
                config.factor
            )));
        }
        if config.window == 0 {
            return Err(Error::Config("`window` is 0; it is at least 1".into()));
        }
        Ok(Diverged {
            config,
            memory: Memory::default(),
        })
    }

    fn observe(&mut self, event: &Event<'_>) -> Result<Decision> {
        let broken = event.metrics().find(|(name, value)| {
            (*name == "grad_norm" || name.ends_with("loss")) && !value.is_finite()
        });
        if let Some((name, value)) = broken {
            return Ok(Decision::Abort(format!(
                "{} {name} is {value} at step {}. {}",
                event.split.name(),
                event.step,
                self.context()
            )));
        }
        if event.split != Split::Train {
            return Ok(Decision::Continue);
        }
        if let Some(norm) = event.metric("grad_norm") {
            let first = self.memory.norms.map_or(norm, |(first, _)| first);
            self.memory.norms = Some((first, norm));
        }
        let Some(mean) = self.push(event.require("loss")?, event.step) else {
            return Ok(Decision::Continue);
        };
        let (best, at) = self.memory.best.unwrap_or((mean, event.step));
        Ok(Decision::Abort(format!(
            "the mean training loss of the last {} steps is {mean:.4} at step {}, more than {} times \
             the best, {best:.4} at step {at}. {}",
            self.config.window,
            event.step,
            self.config.factor,
            self.context()
        )))
    }

    fn save(&self) -> State {
        let memory = &self.memory;
        State {
            losses: memory.losses.iter().copied().map(Exact).collect(),
            initial: memory.initial.map(Exact),
            best: memory.best.map(|(x, step)| (Exact(x), step)),
            finite: memory.finite.map(|(x, step)| (Exact(x), step)),
            norms: memory
                .norms
                .map(|(first, last)| (Exact(first), Exact(last))),
        }
    }

    fn load(&mut self, state: State) -> Result<()> {
        if state.losses.len() > self.config.window as usize {
            return Err(Error::State(format!(
                "the saved state of `diverged` has {} losses; a window of {} holds fewer",
                state.losses.len(),
                self.config.window
            )));
        }
        self.memory = Memory {
            losses: state.losses.into_iter().map(|x| x.0).collect(),
            initial: state.initial.map(|x| x.0),
            best: state.best.map(|(x, step)| (x.0, step)),
            finite: state.finite.map(|(x, step)| (x.0, step)),
            norms: state.norms.map(|(first, last)| (first.0, last.0)),
        };
        Ok(())
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Ends trials that have blown up.",
        stopping_rules: [Diverged],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Diverged {
        Diverged::new(Config {
            factor: 2.0,
            window: 2,
        })
        .ok()
        .unwrap()
    }

    #[test]
    fn a_mean_above_the_factor_times_the_best_is_too_much() {
        let mut rule = rule();
        let means: Vec<_> = [8.0, 4.0, 2.0, 4.0, 9.0]
            .into_iter()
            .zip(1..)
            .map(|(x, t)| rule.push(x, t))
            .collect();
        // Means 6, 3, 3, 6.5; the best is 3.
        assert_eq!(means, [None, None, None, None, Some(6.5)]);
        assert_eq!(rule.memory.best, Some((3.0, 3)));
    }

    #[test]
    fn noise_near_zero_is_no_blow_up() {
        let mut rule = rule();
        for (loss, step) in [8.0, 8.0, 1e-6, 1e-6, 1e-2, 1e-2].into_iter().zip(1..) {
            assert_eq!(rule.push(loss, step), None);
        }
    }
}
