//! What the records say, before it is put into words.
//!
//! Owns the choice of the outcome, which trials are compared, and the effects: differences to the baseline,
//! and for every data x model pair of a factorial design the main effects and the interaction. All queries
//! are polars queries over one table of trials; intervals come from [`crate::statistics`].
//!
//! With the losses B (baseline), D (data alone), M (model alone) and X (both), of one seed:
//! data alone D - B, model alone M - B, interaction X - D - M + B, and these three add up to X - B.
//! The main effect of the data change is its mean over both models, ((D - B) + (X - M)) / 2, and the other way round
//! (Montgomery, Design and Analysis of Experiments, chapter 5). Some books halve the interaction; this crate does not,
//! so that the parts add up to the whole.

use std::collections::BTreeMap;

use polars::prelude::*;

use crate::curves::Curves;
use crate::outcome::{is_compared, measures, outcome, outcome_column};
use crate::records::{Arm, CorpusFacts, Run, Status, Trial};
use crate::statistics::Estimate;
use crate::ReportError;

pub use crate::outcome::Outcome;

/// Mean and standard deviation over the compared trials of an arm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation; none with one trial.
    pub standard_deviation: Option<f64>,
}

/// One row of the table of arms. The means are over the compared trials.
#[derive(Clone, Debug)]
pub struct ArmSummary {
    /// The arm.
    pub arm: Arm,
    /// Trials that are compared.
    pub compared: usize,
    /// Held-out metrics by column name.
    pub held_out: BTreeMap<String, Spread>,
    /// Trained parameters.
    pub parameters: Option<f64>,
    /// Optimizer steps.
    pub steps: Option<f64>,
    /// Tokens seen.
    pub tokens: Option<f64>,
    /// Floating-point operations spent.
    pub flops: Option<f64>,
    /// Wall-clock seconds.
    pub seconds: Option<f64>,
    /// Stopping rules that ended the compared trials, with how many each.
    pub stopped_by: Vec<(String, usize)>,
    /// Difference to the baseline, paired by seed; none for the baseline itself.
    pub difference: Option<Estimate>,
}

/// The effects of one data x model pair. Arms are positions in [`Analysis::arms`].
#[derive(Clone, Debug)]
pub struct Pair {
    /// The arm with the data intervention alone.
    pub data: usize,
    /// The arm with the model intervention alone.
    pub model: usize,
    /// The arm with both.
    pub both: usize,
    /// D - B.
    pub data_alone: Estimate,
    /// M - B.
    pub model_alone: Estimate,
    /// X - D - M + B.
    pub interaction: Estimate,
    /// X - B.
    pub total: Estimate,
    /// ((D - B) + (X - M)) / 2.
    pub data_main: Estimate,
    /// ((M - B) + (X - D)) / 2.
    pub model_main: Estimate,
}

/// D - M for a data arm and a model arm: negative when the data change lowers the loss further.
#[derive(Clone, Debug)]
pub struct Contrast {
    /// The arm with the data intervention alone.
    pub data: usize,
    /// The arm with the model intervention alone.
    pub model: usize,
    /// D - M.
    pub difference: Estimate,
}

/// A trial that takes no part in any comparison, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excluded {
    /// The arm's name.
    pub arm: String,
    /// The seed.
    pub seed: u64,
    /// How far it came.
    pub status: Status,
    /// Why it is left out.
    pub diagnosis: String,
    /// Last recorded step.
    pub last_step: Option<i64>,
}

/// Everything that a report says in numbers.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// What arms are compared by.
    pub outcome: Outcome,
    /// Metric columns `<objective>_loss` and `<objective>_accuracy` that occur, in the order of the objectives.
    pub measures: Vec<String>,
    /// The arms, baseline first.
    pub arms: Vec<ArmSummary>,
    /// Position of the baseline, when the experiment has one.
    pub baseline: Option<usize>,
    /// Complete data x model pairs.
    pub pairs: Vec<Pair>,
    /// Every data arm against every model arm.
    pub contrasts: Vec<Contrast>,
    /// Trials that are left out.
    pub excluded: Vec<Excluded>,
    /// Number of seeds of the experiment.
    pub seeds: usize,
    /// The corpus.
    pub corpus: CorpusFacts,
    /// One row a trial.
    pub trials: DataFrame,
    /// The lines of all trials.
    pub curves: Curves,
}

