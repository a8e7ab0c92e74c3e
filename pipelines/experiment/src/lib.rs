//! The experiment: a recipe's arms times its seeds, run into a folder of records.
//!
//! Owns the way recipe -> corpus -> trials -> run store, what arms share, what is skipped and resumed,
//! and the looks inside (`batches`, `gradcheck`, `graph`, `profile`). Must not know how anything is shown (events
//! go to a [`Progress`]) or how a report is made: reports read the records from the disk.

mod batches;
mod curation;
mod data;
mod device;
pub mod environment;
mod error;
mod events;
pub mod gradcheck;
mod inputs;
mod isolated;
mod model;
mod objectives;
mod plugins;
pub mod profile;
mod result;
mod run;
pub mod show_batches;
pub mod show_graph;
mod store;
mod trial;
mod wire;
pub mod worker;

pub use batches::{TrialBatches, Yardstick, EVALUATION_SEED};
pub use data::{CorpusFacts, DataSet, DataStore};
pub use device::{
    check as check_device, default_threads, describe_gpu, open as open_device, reference,
};
pub use error::{ExperimentError, LastSeen, Result};
pub use events::{Event, Progress, Silent};
pub use objectives::pairs;
pub use plugins::{LoadedPlugin, Plugins};
pub use result::{Status, TrialResult};
pub use run::{run, RunOptions, RunSummary};
pub use store::{RunStore, TrialStore};
