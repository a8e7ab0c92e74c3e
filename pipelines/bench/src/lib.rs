//! Measures training steps: how long one takes, how much memory it needs, and where both go.
//!
//! Owns: the shape of a benchmark, batches of made-up tokens, the measuring of a [`Trainer`], the
//! largest rate of matrix products, compile time, and profiles by kernel. Must not know: recipes,
//! corpora, how results are shown beyond one JSON line and one table.
//!
//! A step is the step of a trial, nothing less: the same [`Trainer`] takes the next window from a
//! [`BatchSource`], lets the objectives `mlm` and `nsp` mask and label it, runs forward and backward,
//! clips the gradient and lets `adamw` update, every plugin behind the same door as in `ablate run`.
//!
//! ```
//! use ablate_bench::Configuration;
//!
//! let configuration = Configuration {
//!     layers: 1,
//!     hidden: 8,
//!     heads: 2,
//!     intermediate: 16,
//!     vocab: 50,
//!     seq: 16,
//!     batch: 4,
//!     steps: 3,
//!     threads: 1,
//!     ..Configuration::preset("tiny").unwrap()
//! };
//! let report = ablate_bench::run(&configuration)?;
//! assert!(report.median_s > 0.0 && report.min_s <= report.median_s);
//! # Ok::<(), ablate_bench::BenchError>(())
//! ```
//!
//! [`Trainer`]: ablate_train::Trainer
//! [`BatchSource`]: ablate_train::BatchSource

mod args;
mod compile;
mod configuration;
mod error;
mod measure;
mod memory;
mod parts;
mod peak;
mod profile;
mod report;
mod source;

pub use args::{BenchArgs, RowLengths};
pub use compile::Compilation;
pub use configuration::{Configuration, Precision};
pub use error::{BenchError, Result};
pub use measure::{measure, median, Measurement, Plan};
pub use memory::{peak_rss_bytes, reset_peak_rss};
pub use parts::{backend, check, parts};
pub use peak::gemm_peak;
pub use profile::{kernel_counts, kernel_table, part_table, tree, KernelGroup, Part, Tree};
pub use report::{run, Report};
pub use source::{Lengths, SyntheticBatches};
