//! The share of tokens to hide: one number, or one that changes while training goes on.
//!
//! A scheduled rate is a function of the step or of the epoch alone. Nothing is counted here, so a
//! batch that is prepared ahead, again or after a restart is hidden as it was the first time.

use ablate_sdk::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `mask_rate`: a number, or a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "a share, or {from, to, steps} or {from, to, epochs}"
)]
pub enum MaskRate {
    /// The same share throughout, between 0 and 1, both exclusive.
    Constant(#[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))] f64),
    /// A share that changes with the steps or the epochs.
    Scheduled(Schedule),
}

/// A share that goes from one value to another and stays there. Give `steps` or `epochs`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Share in the first step.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub from: f64,
    /// Share at the end, and from then on.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub to: f64,
    /// Optimizer steps from the one to the other.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub steps: Option<u64>,
    /// Epochs from the one to the other; within an epoch the share stays.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub epochs: Option<u64>,
    /// The way between the two.
    #[serde(default)]
    pub shape: Shape,
}

/// The way of a scheduled share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// A straight line.
    #[default]
    Linear,
    /// Half a cosine: slow at both ends.
    Cosine,
}

impl MaskRate {
    /// The rate at `step` (from 1) of `epoch` (from 0).
    pub fn at(&self, step: u64, epoch: u64) -> f64 {
        let schedule = match self {
            MaskRate::Constant(rate) => return *rate,
            MaskRate::Scheduled(schedule) => schedule,
        };
        let done = match (schedule.steps, schedule.epochs) {
            (Some(steps), _) => step.saturating_sub(1) as f64 / steps as f64,
            (None, epochs) => epoch as f64 / epochs.unwrap_or(1) as f64,
        }
        .min(1.0);
        let way = match schedule.shape {
            Shape::Linear => done,
            Shape::Cosine => 0.5 * (1.0 - (std::f64::consts::PI * done).cos()),
        };
        schedule.from + (schedule.to - schedule.from) * way
    }

    /// The largest rate that ever holds.
    pub fn largest(&self) -> f64 {
        match self {
            MaskRate::Constant(rate) => *rate,
            MaskRate::Scheduled(s) => s.from.max(s.to),
        }
    }

    /// # Errors
    /// [`Error::Config`] for shares outside 0 and 1, and for a schedule without an end.
    pub fn validate(&self) -> Result<()> {
        let share = |key: &str, value: f64| {
            if value > 0.0 && value < 1.0 {
                return Ok(());
            }
            Err(Error::Config(format!(
                "`{key}` is {value}; it lies between 0 and 1, both exclusive"
            )))
        };
        match self {
            MaskRate::Constant(rate) => share("mask_rate", *rate),
            MaskRate::Scheduled(s) => {
                share("mask_rate.from", s.from)?;
                share("mask_rate.to", s.to)?;
                match (s.steps, s.epochs) {
                    (Some(0), _) | (_, Some(0)) => Err(Error::Config(
                        "`mask_rate` needs at least one step or epoch to get from one share to \
                         the other"
                            .into(),
                    )),
                    (Some(_), None) | (None, Some(_)) => Ok(()),
                    _ => Err(Error::Config(
                        "`mask_rate` needs either `steps` or `epochs`: the time from one share to \
                         the other"
                            .into(),
                    )),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> MaskRate {
        serde_json::from_str(text).unwrap()
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn a_line_over_steps() {
        let r = rate(r#"{"from": 0.3, "to": 0.1, "steps": 10}"#);
        assert!(r.validate().is_ok());
        for (step, expected) in [(0, 0.3), (1, 0.3), (6, 0.2), (11, 0.1), (999, 0.1)] {
            close(r.at(step, 7), expected);
        }
        close(r.largest(), 0.3);
    }

    #[test]
    fn a_cosine_over_epochs() {
        let r = rate(r#"{"from": 0.1, "to": 0.5, "epochs": 4, "shape": "cosine"}"#);
        for (epoch, expected) in [(0, 0.1), (2, 0.3), (4, 0.5), (5, 0.5)] {
            close(r.at(1000, epoch), expected);
        }
        close(
            r.at(1, 1),
            0.1 + 0.2 * (1.0 - (std::f64::consts::PI / 4.0).cos()),
        );
        close(r.largest(), 0.5);
    }

    #[test]
    fn a_number_is_a_rate() {
        close(rate("0.15").at(3, 3), 0.15);
    }

    #[test]
    fn schedules_without_an_end_are_refused() {
        for text in [
            r#"{"from": 0.3, "to": 0.1}"#,
            r#"{"from": 0.3, "to": 0.1, "steps": 5, "epochs": 5}"#,
            r#"{"from": 0.3, "to": 0.1, "steps": 0}"#,
            r#"{"from": 0.3, "to": 1.0, "steps": 5}"#,
            "1.0",
        ] {
            let Err(Error::Config(message)) = rate(text).validate() else {
                panic!("{text} is accepted");
            };
            assert!(message.contains("mask_rate"), "{message}");
        }
    }
}
