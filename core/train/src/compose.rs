//! Stopping rules together: any of them, all of them, not this one, nested.
//!
//! Owns what it means that a composition holds, and its memory. Must not know what single rules look at.
//!
//! A rule *holds* while its last word on training steps or its last word on evaluations was to stop: a
//! rule that looks at steps alone says nothing on evaluations, and the other way round. `all` holds while
//! all its parts hold at the same time, `any` while one does, `not` while its part does not. An abort is
//! no matter of holding: wherever it stands, it ends the trial at once.

use serde::{Deserialize, Serialize};

use crate::objective::PluginError;
use crate::stopping::{Decision, Event, Split, StoppingRule};

/// When a trial ends: a rule, or rules together.
pub enum Stop {
    /// While the rule holds.
    Rule(Box<dyn StoppingRule>),
    /// While at least one part holds.
    Any(Vec<Stop>),
    /// While all parts hold.
    All(Vec<Stop>),
    /// While the part does not hold.
    Not(Box<Stop>),
}

/// The rules of a trial, any of which ends it. A single rule stays itself, so that a record names it;
/// an `any` among them is as if its parts stood in its place; other compositions become one rule each,
/// called `all(converged, max_steps)`.
pub fn compose(any: Vec<Stop>) -> Vec<Box<dyn StoppingRule>> {
    let mut rules: Vec<Box<dyn StoppingRule>> = Vec::new();
    for stop in any {
        match stop {
            Stop::Rule(rule) => rules.push(rule),
            Stop::Any(parts) => rules.extend(compose(parts)),
            stop => {
                let tree = Tree::new(stop);
                let name = tree.name();
                rules.push(Box::new(Composition { name, tree }));
            }
        }
    }
    rules
}

/// A composition as one rule.
struct Composition {
    name: String,
    tree: Tree,
}

/// A rule and its last words.
struct Leaf {
    rule: Box<dyn StoppingRule>,
    said: Said,
}

/// Why the rule held at the last step and at the last evaluation, where it did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Said {
    train: Option<String>,
    validation: Option<String>,
}

enum Tree {
    Leaf(Leaf),
    Any(Vec<Tree>),
    All(Vec<Tree>),
    Not(Box<Tree>),
}

/// What a checkpoint holds of one leaf.
#[derive(Serialize, Deserialize)]
struct Saved {
    rule: String,
    said: Said,
    state: Vec<u8>,
}

impl Tree {
    fn new(stop: Stop) -> Self {
        let all = |parts: Vec<Stop>| parts.into_iter().map(Tree::new).collect();
        match stop {
            Stop::Rule(rule) => Tree::Leaf(Leaf {
                rule,
                said: Said::default(),
            }),
            Stop::Any(parts) => Tree::Any(all(parts)),
            Stop::All(parts) => Tree::All(all(parts)),
            Stop::Not(part) => Tree::Not(Box::new(Tree::new(*part))),
        }
    }

    fn name(&self) -> String {
        let names = |parts: &[Tree]| parts.iter().map(Tree::name).collect::<Vec<_>>().join(", ");
        match self {
            Tree::Leaf(leaf) => leaf.rule.name().to_owned(),
            Tree::Any(parts) => format!("any({})", names(parts)),
            Tree::All(parts) => format!("all({})", names(parts)),
            Tree::Not(part) => format!("not({})", part.name()),
        }
    }

    /// Why it holds; None while it does not.
    fn holds(&self) -> Option<String> {
        match self {
            Tree::Leaf(leaf) => {
                let said = leaf.said.train.as_ref().or(leaf.said.validation.as_ref())?;
                Some(format!("{}: {said}", leaf.rule.name()))
            }
            Tree::Any(parts) => parts.iter().find_map(Tree::holds),
            Tree::All(parts) => {
                let reasons: Option<Vec<String>> = parts.iter().map(Tree::holds).collect();
                reasons.map(|all| all.join("; "))
            }
            Tree::Not(part) => match part.holds() {
                Some(_) => None,
                None => Some(format!("{} does not hold", part.name())),
            },
        }
    }