impl Analysis {
    /// Analyses the records of a run.
    ///
    /// # Errors
    /// When polars refuses a query.
    pub fn of(run: &Run) -> Result<Analysis, ReportError> {
        let measures = measures(run);
        let outcome = outcome(run, &measures);
        let trials = trial_table(run, &outcome)?;
        let table = Table {
            compared: trials.clone().lazy().filter(col("compared")),
            outcome: outcome_column(&outcome),
        };
        let baseline = run.arms.iter().position(Arm::is_baseline);
        let mut arms = summaries(run, &table, &outcome, &measures)?;
        let mut pairs = Vec::new();
        let mut contrasts = Vec::new();
        if let Some(b) = baseline {
            for (i, summary) in arms.iter_mut().enumerate() {
                if i != b {
                    let roles = [("B", &run.arms[b]), ("A", &run.arms[i])];
                    summary.difference = table.estimate(&roles, col("A") - col("B"))?;
                }
            }
            for (d, data) in run.arms.iter().enumerate() {
                for (m, model) in run.arms.iter().enumerate() {
                    if data.data.is_none() || data.model.is_some() {
                        continue;
                    }
                    if model.model.is_none() || model.data.is_some() {
                        continue;
                    }
                    let roles = [("D", data), ("M", model)];
                    if let Some(difference) = table.estimate(&roles, col("D") - col("M"))? {
                        contrasts.push(Contrast {
                            data: d,
                            model: m,
                            difference,
                        });
                    }
                    let both = run
                        .arms
                        .iter()
                        .position(|arm| arm.data == data.data && arm.model == model.model);
                    if let Some(x) = both {
                        pairs.extend(table.pair(&run.arms, [b, d, m, x])?);
                    }
                }
            }
        }
        Ok(Analysis {
            excluded: excluded(run, &outcome),
            curves: Curves::of(run, |trial| is_compared(trial, &outcome))?,
            outcome,
            measures,
            arms,
            baseline,
            pairs,
            contrasts,
            seeds: run.seeds.len(),
            corpus: run.corpus.clone(),
            trials,
        })
    }

    /// The baseline's row.
    #[must_use]
    pub fn baseline_arm(&self) -> Option<&ArmSummary> {
        self.baseline.map(|i| &self.arms[i])
    }
}

/// The trials that are compared, and the column they are compared by.
struct Table {
    compared: LazyFrame,
    outcome: String,
}

impl Table {
    /// The estimate of `value` over the seeds that every one of the arms has. In `value`, a column named as a role
    /// is the outcome of its arm.
    fn estimate(
        &self,
        roles: &[(&str, &Arm)],
        value: Expr,
    ) -> Result<Option<Estimate>, ReportError> {
        let losses = roles.iter().map(|(role, arm)| {
            self.compared
                .clone()
                .filter(col("arm").eq(lit(arm.name.clone())))
                .select([col("seed"), col(self.outcome.as_str()).alias(*role)])
        });
        let joined = losses.reduce(|left, right| left.inner_join(right, col("seed"), col("seed")));
        let Some(joined) = joined else {
            return Ok(None);
        };
        let frame = joined
            .select([col("seed"), value.alias("value")])
            .sort(["seed"], SortMultipleOptions::default())
            .collect()?;
        let seeds = frame.column("seed")?.u64()?.iter();
        let values = frame.column("value")?.f64()?.iter();
        let values = seeds.zip(values).filter_map(|(s, v)| Some((s?, v?)));
        Ok(Estimate::of(values.collect()))
    }

    fn pair(&self, arms: &[Arm], [b, d, m, x]: [usize; 4]) -> Result<Option<Pair>, ReportError> {
        let roles = [
            ("B", &arms[b]),
            ("D", &arms[d]),
            ("M", &arms[m]),
            ("X", &arms[x]),
        ];
        let of = |value: Expr| self.estimate(&roles, value);
        let [data, model, both, base] = [col("D"), col("M"), col("X"), col("B")];
        let parts = (
            of(data.clone() - base.clone())?,
            of(model.clone() - base.clone())?,
            of(both.clone() - data.clone() - model.clone() + base.clone())?,
            of(both.clone() - base.clone())?,
            of((data.clone() - base.clone() + both.clone() - model.clone()) * lit(0.5))?,
            of((model - base + both - data) * lit(0.5))?,
        );
        // All six have the same seeds, so they are there together or not at all.
        Ok(match parts {
            (
                Some(data_alone),
                Some(model_alone),
                Some(interaction),
                Some(total),
                Some(data_main),
                Some(model_main),
            ) => Some(Pair {
                data: d,
                model: m,
                both: x,
                data_alone,
                model_alone,
                interaction,
                total,
                data_main,
                model_main,
            }),
            _ => None,
        })
    }
}

