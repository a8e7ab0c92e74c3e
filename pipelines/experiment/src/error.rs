//! The one error type of this crate.

use std::path::PathBuf;

use ablate_bert::BertError;
use ablate_compiler::BackendError;
use ablate_datasets::DataError;
use ablate_graph::GraphError;
use ablate_train::{FileError, PluginError, SourceError, TrainError};

/// Why an experiment could not begin, or one of its trials could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// The corpus, the tokenizer or a curation operator.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The model, or a folder in Hugging Face format.
    #[error(transparent)]
    Bert(#[from] BertError),
    /// The device.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A plugin.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A plugin that cannot be made.
    #[error(transparent)]
    Host(#[from] ablate_host::HostError),
    /// Steps that could not be measured.
    #[error(transparent)]
    Bench(#[from] ablate_bench::BenchError),
    /// A file of the run.
    #[error(transparent)]
    File(#[from] FileError),
    /// The recipe is well formed but cannot be carried out.
    #[error("{0}")]
    Recipe(String),
    /// A record that another version, another recipe, or something else wrote.
    #[error("{}: {detail}", path.display())]
    Record {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it and what to do.
        detail: String,
    },
    /// No arm or seed of this name.
    #[error("there is no {what} `{name}`; there are: {known}")]
    Unknown {
        /// `arm` or `seed`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// What exists.
        known: String,
    },
}

impl From<SourceError> for ExperimentError {
    fn from(error: SourceError) -> Self {
        TrainError::from(error).into()
    }
}

/// Result of every fallible call of this crate.
pub type Result<T> = std::result::Result<T, ExperimentError>;