    /// Every rule in it, in the order of the recipe.
    fn leaves(&self) -> Vec<&Leaf> {
        match self {
            Tree::Leaf(leaf) => vec![leaf],
            Tree::Any(parts) | Tree::All(parts) => parts.iter().flat_map(Tree::leaves).collect(),
            Tree::Not(part) => part.leaves(),
        }
    }

    fn leaves_mut(&mut self) -> Vec<&mut Leaf> {
        match self {
            Tree::Leaf(leaf) => vec![leaf],
            Tree::Any(parts) | Tree::All(parts) => {
                parts.iter_mut().flat_map(Tree::leaves_mut).collect()
            }
            Tree::Not(part) => part.leaves_mut(),
        }
    }
}

impl StoppingRule for Composition {
    fn name(&self) -> &str {
        &self.name
    }

    fn observe(&mut self, event: &Event<'_>) -> Result<Decision, PluginError> {
        for Leaf { rule, said } in self.tree.leaves_mut() {
            let reason = match rule.observe(event)? {
                Decision::Continue => None,
                Decision::Stop { reason } => Some(reason),
                Decision::Abort { diagnosis } => {
                    let diagnosis = format!("{}: {diagnosis}", rule.name());
                    return Ok(Decision::Abort { diagnosis });
                }
            };
            match event.split {
                Split::Train => said.train = reason,
                Split::Validation => said.validation = reason,
                // Looked at once, after the end.
                Split::Test => {}
            }
        }
        Ok(match self.tree.holds() {
            Some(reason) => Decision::Stop { reason },
            None => Decision::Continue,
        })
    }

    fn save(&self) -> Result<Vec<u8>, PluginError> {
        let leaves = self.tree.leaves();
        let saved: Result<Vec<Saved>, PluginError> = leaves
            .into_iter()
            .map(|leaf| {
                Ok(Saved {
                    rule: leaf.rule.name().to_owned(),
                    said: leaf.said.clone(),
                    state: leaf.rule.save()?,
                })
            })
            .collect();
        serde_json::to_vec(&saved?).map_err(|e| PluginError::new(&self.name, "save", e.to_string()))
    }

