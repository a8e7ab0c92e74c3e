//! The errors of this crate.

use std::path::PathBuf;

use ablate_graph::GraphError;
use safetensors::SafeTensorError;
use thiserror::Error;

use crate::ConfigProblem;

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, BertError>;

/// Why a model could not be built, read or written.
#[derive(Debug, Error)]
pub enum BertError {
    /// The configuration is impossible.
    #[error("impossible BERT configuration: {}", join(problems))]
    Config {
        /// Everything that is wrong with it.
        problems: Vec<ConfigProblem>,
    },
    /// The sequences are longer than the position embedding (or empty).
    #[error("sequences of {seq} tokens; the model has positions for 1 to {limit}")]
    Sequence {
        /// Tokens per row asked for.
        seq: usize,
        /// `max_position_embeddings`.
        limit: usize,
    },
    /// The graph refused a node.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `read`, `write`, `rename` and so on.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// `config.json` is no JSON of this format.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What and where.
        source: serde_json::Error,
    },
    /// The weights file is damaged or no safetensors file.
    #[error("{} is no intact safetensors file: {source}", path.display())]
    SafeTensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SafeTensorError,
    },
    /// The folder has no `model.safetensors`.
    #[error("{} has no model.safetensors{hint}", dir.display())]
    NoWeights {
        /// The folder.
        dir: PathBuf,
        /// What lies there instead, if known; begins with a separator.
        hint: &'static str,
    },
    /// A tensor is stored in a type that does not hold weights.
    #[error("{}: tensor {tensor} is {dtype}; expected F32, F16, BF16 or F64", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// Its name in the file.
        tensor: String,
        /// Its type.
        dtype: String,
    },
    /// A tensor's shape differs from what the configuration says.
    #[error("{}: tensor {tensor} has shape {found:?}; the configuration makes it {expected:?}", path.display())]
    Shape {
        /// The file or folder.
        path: PathBuf,
        /// Its Hugging Face name.
        tensor: String,
        /// From the configuration.
        expected: Vec<usize>,
        /// In the file.
        found: Vec<usize>,
    },
    /// The number of values does not fill the shape.
    #[error("tensor {tensor} of shape {shape:?} has {values} values")]
    Values {
        /// Its Hugging Face name.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// How many values came with it.
        values: usize,
    },
    /// Parameters of the encoder are absent.
    #[error("{} lacks {} of the encoder's tensors: {}", path.display(), names.len(), names.join(", "))]
    Missing {
        /// The file or folder.
        path: PathBuf,
        /// All of them, by Hugging Face name.
        names: Vec<String>,
    },
    /// Two tensors of one file are one parameter.
    #[error("{}: tensor {tensor} is there twice, under an old and a new name", path.display())]
    Duplicate {
        /// The file or folder.
        path: PathBuf,
        /// Its Hugging Face name.
        tensor: String,
    },
    /// The decoder of the masked-language-model head differs from what it is tied to.
    #[error("{}: {tensor} differs from {tied_to}; only tied decoders are supported", path.display())]
    Untied {
        /// The file.
        path: PathBuf,
        /// The decoder's tensor.
        tensor: &'static str,
        /// What it has to equal.
        tied_to: &'static str,
    },
    /// An export would delete what is there.
    #[error("{} is there already and is no exported model; not replacing it", dir.display())]
    Occupied {
        /// The folder (or file) that was to be written.
        dir: PathBuf,
    },
    /// The name of a tokenizer file is no plain file name, or one of the model's own.
    #[error("{name:?} cannot be the name of a tokenizer file beside a model")]
    FileName {
        /// The name.
        name: String,
    },
}

impl BertError {
    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> BertError {
        let path = path.to_path_buf();
        move |source| BertError::Io {
            action,
            path,
            source,
        }
    }
}

fn join(problems: &[ConfigProblem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("; ")
}
