//! The course of training over all trials, as lines with a band over seeds.
//!
//! Owns the frame of all lines of all trials and the queries that thin and aggregate it. A long run has more
//! steps than a figure has pixels, so steps are averaged in windows of equal width, first within a trial, then over seeds.

use polars::prelude::*;

use crate::records::{Run, Trial};
use crate::ReportError;

/// About as many points as can be told apart in one panel.
const POINTS: i64 = 160;

/// The lines of all trials.
#[derive(Clone, Debug)]
pub struct Curves {
    /// arm (position, u32), seed (u64), compared (bool), split ("train" when none was given), step (i64), numbers (f64).
    frame: DataFrame,
    /// Training steps that one point of a training line averages.
    pub window: i64,
    arms: usize,
}

/// One point of a line over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Mean step of the window.
    pub step: f64,
    /// Mean over the seeds.
    pub mean: f64,
    /// Lowest seed.
    pub low: f64,
    /// Highest seed.
    pub high: f64,
}

/// The line of one arm over its compared trials, as far as all of them go.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Position of the arm.
    pub arm: usize,
    /// Points by rising step.
    pub points: Vec<Point>,
}

/// One trial by itself: position of its arm, and its points (step, value) by rising step.
pub(crate) type TrialLine = (usize, Vec<(f64, f64)>);

impl Curves {
    /// Gathers the lines of a run; `compared` says which trials are part of the bands.
    pub(crate) fn of(run: &Run, compared: impl Fn(&Trial) -> bool) -> Result<Curves, ReportError> {
        let mut numbers: Vec<PlSmallStr> = Vec::new();
        for metrics in run.trials.iter().filter_map(|t| t.metrics.as_ref()) {
            for column in metrics.frame.columns() {
                if column.dtype() == &DataType::Float64 && !numbers.contains(column.name()) {
                    numbers.push(column.name().clone());
                }
            }
        }
        numbers.sort();
        let mut parts = Vec::new();
        for trial in &run.trials {
            let Some(metrics) = &trial.metrics else {
                continue;
            };
            let has = |name: &str| metrics.frame.column(name).is_ok();
            // A line without a step has no place on the axis.
            if !has("step") {
                continue;
            }
            let position = run.arms.iter().position(|arm| arm.name == trial.arm);
            let split = if has("split") {
                col("split").fill_null(lit("train"))
            } else {
                lit("train")
            };
            let mut columns = vec![
                // A literal takes whatever width it likes until it is cast.
                lit(position.unwrap_or(0) as u32)
                    .cast(DataType::UInt32)
                    .alias("arm"),
                lit(trial.seed).cast(DataType::UInt64).alias("seed"),
                lit(compared(trial)).alias("compared"),
                split.alias("split"),
                col("step"),
            ];
            for name in &numbers {
                let is_number = metrics
                    .frame
                    .column(name)
                    .is_ok_and(|c| c.dtype() == &DataType::Float64);
                columns.push(if is_number {
                    col(name.clone())
                } else {
                    lit(NULL).cast(DataType::Float64).alias(name.clone())
                });
            }
            let rows = metrics.frame.clone().lazy().select(columns);
            // A trial that was killed and resumed repeats the steps since its checkpoint: the last word counts.
            let steps = cols(["split", "step"]);
            parts.push(
                rows.filter(col("step").is_not_null())
                    .unique_stable(Some(steps), UniqueKeepStrategy::Last),
            );
        }
        let frame = if parts.is_empty() {
            DataFrame::empty()
        } else {
            concat(parts, UnionArgs::default())?.collect()?
        };
        let last = match frame.column("step") {
            Ok(steps) => steps.i64()?.max().unwrap_or(1),
            Err(_) => 1,
        };
        Ok(Curves {
            frame,
            window: (last + POINTS - 1).max(POINTS) / POINTS,
            arms: run.arms.len(),
        })
    }

    /// Whether any trial recorded the column.
    #[must_use]
    pub fn has(&self, column: &str) -> bool {
        self.frame.column(column).is_ok()
    }

