//! What the process of the run and a process of its own for a trial, or for the data, say to each other.
//!
//! Owns the messages. Must not know how they travel, nor what is done about them.
//!
//! Recipes travel as YAML, because its numbers come back to the bit; the JSON reader may round.

use std::path::PathBuf;

use ablate_datasets::curate::OperatorReport;
use ablate_host::Origin;
use ablate_recipe::{Arm, ArmKind, Catalog, PluginPath, Recipe};
use ablate_train::{MetricsRow, Split};
use serde::{Deserialize, Serialize};

use crate::error::{ExperimentError, Result};
use crate::events::Event;
use crate::result::TrialResult;

/// What is to be done, and all that it needs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Paths of plugins, as the recipe has them.
    pub plugins: Vec<PluginPath>,
    /// The files behind them, as the parent's worker has seen them; they must be the same still.
    pub files: Vec<Origin>,
    /// The baseline's recipe, as YAML.
    pub baseline: String,
    /// The trial to run. None: prepare the baseline's data and tell of it.
    pub trial: Option<TrialOrder>,
}

/// A trial to run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TrialOrder {
    /// Name of the arm.
    pub name: String,
    /// Its data intervention.
    pub data: Option<String>,
    /// Its model intervention.
    pub model: Option<String>,
    /// Its recipe, as YAML.
    pub recipe: String,
    /// Hash of the settings, as the parent has it; the child must come to the same.
    pub fingerprint: String,
    pub seed: u64,
    pub number: usize,
    pub trials: usize,
    /// Threads, 0 for all.
    pub threads: usize,
    /// Folder of the trial.
    pub folder: PathBuf,
}

/// A recipe on its way out.
pub(crate) fn write(recipe: &Recipe) -> Result<String> {
    recipe.to_yaml().map_err(|e| {
        ExperimentError::Recipe(format!("cannot hand the recipe to another process: {e}"))
    })
}

/// A recipe that came in.
pub(crate) fn read(text: &str, catalog: &Catalog) -> Result<Recipe> {
    Recipe::from_yaml(text, catalog)
        .map_err(|e| ExperimentError::Recipe(format!("the recipe did not arrive whole: {e}")))
}

impl TrialOrder {
    /// The arm.
    pub fn arm(&self, catalog: &Catalog) -> Result<Arm> {
        Ok(Arm {
            name: self.name.clone(),
            kind: match (&self.data, &self.model) {
                (None, None) => ArmKind::Baseline,
                (Some(_), None) => ArmKind::Data,
                (None, Some(_)) => ArmKind::Model,
                (Some(_), Some(_)) => ArmKind::Both,
            },
            data: self.data.clone(),
            model: self.model.clone(),
            recipe: read(&self.recipe, catalog)?,
        })
    }
}

/// The one thing that the parent says after the order.
pub(crate) const INTERRUPT: &str = "interrupt";

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Message {
    Working(String),
    Started {
        parameters: u64,
        resumed_at: u64,
        total_steps: Option<u64>,
    },
    Step(Row),
    Evaluation(Row),
    Checkpoint {
        step: u64,
    },
    Warning(String),
    /// The trial has a record.
    Done(Box<TrialResult>),
    /// The trial has saved itself.
    Interrupted,
    /// The data is prepared: facts as YAML, and what each operator did.
    Data {
        facts: String,
        curation: Vec<OperatorReport>,
    },
    /// The trial cannot go on. `disk`: nor can any other.
    Failed {
        message: String,
        disk: bool,
    },
}

/// A row of the record. It is for showing: a number that is not finite comes out as NaN.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    step: u64,
    tokens: u64,
    split: Option<Split>,
    loss: Option<f64>,
    values: Vec<(String, Option<f64>)>,
    learning_rate: Option<f64>,
    grad_norm: Option<f64>,
    seconds: f64,
    data_seconds: Option<f64>,
}

fn finite(value: f64) -> Option<f64> {
    Some(value).filter(|v| v.is_finite())
}

impl From<&MetricsRow> for Row {
    fn from(row: &MetricsRow) -> Self {
        let values = row
            .values
            .iter()
            .map(|(name, v)| (name.clone(), finite(*v)));
        Row {
            step: row.step,
            tokens: row.tokens,
            split: row.split,
            loss: finite(row.loss),
            values: values.collect(),
            learning_rate: finite(row.learning_rate),
            grad_norm: finite(row.grad_norm),
            seconds: row.seconds,
            data_seconds: row.data_seconds,
        }
    }
}

impl From<Row> for MetricsRow {
    fn from(row: Row) -> Self {
        let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
        let values = row.values.into_iter().map(|(name, v)| (name, number(v)));
        MetricsRow {
            step: row.step,
            tokens: row.tokens,
            split: row.split,
            loss: number(row.loss),
            values: values.collect(),
            learning_rate: number(row.learning_rate),
            grad_norm: number(row.grad_norm),
            seconds: row.seconds,
            data_seconds: row.data_seconds,
        }
    }
}

impl Message {
    /// What a child tells of an event; the parent knows the others by itself.
    pub fn of(event: &Event<'_>) -> Option<Self> {
        Some(match event {
            Event::Working(what) => Message::Working((*what).to_owned()),
            Event::TrialStarted {
                parameters,
                resumed_at,
                total_steps,
                ..
            } => Message::Started {
                parameters: *parameters,
                resumed_at: *resumed_at,
                total_steps: *total_steps,
            },
            Event::Step(row) => Message::Step(Row::from(*row)),
            Event::Evaluation(row) => Message::Evaluation(Row::from(*row)),
            Event::Checkpoint { step } => Message::Checkpoint { step: *step },
            Event::Warning(text) => Message::Warning((*text).to_owned()),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_survives_the_way_but_for_what_json_cannot_say() {
        let row = MetricsRow {
            step: 3,
            tokens: 40,
            split: Some(Split::Validation),
            loss: f64::INFINITY,
            values: vec![("mlm_loss".into(), 0.25)],
            learning_rate: 1e-3,
            grad_norm: 2.0,
            seconds: 0.5,
            data_seconds: Some(0.125),
        };
        let text = serde_json::to_string(&Message::Step(Row::from(&row))).unwrap();
        let Message::Step(back) = serde_json::from_str(&text).unwrap() else {
            panic!("{text}")
        };
        let back = MetricsRow::from(back);
        assert!(back.loss.is_nan());
        assert_eq!(
            MetricsRow {
                loss: row.loss,
                ..back
            },
            row
        );
    }
}
