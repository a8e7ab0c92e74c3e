//! The arms of an experiment: which combinations of interventions are trained.
//!
//! Owns names and order of the arms. Must not know how an intervention changes a recipe.

use serde::Serialize;

use crate::recipe::{Design, Experiment, Recipe};

/// Name of the arm without any intervention.
pub const BASELINE: &str = "baseline";

/// What an arm changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ArmKind {
    /// Nothing: the recipe as written.
    Baseline,
    /// The data alone.
    Data,
    /// The model alone.
    Model,
    /// One data and one model intervention together.
    Both,
}

/// An arm by name, before its recipe is resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArmPlan {
    /// Folder-safe name: `baseline`, `cleaned`, `deeper`, `cleaned+deeper`.
    pub name: String,
    /// What it changes.
    pub kind: ArmKind,
    /// Name of the data intervention, if any.
    pub data: Option<String>,
    /// Name of the model intervention, if any.
    pub model: Option<String>,
}

/// An arm and the recipe that its trials follow.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    /// Folder-safe name: `baseline`, `cleaned`, `deeper`, `cleaned+deeper`.
    pub name: String,
    /// What it changes.
    pub kind: ArmKind,
    /// Name of the data intervention, if any.
    pub data: Option<String>,
    /// Name of the model intervention, if any.
    pub model: Option<String>,
    /// The whole recipe with the interventions applied.
    pub recipe: Recipe,
}

impl Recipe {
    /// The arms in the order in which they are trained: baseline, each data intervention, each
    /// model intervention, then the pairs of a factorial design.
    #[must_use]
    pub fn arms(&self) -> Vec<ArmPlan> {
        plan(&self.experiment)
    }
}

/// See [`Recipe::arms`].
pub(crate) fn plan(experiment: &Experiment) -> Vec<ArmPlan> {
    let mut arms = vec![ArmPlan {
        name: BASELINE.to_owned(),
        kind: ArmKind::Baseline,
        data: None,
        model: None,
    }];
    arms.extend(experiment.data.keys().map(|data| ArmPlan {
        name: data.clone(),
        kind: ArmKind::Data,
        data: Some(data.clone()),
        model: None,
    }));
    arms.extend(experiment.model.keys().map(|model| ArmPlan {
        name: model.clone(),
        kind: ArmKind::Model,
        data: None,
        model: Some(model.clone()),
    }));
    if experiment.design == Design::Factorial {
        for data in experiment.data.keys() {
            arms.extend(experiment.model.keys().map(|model| ArmPlan {
                name: format!("{data}+{model}"),
                kind: ArmKind::Both,
                data: Some(data.clone()),
                model: Some(model.clone()),
            }));
        }
    }
    arms
}
