//! The one error type of the crate. Every message says where, what was expected, what was found and
//! what to do about it.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = DataError> = std::result::Result<T, E>;

/// What can be wrong with data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder could not be read or written.
    #[error("{}: cannot {action}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried, as in "cannot ...".
        action: &'static str,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },

    /// A path or glob that matches no file.
    #[error("{pattern}: no file matches{}", how.as_ref().map(|h| format!("; to get the data: {h}")).unwrap_or_default())]
    NoFiles {
        /// The path or glob, made absolute by the folder of the recipe or card.
        pattern: String,
        /// The card's sentence on how to get the data.
        how: Option<String>,
    },

    /// A glob that is not well formed.
    #[error("{pattern}: not a well-formed glob: {message}")]
    Pattern {
        /// The glob.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },

    /// A file whose format its name does not tell.
    #[error(
        "{}: the extension `{extension}` is no known format; known are {known}; or name one with `format:`",
        path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// Its extension; empty if it has none.
        extension: String,
        /// The known formats and their extensions.
        known: String,
    },

    /// A card that cannot be used.
    #[error("{}: {message}", path.display())]
    Card {
        /// The card.
        path: PathBuf,
        /// What is wrong, with line and column where known.
        message: String,
    },

    /// The files are not those that the card describes.
    #[error(
        "{card}: the checksum of {files} file(s) is sha256:{found}, the card says sha256:{expected}; \
         get the data again, or correct `checksum` if the new data is meant"
    )]
    Checksum {
        /// The card.
        card: String,
        /// How many files were read for it.
        files: usize,
        /// As the card has it.
        expected: String,
        /// As computed.
        found: String,
    },

    /// A table without the named column.
    #[error("{}: no column `{field}`; the columns are {found}", path.display())]
    NoColumn {
        /// The table.
        path: PathBuf,
        /// The column asked for.
        field: String,
        /// The columns it has.
        found: String,
    },

    /// A table that cannot be read as such.
    #[error("{}: not a readable {format} file: {message}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// "Parquet", "CSV".
        format: &'static str,
        /// What the reader said.
        message: String,
    },

    /// A bad record under `on_error: refuse`.
    #[error("{record}; repair the line, or leave bad lines out with `on_error: skip`")]
    BadRecord {
        /// Where, and why.
        record: crate::SkippedRecord,
    },

    /// No document at all.
    #[error("{origin}: no documents: {detail}")]
    EmptyCorpus {
        /// Where they should have come from.
        origin: String,
        /// What was read and left out, or removed.
        detail: String,
    },

    /// A fraction of the split that makes no sense.
    #[error("split: {name} is {value}; {expected}")]
    Fraction {
        /// "validation", "test" or "validation + test".
        name: &'static str,
        /// The value found.
        value: f64,
        /// What it must be.
        expected: &'static str,
    },

    /// A split that came out empty although it was asked for.
    #[error(
        "split: the {name} split is empty: {fraction} of {documents} document(s); \
         use more documents or a larger fraction{}",
        if *name == "train" { " for training (smaller validation and test)" } else { "" }
    )]
    EmptySplit {
        /// "train", "validation" or "test".
        name: &'static str,
        /// The fraction asked for.
        fraction: f64,
        /// Documents in the corpus.
        documents: usize,
    },

    /// A curation operator that fails.
    #[error("curate: {name}: {message}")]
    Operator {
        /// The operator.
        name: String,
        /// What went wrong.
        message: String,
    },

    /// A tokenizer that cannot be trained, loaded or used.
    #[error("tokenizer: {message}")]
    Tokenizer {
        /// What is wrong and what to do.
        message: String,
    },

    /// A sequence length that leaves no room for tokens.
    #[error("sequence_length is {found}; {what} need at least {minimum}")]
    SequenceTooShort {
        /// The length found.
        found: usize,
        /// The smallest that works.
        minimum: usize,
        /// "sentence pairs" or "single sequences".
        what: &'static str,
    },

    /// A tokenized split that gives no example.
    #[error("no training examples: the split has {documents} document(s) with tokens; use more documents")]
    NoExamples {
        /// Documents with at least one token.
        documents: usize,
    },

    /// Sentence-order prediction over documents of one token.
    #[error("none of the {documents} documents has two tokens whose order could be told; sentence-order prediction needs documents of more than one word")]
    NoOrder {
        /// Documents with at least one token.
        documents: usize,
    },

    /// Options of the sample generator out of range.
    #[error("sample generator: {option} is {found}; expected {expected}")]
    Sample {
        /// The option.
        option: &'static str,
        /// The value found.
        found: String,
        /// What it must be.
        expected: &'static str,
    },

    /// A batch of no rows was asked for.
    #[error("batch_size is 0; expected at least 1")]
    EmptyBatch,
}

impl DataError {
    pub(crate) fn io(
        path: impl Into<PathBuf>,
        action: &'static str,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |cause| DataError::Io {
            path,
            action,
            cause,
        }
    }

    pub(crate) fn tokenizer(message: impl Into<String>) -> Self {
        DataError::Tokenizer {
            message: message.into(),
        }
    }
}
