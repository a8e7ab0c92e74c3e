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
    /// The process of a trial ended before the trial did.
    #[error(
        "the process of this trial died after step {}: {death}. It ran in a process of its own because it uses {because}", last.steps
    )]
    Died {
        /// Where it was.
        last: LastSeen,
        /// How it ended.
        death: String,
        /// The loaded plugins that it uses, in words.
        because: String,
    },
    /// The process that prepared the data ended before it was done.
    #[error("the process that prepared the data died: {death}. It was a process of its own because the data uses {because}")]
    DataDied {
        /// How it ended.
        death: String,
        /// The loaded plugins that the data uses, in words.
        because: String,
    },
    /// A trial failed in its own process.
    #[error("{message}")]
    Elsewhere {
        /// The error there.
        message: String,
        /// Whether the disk was at fault, so that every later trial would meet the same.
        disk: bool,
    },
    /// No process could be started for a trial.
    #[error("cannot start a process for a trial: {source}")]
    Start {
        /// The system's reason.
        source: std::io::Error,
    },
    /// No arm, seed or kernel of this name.
    #[error(
        "there is no {what} `{name}`; {}there are: {known}",
        did_you_mean(name, known)
    )]
    Unknown {
        /// `arm`, `seed` or `kernel`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// What exists, comma-separated.
        known: String,
    },
}

fn did_you_mean(name: &str, known: &str) -> String {
    match ablate_recipe::nearest(name, known.split(", ")) {
        Some(near) => format!("did you mean `{near}`? "),
        None => String::new(),
    }
}

/// What the process of a trial had come to when it was last heard of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LastSeen {
    /// Optimizer steps done.
    pub steps: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Seconds since the trial began.
    pub seconds: f64,
    /// Trained parameters.
    pub parameters: u64,
}

impl From<SourceError> for ExperimentError {
    fn from(error: SourceError) -> Self {
        TrainError::from(error).into()
    }
}

/// Result of every fallible call of this crate.
pub type Result<T> = std::result::Result<T, ExperimentError>;
