//! When a trial ends: single rules, and rules together.
//!
//! Owns how compositions are written (`any: [..]`, `all: [..]`, `not: ..`, nested anywhere in `stop`) and
//! what follows from them for the number of steps. Must not know which rules there are, apart from the
//! four that bound a trial.
//!
//! `any`, `all` and `not` are words of the recipe: a rule of one of these names cannot be chosen.

use serde::{Deserialize, Serialize};
use serde_json::{json, Map, Value};

use crate::component::Component;

/// Rules that hold sooner or later whatever the losses do.
const BOUNDS: [&str; 4] = ["max_steps", "max_tokens", "max_flops", "max_seconds"];

/// The words that put rules together.
pub(crate) const ANY: &str = "any";
pub(crate) const ALL: &str = "all";
pub(crate) const NOT: &str = "not";

/// An entry of `stop`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Value", try_from = "Value")]
pub enum Stop {
    /// A rule by name.
    Rule(Component),
    /// Holds while at least one part holds.
    Any(Vec<Stop>),
    /// Holds while all parts hold.
    All(Vec<Stop>),
    /// Holds while its part does not.
    Not(Box<Stop>),
}

impl Stop {
    /// The step at which it holds at the latest, as far as `max_steps` says.
    #[must_use]
    pub fn max_steps(&self) -> Option<u64> {
        match self {
            Self::Rule(rule) if rule.name == "max_steps" => rule.config.get("steps")?.as_u64(),
            Self::Any(parts) => first_of(parts),
            // All of them have come only when the last has.
            Self::All(parts) => {
                let each: Option<Vec<u64>> = parts.iter().map(Self::max_steps).collect();
                each?.into_iter().max()
            }
            Self::Rule(_) | Self::Not(_) => None,
        }
    }

    /// Whether a rule of this name is anywhere in it.
    #[must_use]
    pub fn uses(&self, name: &str) -> bool {
        match self {
            Self::Rule(rule) => rule.name == name,
            Self::Any(parts) | Self::All(parts) => parts.iter().any(|p| p.uses(name)),
            Self::Not(part) => part.uses(name),
        }
    }

    /// Whether it holds sooner or later whatever the losses do.
    pub(crate) fn is_bound(&self) -> bool {
        match self {
            Self::Rule(rule) => BOUNDS.contains(&rule.name.as_str()),
            Self::Any(parts) => parts.iter().any(Self::is_bound),
            Self::All(parts) => parts.iter().all(Self::is_bound),
            Self::Not(_) => false,
        }
    }

    /// Whether it holds while none of its rules does, so that a trial would end with its first step.
    pub(crate) fn holds_at_first(&self) -> bool {
        match self {
            Self::Rule(_) => false,
            Self::Any(parts) => parts.iter().any(Self::holds_at_first),
            Self::All(parts) => parts.iter().all(Self::holds_at_first),
            Self::Not(part) => !part.holds_at_first(),
        }
    }

    /// Every single rule in it with the path to it, below `at`.
    pub(crate) fn rules<'s>(&'s self, at: &str, out: &mut Vec<(String, &'s Component)>) {
        let mut below = |word: &str, parts: &'s [Self]| {
            for part in parts {
                part.rules(&format!("{at}.{word}"), out);
            }
        };
        match self {
            Self::Rule(rule) => out.push((format!("{at}.{}", rule.name), rule)),
            Self::Any(parts) => below(ANY, parts),
            Self::All(parts) => below(ALL, parts),
            Self::Not(part) => below(NOT, std::slice::from_ref(&**part)),
        }
    }

    /// The word or name that it is written with.
    pub(crate) fn word(&self) -> &str {
        match self {
            Self::Rule(rule) => &rule.name,
            Self::Any(_) => ANY,
            Self::All(_) => ALL,
            Self::Not(_) => NOT,
        }
    }
}

/// The step at which one of several holds at the latest.
pub(crate) fn first_of(any: &[Stop]) -> Option<u64> {
    any.iter().filter_map(Stop::max_steps).min()
}

/// The entries of `stop` that are right; others have been reported.
pub(crate) fn entries(value: &Value) -> Vec<Stop> {
    value
        .get("stop")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|entry| Stop::try_from(entry.clone()).ok())
        .collect()
}

impl TryFrom<Value> for Stop {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        let word = value
            .as_object()
            .filter(|map| map.len() == 1)
            .and_then(|map| map.keys().next().cloned());
        let parts = |value: &Value| -> Result<Vec<Self>, String> {
            let parts = value.as_array().ok_or("expected a list of rules")?;
            parts.iter().cloned().map(Self::try_from).collect()
        };
        match word.as_deref() {
            Some(ANY) => Ok(Self::Any(parts(&value[ANY])?)),
            Some(ALL) => Ok(Self::All(parts(&value[ALL])?)),
            Some(NOT) => Ok(Self::Not(Box::new(value[NOT].clone().try_into()?))),
            _ => Ok(Self::Rule(value.try_into()?)),
        }
    }
}

impl From<Stop> for Value {
    fn from(stop: Stop) -> Self {
        let word = stop.word().to_owned();
        let inside = match stop {
            Stop::Rule(rule) => return rule.into(),
            Stop::Any(parts) | Stop::All(parts) => json!(parts),
            Stop::Not(part) => Self::from(*part),
        };
        Self::Object(Map::from_iter([(word, inside)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(value: Value) -> Stop {
        Stop::try_from(value).unwrap()
    }

    #[test]
    fn written_and_read_again_it_is_the_same() {
        let text = json!({"all": [
            {"max_steps": {"steps": 9}},
            {"not": {"any": [{"converged": {}}, {"patience": {"evaluations": 2}}]}},
        ]});
        let read = stop(text.clone());
        assert_eq!(Value::from(read.clone()), text);
        let mut rules = Vec::new();
        read.rules("stop", &mut rules);
        let paths: Vec<&str> = rules.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "stop.all.max_steps",
                "stop.all.not.any.converged",
                "stop.all.not.any.patience"
            ]
        );
        assert!(Stop::try_from(json!({"all": {"max_steps": {}}})).is_err());
        assert!(Stop::try_from(json!({"any": [7]})).is_err());
    }

    #[test]
    fn what_bounds_the_steps() {
        let steps = |n: u64| json!({"max_steps": {"steps": n}});
        let limit = |value| stop(value).max_steps();
        assert_eq!(
            limit(json!({"any": [steps(7), steps(5), {"converged": {}}]})),
            Some(5)
        );
        assert_eq!(limit(json!({"all": [steps(7), steps(5)]})), Some(7));
        assert_eq!(limit(json!({"all": [steps(7), {"converged": {}}]})), None);
        assert_eq!(limit(json!({"not": steps(7)})), None);
        let bound = |value| stop(value).is_bound();
        assert!(bound(
            json!({"all": [steps(7), {"max_flops": {"flops": 1e9}}]})
        ));
        assert!(!bound(json!({"all": [steps(7), {"converged": {}}]})));
    }

    #[test]
    fn what_holds_before_anything_happened() {
        let first = |value| stop(value).holds_at_first();
        let rule = json!({"converged": {}});
        assert!(first(json!({"not": rule})));
        assert!(!first(json!({"not": {"not": rule}})));
        assert!(!first(json!({"all": [rule, {"not": rule}]})));
        assert!(first(json!({"any": [rule, {"not": rule}]})));
    }
}
