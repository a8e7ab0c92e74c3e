//! Several stopping rules together.
//!
//! Owns their precedence: every rule sees every event; an abort outweighs a stop at the same event (a
//! model that blew up at its last step did not finish), and among equals the first in the recipe wins.

use crate::objective::PluginError;
use crate::stopping::{Decision, Event, StoppingRule};

/// What the rules say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Continue,
    Stop { by: String, reason: String },
    Abort { by: String, diagnosis: String },
}

pub(crate) struct Rules {
    rules: Vec<Box<dyn StoppingRule>>,
}

impl Rules {
    pub fn new(rules: Vec<Box<dyn StoppingRule>>) -> Self {
        Rules { rules }
    }

    pub fn observe(&mut self, event: &Event<'_>) -> Result<Verdict, PluginError> {
        let mut verdict = Verdict::Continue;
        for rule in &mut self.rules {
            let decision = rule.observe(event)?;
            let by = rule.name().to_owned();
            verdict = match (decision, verdict) {
                (Decision::Abort { diagnosis }, Verdict::Continue | Verdict::Stop { .. }) => {
                    Verdict::Abort { by, diagnosis }
                }
                (Decision::Stop { reason }, Verdict::Continue) => Verdict::Stop { by, reason },
                (_, verdict) => verdict,
            };
        }
        Ok(verdict)
    }

    pub fn save(&self) -> Result<Vec<Vec<u8>>, PluginError> {
        self.rules.iter().map(|r| r.save()).collect()
    }

    pub fn load(&mut self, states: &[Vec<u8>]) -> Result<(), PluginError> {
        for (rule, state) in self.rules.iter_mut().zip(states) {
            rule.load(state)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stopping::Split;

    struct At(&'static str, u64, bool);

    impl StoppingRule for At {
        fn name(&self) -> &str {
            self.0
        }
        fn observe(&mut self, event: &Event<'_>) -> Result<Decision, PluginError> {
            Ok(if event.step < self.1 {
                Decision::Continue
            } else if self.2 {
                Decision::Abort {
                    diagnosis: String::new(),
                }
            } else {
                Decision::Stop {
                    reason: String::new(),
                }
            })
        }
        fn save(&self) -> Result<Vec<u8>, PluginError> {
            Ok(Vec::new())
        }
        fn load(&mut self, _: &[u8]) -> Result<(), PluginError> {
            Ok(())
        }
    }

    fn first(rules: Vec<At>) -> (u64, Verdict) {
        let mut rules = Rules::new(
            rules
                .into_iter()
                .map(|r| Box::new(r) as Box<dyn StoppingRule>)
                .collect(),
        );
        for step in 1.. {
            let event = Event {
                step,
                tokens: 0,
                flops: 0.0,
                seconds: 0.0,
                split: Split::Train,
                metrics: &[],
            };
            match rules.observe(&event).unwrap() {
                Verdict::Continue => {}
                verdict => return (step, verdict),
            }
        }
        unreachable!()
    }

    fn by(verdict: Verdict) -> String {
        match verdict {
            Verdict::Stop { by, .. } | Verdict::Abort { by, .. } => by,
            Verdict::Continue => String::new(),
        }
    }

    #[test]
    fn the_earliest_rule_ends_it_whatever_its_place() {
        let (step, verdict) = first(vec![At("late", 5, false), At("early", 3, false)]);
        assert_eq!((step, by(verdict).as_str()), (3, "early"));
    }

    #[test]
    fn at_the_same_event_the_first_listed_wins_and_an_abort_outweighs() {
        let (_, verdict) = first(vec![At("a", 3, false), At("b", 3, false)]);
        assert_eq!(by(verdict), "a");
        let (_, verdict) = first(vec![At("a", 3, false), At("b", 3, true), At("c", 3, true)]);
        assert_eq!(by(verdict), "b");
    }
}
