//! The one error type of this crate.

use ablate_bert::BertError;
use ablate_compiler::BackendError;
use ablate_graph::GraphError;
use ablate_host::HostError;
use ablate_train::{PluginError, TrainError};

/// Result with [`BenchError`].
pub type Result<T> = std::result::Result<T, BenchError>;

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A size that makes no benchmark.
    #[error("{0}")]
    Configuration(String),
    /// The model cannot be built.
    #[error(transparent)]
    Bert(#[from] BertError),
    /// The trial could not be set up or a step failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The device could not compile or run a graph.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A graph could not be built.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A built-in plugin could not be made.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A built-in plugin failed.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The trial ended before all steps were measured.
    #[error("the trial ended after {done} of {wanted} steps: {reason}")]
    Ended {
        /// Steps that were taken.
        done: u64,
        /// Steps that were asked for.
        wanted: u64,
        /// Why it ended.
        reason: String,
    },
}
