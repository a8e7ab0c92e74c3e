//! The experiment: a recipe's arms times its seeds, run into a folder of records.
//!
//! Owns the way recipe -> corpus -> trials -> run store, what arms share, what is skipped and resumed,
//! and the looks inside (`batches`, `gradcheck`, `graph`, `profile`). Must not know how anything is shown (events
//! go to a [`Progress`]) or how a report is made: reports read the records from the disk.

mod batches;
mod data;
mod device;
pub mod environment;
mod error;
mod events;
pub mod gradcheck;
mod model;
mod plugins;
pub mod profile;
mod result;
mod run;
pub mod show_batches;
pub mod show_graph;
mod store;
mod trial;

pub use batches::{TrialBatches, EVALUATION_SEED};
pub use data::{CorpusFacts, DataSet, DataStore};
pub use device::{default_threads, describe_gpu, open as open_device, reference};
pub use error::{ExperimentError, Result};
pub use events::{Event, Progress, Silent};
pub use plugins::Plugins;
pub use result::{Status, TrialResult};
pub use run::{run, RunOptions, RunSummary};
pub use store::{RunStore, TrialStore};
