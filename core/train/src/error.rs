//! The one error type of this crate.

use ablate_bert::BertError;
use ablate_compiler::BackendError;
use ablate_graph::GraphError;

use crate::batch::SourceError;
use crate::checkpoint::CheckpointError;
use crate::files::FileError;
use crate::objective::PluginError;

/// Why a trial could not go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A graph could not be built.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The device could not compile or run a graph.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The model cannot be built.
    #[error(transparent)]
    Bert(#[from] BertError),
    /// A plugin failed.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The data could not be delivered.
    #[error("data: {0}")]
    Source(#[from] SourceError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A checkpoint could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Weights to start from do not fit the model.
    #[error("initial weights: {0}")]
    Initial(String),
    /// The parts of a trial do not fit together.
    #[error("{0}")]
    Setup(String),
}