    /// The mean line and the lowest and highest seed of every arm, over its compared trials. Points that not every
    /// one of these trials has are left out, so that a line never jumps because a seed has ended.
    pub(crate) fn bands(&self, column: &str, split: &str) -> Result<Vec<Line>, ReportError> {
        if !self.has(column) {
            return Ok(Vec::new());
        }
        let frame = self
            .windows(column, split)
            .filter(col("compared"))
            .group_by_stable([col("arm"), col("window")])
            .agg([
                col("step").mean(),
                col("value").mean().alias("mean"),
                col("value").min().alias("low"),
                col("value").max().alias("high"),
                len().cast(DataType::UInt32).alias("seeds"),
            ])
            .with_column(col("seeds").max().over([col("arm")])?.alias("all"))
            .filter(col("seeds").eq(col("all")))
            .sort(["arm", "window"], SortMultipleOptions::default())
            .collect()?;
        let arm = frame.column("arm")?.u32()?;
        let number = |name: &str| -> PolarsResult<Vec<f64>> {
            let values = frame.column(name)?.f64()?;
            Ok(values.iter().map(|v| v.unwrap_or(f64::NAN)).collect())
        };
        let (steps, means) = (number("step")?, number("mean")?);
        let (lows, highs) = (number("low")?, number("high")?);
        let mut lines: Vec<Line> = (0..self.arms)
            .map(|arm| Line {
                arm,
                points: Vec::new(),
            })
            .collect();
        for (row, arm) in arm.iter().enumerate() {
            if let Some(line) = arm.and_then(|arm| lines.get_mut(arm as usize)) {
                line.points.push(Point {
                    step: steps[row],
                    mean: means[row],
                    low: lows[row],
                    high: highs[row],
                });
            }
        }
        lines.retain(|line| !line.points.is_empty());
        Ok(lines)
    }

    /// One line a trial that is left out of the bands: arm and points.
    pub(crate) fn loose(&self, column: &str, split: &str) -> Result<Vec<TrialLine>, ReportError> {
        if !self.has(column) {
            return Ok(Vec::new());
        }
        let frame = self
            .windows(column, split)
            .filter(col("compared").not())
            .sort(["arm", "seed", "window"], SortMultipleOptions::default())
            .collect()?;
        let mut lines: Vec<(u64, TrialLine)> = Vec::new();
        let arms = frame.column("arm")?.u32()?.iter();
        let seeds = frame.column("seed")?.u64()?.iter();
        let steps = frame.column("step")?.f64()?.iter();
        let values = frame.column("value")?.f64()?.iter();
        for (((arm, seed), step), value) in arms.zip(seeds).zip(steps).zip(values) {
            let (Some(arm), Some(seed), Some(step), Some(value)) = (arm, seed, step, value) else {
                continue;
            };
            let arm = arm as usize;
            match lines.last_mut() {
                Some((last, line)) if (*last, line.0) == (seed, arm) => line.1.push((step, value)),
                _ => lines.push((seed, (arm, vec![(step, value)]))),
            }
        }
        Ok(lines.into_iter().map(|(_, line)| line).collect())
    }

    /// The column averaged over windows of steps within each trial: arm, seed, compared, window, step, value.
    /// Evaluations are few and stay as they are.
    fn windows(&self, column: &str, split: &str) -> LazyFrame {
        let width = if split == "train" { self.window } else { 1 };
        // A cast to i64 cuts off the fraction; polars' own whole division is behind one more feature.
        let steps_before = col("step").cast(DataType::Float64) - lit(1.0);
        let window = (steps_before / lit(width as f64)).cast(DataType::Int64);
        self.frame
            .clone()
            .lazy()
            .filter(col("split").eq(lit(split)).and(col(column).is_not_null()))
            .with_column(window.alias("window"))
            .group_by_stable([col("arm"), col("seed"), col("compared"), col("window")])
            .agg([col("step").mean(), col(column).mean().alias("value")])
    }
}