    fn load(&mut self, state: &[u8]) -> Result<(), PluginError> {
        let error = |detail: String| PluginError::new(&self.name, "load", detail);
        let saved: Vec<Saved> = serde_json::from_slice(state).map_err(|e| error(e.to_string()))?;
        let found: Vec<&str> = saved.iter().map(|s| s.rule.as_str()).collect();
        let wanted: Vec<&str> = self.tree.leaves().iter().map(|l| l.rule.name()).collect();
        if found != wanted {
            return Err(error(format!(
                "the saved state is of the rules {}, not of {}",
                found.join(", "),
                wanted.join(", ")
            )));
        }
        for (leaf, saved) in self.tree.leaves_mut().into_iter().zip(saved) {
            leaf.rule.load(&saved.state)?;
            leaf.said = saved.said;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds on one split while the metric `x` is at least a number; counts what it sees.
    struct Above(&'static str, Split, f64, u8);

    impl StoppingRule for Above {
        fn name(&self) -> &str {
            self.0
        }
        fn observe(&mut self, event: &Event<'_>) -> Result<Decision, PluginError> {
            self.3 += 1;
            let x = event.metric("x").unwrap_or(0.0);
            Ok(if x < 0.0 {
                Decision::Abort {
                    diagnosis: format!("x is {x}"),
                }
            } else if event.split == self.1 && x >= self.2 {
                Decision::Stop {
                    reason: format!("x is {x}"),
                }
            } else {
                Decision::Continue
            })
        }
        fn save(&self) -> Result<Vec<u8>, PluginError> {
            Ok(vec![self.3])
        }
        fn load(&mut self, state: &[u8]) -> Result<(), PluginError> {
            self.3 = state[0];
            Ok(())
        }
    }

    fn steps(from: f64) -> Stop {
        Stop::Rule(Box::new(Above("steps", Split::Train, from, 0)))
    }

    fn loss(from: f64) -> Stop {
        Stop::Rule(Box::new(Above("loss", Split::Validation, from, 0)))
    }

    fn one(stop: Stop) -> Box<dyn StoppingRule> {
        let mut rules = compose(vec![stop]);
        assert_eq!(rules.len(), 1);
        rules.remove(0)
    }

    fn see(rule: &mut Box<dyn StoppingRule>, split: Split, x: f64) -> Decision {
        rule.observe(&Event {
            step: 1,
            tokens: 0,
            flops: 0.0,
            seconds: 0.0,
            split,
            metrics: &[("x", x)],
        })
        .unwrap()
    }

    #[test]
    fn all_holds_when_its_parts_hold_at_the_same_time() {
        let mut rule = one(Stop::All(vec![steps(3.0), loss(2.0)]));
        assert_eq!(rule.name(), "all(steps, loss)");
        // The loss is reached too early, and is lost again.
        assert_eq!(see(&mut rule, Split::Train, 1.0), Decision::Continue);
        assert_eq!(see(&mut rule, Split::Validation, 2.0), Decision::Continue);
        assert_eq!(see(&mut rule, Split::Validation, 1.0), Decision::Continue);
        assert_eq!(see(&mut rule, Split::Train, 3.0), Decision::Continue);
        // The step's word stands while an evaluation is looked at.
        let reason = "steps: x is 3; loss: x is 5".to_owned();
        assert_eq!(
            see(&mut rule, Split::Validation, 5.0),
            Decision::Stop { reason }
        );
    }

    #[test]
    fn not_and_any_nest() {
        // Enough steps, and neither the loss nor many steps.
        let few = Stop::Not(Box::new(Stop::Any(vec![loss(2.0), steps(9.0)])));
        let mut rule = one(Stop::All(vec![steps(3.0), few]));
        assert_eq!(rule.name(), "all(steps, not(any(loss, steps)))");
        assert_eq!(see(&mut rule, Split::Validation, 2.0), Decision::Continue);
        assert_eq!(see(&mut rule, Split::Train, 3.0), Decision::Continue);
        let reason = "steps: x is 3; any(loss, steps) does not hold".to_owned();
        assert_eq!(
            see(&mut rule, Split::Validation, 1.0),
            Decision::Stop { reason }
        );
        assert_eq!(see(&mut rule, Split::Train, 9.0), Decision::Continue);
    }

    #[test]
    fn single_rules_keep_their_names() {
        let any = Stop::Any(vec![
            loss(1.0),
            Stop::Any(vec![steps(2.0), Stop::Not(Box::new(steps(1.0)))]),
        ]);
        let names: Vec<String> = compose(vec![steps(1.0), any])
            .iter()
            .map(|r| r.name().to_owned())
            .collect();
        assert_eq!(names, ["steps", "loss", "steps", "not(steps)"]);
    }

    #[test]
    fn an_abort_ends_it_wherever_it_stands() {
        let mut rule = one(Stop::Not(Box::new(Stop::All(vec![steps(3.0), loss(2.0)]))));
        let diagnosis = "steps: x is -1".to_owned();
        assert_eq!(
            see(&mut rule, Split::Train, -1.0),
            Decision::Abort { diagnosis }
        );
    }

    #[test]
    fn what_was_said_and_every_rule_come_back() {
        let make = || one(Stop::All(vec![steps(3.0), Stop::Not(Box::new(loss(2.0)))]));
        let mut whole = make();
        see(&mut whole, Split::Validation, 2.0);
        see(&mut whole, Split::Train, 3.0);
        let state = whole.save().unwrap();
        let mut part = make();
        part.load(&state).unwrap();
        assert_eq!(part.save().unwrap(), state);
        for (split, x) in [(Split::Train, 4.0), (Split::Validation, 1.0)] {
            assert_eq!(see(&mut whole, split, x), see(&mut part, split, x));
        }
        assert!(matches!(
            see(&mut part, Split::Train, 3.0),
            Decision::Stop { .. }
        ));
        let error = one(Stop::Not(Box::new(loss(1.0))))
            .load(&state)
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("of the rules steps, loss, not of loss"),
            "{text}"
        );
    }
}
