//! `ablate run` and `ablate report`.

use std::path::Path;

use ablate_experiment::{run as run_experiment, ExperimentError, RunOptions, RunSummary};
use ablate_recipe::Recipe;
use ablate_reports::Format;

use super::worker::program;
use super::{load, print, shown, Failure, Outcome, Purpose};
use crate::args::{self, ReportFormat};
use crate::{exit, interrupt, progress};

/// Runs the trials, then makes the report from what is on the disk.
pub fn run(args: args::Run) -> Outcome {
    let seed: Vec<String> = args
        .seed
        .iter()
        .map(|seed| format!("seeds=[{seed}]"))
        .collect();
    let (loaded, plugins) = load(&args.recipe, &seed, Purpose::Compute)?;
    let options = RunOptions {
        runs: args.runs,
        fresh: args.fresh,
        threads: args.threads.unwrap_or(0) as usize,
        worker: if args.in_process {
            None
        } else {
            Some(program()?)
        },
    };
    let plugins = if args.in_process {
        plugins.open().map_err(Failure::running)?
    } else {
        plugins
    };
    let interrupt = interrupt::flag();
    let mut display = progress::display(args.quiet);
    let summary = run_experiment(&loaded, &plugins, &options, &mut *display, &interrupt);
    drop(display);
    let summary = summary.map_err(failure)?;
    let made = records_and_report(&loaded.recipe, &summary)?;
    if summary.interrupted {
        // After a hang-up nobody reads this, which is no failure.
        let _ = print(&format!(
            "interrupted: the running trial is saved; the same command goes on\n{made}"
        ));
        return Ok(exit::INTERRUPTED);
    }
    if summary.failed > 0 {
        let count = match summary.failed {
            1 => "1 trial failed".to_owned(),
            n => format!("{n} trials failed"),
        };
        print(&format!("{count}; the same command tries again\n{made}"))?;
        return Ok(exit::FAILURE);
    }
    print(&made)?;
    Ok(exit::OK)
}

/// Mistakes that only show once the data or a checkpoint is looked at are the recipe's all the same.
fn failure(error: ExperimentError) -> Failure {
    match error {
        ExperimentError::Recipe(_) => Failure::usage(error),
        error => Failure::running(error),
    }
}

fn records_and_report(recipe: &Recipe, summary: &RunSummary) -> Result<String, Failure> {
    for trial in &summary.trials {
        // A trial that failed before its first step has no metrics.
        let written = |name: &str| trial.join(name).metadata().and_then(|m| m.modified()).ok();
        let (lines, table) = (written("metrics.jsonl"), written("metrics.parquet"));
        if lines.is_some() && table < lines {
            ablate_reports::write_metrics_parquet(trial).map_err(Failure::running)?;
        }
    }
    if summary.trials.is_empty() {
        return Ok(String::new());
    }
    let formats: Vec<Format> = recipe
        .report
        .formats
        .iter()
        .map(|format| match format {
            ablate_recipe::ReportFormat::Html => Format::Html,
            ablate_recipe::ReportFormat::Markdown => Format::Markdown,
        })
        .collect();
    build(&summary.folder, &formats)
}

fn build(folder: &Path, formats: &[Format]) -> Result<String, Failure> {
    let made = ablate_reports::build(folder, formats).map_err(Failure::running)?;
    let pages: Vec<String> = made
        .html
        .iter()
        .chain(&made.markdown)
        .map(|path| format!("report: {}\n", shown(path)))
        .collect();
    Ok(pages.concat())
}

/// Rebuilds a report.
pub fn report(args: &args::Report) -> Outcome {
    if !args.run.is_dir() {
        return Err(Failure::usage(format!(
            "{} is no folder; give the folder of a run, for example runs/quickstart",
            shown(&args.run)
        )));
    }
    let formats = match args.format.as_slice() {
        [] => asked_for(&args.run),
        formats => formats
            .iter()
            .map(|format| match format {
                ReportFormat::Html => Format::Html,
                ReportFormat::Markdown => Format::Markdown,
            })
            .collect(),
    };
    print(&build(&args.run, &formats)?)?;
    Ok(exit::OK)
}

/// The formats that the run's recipe asked for; both when its record does not say.
fn asked_for(run: &Path) -> Vec<Format> {
    let recorded = std::fs::read(run.join("experiment.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    let named: Vec<Format> = recorded
        .iter()
        .filter_map(|record| record.get("report")?.get("formats")?.as_array())
        .flatten()
        .filter_map(|format| match format.as_str()? {
            "html" => Some(Format::Html),
            "markdown" => Some(Format::Markdown),
            _ => None,
        })
        .collect();
    if named.is_empty() {
        vec![Format::Html, Format::Markdown]
    } else {
        named
    }
}
