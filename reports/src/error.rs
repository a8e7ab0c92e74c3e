//! The one error type of the crate.

use std::path::PathBuf;

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A record without which nothing can be said is not there.
    #[error("{path}: no such record; is this the folder of a run?")]
    MissingRecord {
        /// The file that was looked for.
        path: PathBuf,
    },
    /// A record is there but cannot be understood.
    #[error("{path}: {detail}")]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// Reading or writing failed.
    #[error("cannot {action} {path}")]
    Io {
        /// "read", "write", "create" or "rename".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's word.
        source: std::io::Error,
    },
    /// polars refused a query or a file.
    #[error("cannot analyse the records: {0}")]
    Frame(#[from] polars::error::PolarsError),
    /// plotters could not draw a figure.
    #[error("cannot draw the figure {figure}: {detail}")]
    Figure {
        /// The figure's name.
        figure: String,
        /// plotters' word.
        detail: String,
    },
}