/// One row a trial: identity, state, costs, and every held-out metric as `<split>_<metric>`.
fn trial_table(run: &Run, outcome: &Outcome) -> Result<DataFrame, ReportError> {
    fn column<T>(trials: &[Trial], name: &str, of: impl Fn(&Trial) -> T) -> Column
    where
        Series: NamedFrom<Vec<T>, [T]>,
        Vec<T>: AsRef<[T]>,
    {
        let cells: Vec<T> = trials.iter().map(of).collect();
        Series::new(name.into(), cells).into()
    }
    let trials = &run.trials;
    let mut columns = vec![
        column(trials, "arm", |t| t.arm.clone()),
        column(trials, "seed", |t| t.seed),
        column(trials, "status", |t| t.status.word().to_string()),
        column(trials, "compared", |t| is_compared(t, outcome)),
        column(trials, "stopped_by", |t| t.result.stopped_by.clone()),
        column(trials, "reason", |t| t.result.reason.clone()),
        column(trials, "steps", |t| t.result.steps),
        column(trials, "tokens", |t| t.result.tokens),
        column(trials, "flops", |t| t.result.flops),
        column(trials, "seconds", |t| t.result.seconds),
        column(trials, "parameters", |t| t.result.parameters),
    ];
    for split in ["test", "validation"] {
        let map = |trial: &Trial| match split {
            "test" => trial.result.test.clone(),
            _ => trial.result.validation.clone(),
        };
        let mut names: Vec<String> = trials.iter().flat_map(|t| map(t).into_keys()).collect();
        // The outcome's column is there even before the first trial has finished.
        if split == outcome.split {
            names.push(outcome.column.clone());
        }
        names.sort();
        names.dedup();
        for name in names {
            let full = format!("{split}_{name}");
            columns.push(column(trials, &full, |t| map(t).get(&name).copied()));
        }
    }
    Ok(DataFrame::new(trials.len(), columns)?)
}

/// The rows of the table of arms, without the differences.
fn summaries(
    run: &Run,
    table: &Table,
    outcome: &Outcome,
    measures: &[String],
) -> Result<Vec<ArmSummary>, ReportError> {
    let schema = table.compared.clone().collect_schema()?;
    let costs = ["parameters", "steps", "tokens", "flops", "seconds"];
    let mut aggregates = vec![len().alias("trials")];
    aggregates.extend(costs.map(|name| col(name).mean()));
    for measure in measures {
        let name = format!("{}_{measure}", outcome.split);
        if schema.contains(&name) {
            aggregates.push(col(name.as_str()).mean());
            aggregates.push(col(name.as_str()).std(1).alias(format!("{name}_sd")));
        }
    }
    let means = table
        .compared
        .clone()
        .group_by_stable([col("arm")])
        .agg(aggregates)
        .collect()?;
    let rules = table
        .compared
        .clone()
        .filter(col("stopped_by").is_not_null())
        .group_by_stable([col("arm"), col("stopped_by")])
        .agg([len().cast(DataType::UInt32).alias("trials")])
        .sort(["arm", "stopped_by"], SortMultipleOptions::default())
        .collect()?;
    let names = means.column("arm")?.str()?;
    let mut found = Vec::with_capacity(run.arms.len());
    for arm in &run.arms {
        let row = names.iter().position(|name| name == Some(&arm.name));
        let cell =
            |column: &str| -> Option<f64> { means.column(column).ok()?.f64().ok()?.get(row?) };
        let held_out = measures.iter().filter_map(|measure| {
            let name = format!("{}_{measure}", outcome.split);
            let spread = Spread {
                mean: cell(&name)?,
                standard_deviation: cell(&format!("{name}_sd")),
            };
            Some((measure.clone(), spread))
        });
        let compared = run
            .trials
            .iter()
            .filter(|t| t.arm == arm.name && is_compared(t, outcome))
            .count();
        found.push(ArmSummary {
            arm: arm.clone(),
            compared,
            held_out: held_out.collect(),
            parameters: cell("parameters"),
            steps: cell("steps"),
            tokens: cell("tokens"),
            flops: cell("flops"),
            seconds: cell("seconds"),
            stopped_by: stopping_rules(&rules, &arm.name)?,
            difference: None,
        });
    }
    Ok(found)
}

fn stopping_rules(rules: &DataFrame, arm: &str) -> Result<Vec<(String, usize)>, ReportError> {
    let arms = rules.column("arm")?.str()?.iter();
    let names = rules.column("stopped_by")?.str()?.iter();
    let counts = rules.column("trials")?.u32()?.iter();
    let rows = arms.zip(names).zip(counts);
    let mine = rows.filter_map(|((a, name), count)| {
        (a == Some(arm)).then_some((name?.to_string(), count? as usize))
    });
    Ok(mine.collect())
}

/// The trials that are left out, each with its reason.
fn excluded(run: &Run, outcome: &Outcome) -> Vec<Excluded> {
    let mut found = Vec::new();
    for trial in &run.trials {
        if is_compared(trial, outcome) {
            continue;
        }
        let last_step = trial.metrics.as_ref().and_then(|m| m.last_step);
        let diagnosis = match (&trial.result_error, trial.status) {
            (Some(error), _) => error.clone(),
            (None, Status::Finished) => {
                format!("its result has no {} {}", outcome.split, outcome.label)
            }
            (None, Status::Unfinished) => "no result yet".to_string(),
            (None, Status::NotStarted) => "no record".to_string(),
            (None, Status::Diverged | Status::Failed) => trial
                .result
                .reason
                .clone()
                .unwrap_or_else(|| "no reason recorded".to_string()),
        };
        found.push(Excluded {
            arm: trial.arm.clone(),
            seed: trial.seed,
            status: trial.status,
            diagnosis,
            last_step,
        });
    }
    found
}
