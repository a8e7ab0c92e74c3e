//! What arms are compared by, and which trials can be compared.

use std::collections::BTreeMap;

use crate::records::{Run, Status, Trial};

/// The number that arms are compared by: a held-out loss, lower is better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// "test", or "validation" when no trial has test metrics.
    pub split: &'static str,
    /// Column of the metrics, `mlm_loss` or another objective's, or `loss`.
    pub column: String,
    /// In words: "MLM loss".
    pub label: String,
}

/// The columns `<objective>_loss` and `<objective>_accuracy` that any trial has.
pub(crate) fn measures(run: &Run) -> Vec<String> {
    let occurs = |column: &str| {
        run.trials.iter().any(|trial| {
            trial.result.test.contains_key(column)
                || trial.result.validation.contains_key(column)
                || trial
                    .metrics
                    .as_ref()
                    .is_some_and(|m| m.frame.column(column).is_ok())
        })
    };
    let mut found: Vec<String> = Vec::new();
    for objective in &run.objectives {
        for kind in ["loss", "accuracy"] {
            let column = format!("{objective}_{kind}");
            if occurs(&column) {
                found.push(column);
            }
        }
    }
    if !found.iter().any(|column| column.ends_with("_loss")) {
        found.insert(0, "loss".to_string());
    }
    found
}

/// Masked words come first because every arm can be compared by them; without them the first objective's loss.
pub(crate) fn outcome(run: &Run, measures: &[String]) -> Outcome {
    let column = measures
        .iter()
        .find(|column| *column == "mlm_loss")
        .or_else(|| measures.iter().find(|column| column.ends_with("loss")))
        .map_or("loss", String::as_str)
        .to_string();
    let has_test = run
        .trials
        .iter()
        .any(|trial| trial.result.test.contains_key(&column));
    let has_validation = run
        .trials
        .iter()
        .any(|trial| trial.result.validation.contains_key(&column));
    Outcome {
        split: if !has_test && has_validation {
            "validation"
        } else {
            "test"
        },
        label: crate::format::measure(&column),
        column,
    }
}

/// The outcome as a column of the table of trials.
pub(crate) fn outcome_column(outcome: &Outcome) -> String {
    format!("{}_{}", outcome.split, outcome.column)
}

fn held_out<'a>(trial: &'a Trial, outcome: &Outcome) -> &'a BTreeMap<String, f64> {
    match outcome.split {
        "validation" => &trial.result.validation,
        _ => &trial.result.test,
    }
}

/// Only finished trials with the outcome are compared.
pub(crate) fn is_compared(trial: &Trial, outcome: &Outcome) -> bool {
    trial.status == Status::Finished && held_out(trial, outcome).contains_key(&outcome.column)
}
