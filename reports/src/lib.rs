//! Reports of an experiment, made from the run records on disk alone.
//!
//! This crate owns what a reader sees after a run: the verdict, the tables and the figures. It reads
//! `runs/<pipeline>/` (`experiment.json`, `environment.json`, `recipe.yaml` and each trial's
//! `metrics.jsonl` and `result.json`) and must not know how a trial is trained: no crate of Ablate is
//! among its dependencies, so a report can be rebuilt years later from the folder.
//!
//! The same records give the same bytes: nothing here asks for the time, a random number or the
//! network.
//!
//! The way through the crate: [`records`] reads, [`metrics`] turns the lines of a trial into a polars frame,
//! [`analysis`] aggregates with polars and takes its intervals from [`statistics`], `content` puts the
//! findings into words, and `html`, `markdown`, `figures` and `tables` print them. [`flame`] stands apart: it
//! draws where the time of a step goes for `ablate profile`, from what it is handed.

#![forbid(unsafe_code)]

pub mod analysis;
mod budget;
mod content;
mod curves;
mod document;
mod error;
mod figures;
mod files;
pub mod flame;
mod format;
mod html;
mod markdown;
pub mod metrics;
mod outcome;
pub mod records;
pub mod statistics;
mod tables;
mod verdict;

use std::path::{Path, PathBuf};

pub use error::ReportError;
pub use metrics::write_metrics_parquet;

/// A page that [`build`] can write beside the figures and tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `report.html`: one self-contained page with its figures inside.
    Html,
    /// `report.md`: Markdown that shows `figures/*.svg`.
    Markdown,
}

/// The files that [`build`] wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportPaths {
    /// `report.html`, when asked for.
    pub html: Option<PathBuf>,
    /// `report.md`, when asked for.
    pub markdown: Option<PathBuf>,
    /// `figures/*.svg` and `figures/*.png`.
    pub figures: Vec<PathBuf>,
    /// `tables/*.csv` and `tables/*.parquet`.
    pub tables: Vec<PathBuf>,
}

/// Reads the records under `run_dir` and writes the report into the same folder.
///
/// Trials that diverged, failed, have not finished or have not started are no reason to fail: they
/// are listed in the report and left out of every comparison.
///
/// # Errors
/// [`ReportError::MissingRecord`] and [`ReportError::BadRecord`] when `experiment.json` is absent or cannot
/// be understood, [`ReportError::Io`] when a file cannot be read or written, [`ReportError::Frame`] and
/// [`ReportError::Figure`] when polars or plotters refuse.
pub fn build(run_dir: &Path, formats: &[Format]) -> Result<ReportPaths, ReportError> {
    let run = records::Run::read(run_dir)?;
    let analysis = analysis::Analysis::of(&run)?;
    let drawn = figures::draw_all(&analysis)?;
    let document = content::document(&run, &analysis, &drawn);

    let mut paths = ReportPaths {
        figures: figures::write_all(&run_dir.join("figures"), &drawn)?,
        tables: tables::write_all(&run_dir.join("tables"), &analysis)?,
        ..ReportPaths::default()
    };
    if formats.contains(&Format::Html) {
        let path = run_dir.join("report.html");
        files::write_atomically(&path, html::page(&document).as_bytes())?;
        paths.html = Some(path);
    }
    if formats.contains(&Format::Markdown) {
        let path = run_dir.join("report.md");
        files::write_atomically(&path, markdown::page(&document).as_bytes())?;
        paths.markdown = Some(path);
    }
    Ok(paths)
}
