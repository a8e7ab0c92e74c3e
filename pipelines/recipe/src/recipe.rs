//! The recipe as typed values: what the file says after overrides and defaults.
//!
//! Owns the public structs and how they are written back as YAML. Must not know how the file is
//! read or checked: a value of these types has already passed every check of this crate.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::catalog::Catalog;
use crate::component::{Component, Objective, Optimizer};
use crate::resolve::keep_own_configs;
use crate::stop::Stop;

/// A pipeline with every default filled in.
///
/// The field names are the keys of the file. Written with [`Recipe::to_yaml`] and loaded again it is
/// the same recipe. Its arms may then differ: a number that followed from another one, such as
/// `total_steps` from `max_steps`, is written out and no longer follows what an intervention changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the pipeline and of its folder under the run directory.
    pub pipeline: String,
    /// Seeds; every arm is trained once with each.
    pub seeds: Vec<u64>,
    /// Where to compute.
    pub device: Device,
    /// Arithmetic of the matrix products.
    pub precision: Precision,
    /// Where plugins are loaded from.
    pub plugins: Vec<PluginPath>,
    /// The corpus and how it becomes batches.
    pub data: Data,
    /// The network.
    pub model: Model,
    /// Objectives, in order; the loss is their weighted sum.
    pub objectives: Vec<Objective>,
    /// How parameters are updated.
    pub optimizer: Optimizer,
    /// How the learning rate changes over the steps.
    pub schedule: Component,
    /// The size of a step.
    pub train: Train,
    /// Stopping rules and compositions of them; the first that holds ends a trial.
    pub stop: Vec<Stop>,
    /// When the validation split is looked at.
    pub evaluate: Evaluate,
    /// The interventions to compare with the baseline.
    pub experiment: Experiment,
    /// What the report is written as.
    pub report: Report,
}

/// Where plugins are loaded from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PluginPath {
    /// A shared library or a folder of them, whatever is in it.
    Any(PathBuf),
    /// One shared library, and what must be in it.
    Pinned(Pinned),
}

/// A shared library that is loaded only while its bytes are these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    /// The library.
    pub path: PathBuf,
    /// SHA-256 of its bytes: 64 hexadecimal digits, as `sha256sum` prints them.
    pub sha256: String,
}

impl PluginPath {
    /// The library or folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            PluginPath::Any(path) => path,
            PluginPath::Pinned(pinned) => &pinned.path,
        }
    }

    /// What SHA-256 the library must have.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        match self {
            PluginPath::Any(_) => None,
            PluginPath::Pinned(pinned) => Some(&pinned.sha256),
        }
    }
}

impl From<PathBuf> for PluginPath {
    fn from(path: PathBuf) -> Self {
        PluginPath::Any(path)
    }
}

impl Recipe {
    /// The resolved recipe as YAML text, as kept in `runs/<pipeline>/recipe.yaml`.
    ///
    /// # Errors
    /// A path that is not Unicode cannot be written.
    pub fn to_yaml(&self) -> Result<String, serde_yaml::Error> {
        // By way of JSON values: serde_yaml on its own writes `{normal: 0.02}` as `!normal 0.02`.
        let value =
            serde_json::to_value(self).map_err(<serde_yaml::Error as serde::ser::Error>::custom)?;
        serde_yaml::to_string(&value)
    }

    /// Takes back what [`Recipe::to_yaml`] wrote, to the bit, without a look at files. The catalog is the one that
    /// the recipe was checked against.
    ///
    /// # Errors
    /// Text that is no such recipe.
    pub fn from_yaml(text: &str, catalog: &Catalog) -> Result<Self, serde_yaml::Error> {
        let value: Value = serde_yaml::from_str(text)?;
        let mut recipe: Self = serde_json::from_value(value)
            .map_err(<serde_yaml::Error as serde::de::Error>::custom)?;
        keep_own_configs(&mut recipe, catalog);
        Ok(recipe)
    }
}

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// The GPU when there is one that works, else the CPU.
    Auto,
    /// The CPU backend.
    Cpu,
    /// The CUDA backend; an error when there is no usable GPU.
    Cuda,
}

impl Device {
    /// The name as written in the recipe.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

/// Arithmetic of the matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floating point throughout.
    F32,
    /// Three products of bfloat16 parts of the operands, 32-bit sums: near 32-bit floating point.
    /// Meant for processors with AMX; slower than `F32` on others.
    F32Split,
    /// Operands rounded to bfloat16, 32-bit sums, activations between products stored as bfloat16 where the
    /// device can; parameters, sums and statistics stay 32-bit.
    Bf16,
}

/// The corpus and how it becomes batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Where the documents come from.
    pub source: Source,
    /// Fractions of documents held out.
    pub split: Split,
    /// Curation operators applied to the training split, in order.
    pub curate: Vec<Component>,
    /// How text becomes token ids.
    pub tokenizer: Tokenizer,
    /// Tokens of one example, special tokens included.
    pub sequence_length: usize,
}

/// Where the documents come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Source {
    /// A dataset card (YAML), or a bare path to one data file read with the default field names.
    Path(PathBuf),
    /// Data files described in place.
    Files(Files),
}

impl Source {
    /// The card's path, when the source is one: a path that ends in `.yaml` or `.yml`.
    #[must_use]
    pub fn card(&self) -> Option<&Path> {
        match self {
            Self::Path(path) if is_card(path) => Some(path),
            _ => None,
        }
    }

    /// The data files, when the source is not a card. A bare path stands for `{path: PATH}`.
    #[must_use]
    pub fn files(&self) -> Option<Files> {
        match self {
            Self::Path(path) if is_card(path) => None,
            Self::Path(path) => Some(Files {
                path: path.to_string_lossy().into_owned(),
                format: None,
                text: "text".to_owned(),
                id: None,
                on_error: OnError::Skip,
            }),
            Self::Files(files) => Some(files.clone()),
        }
    }
}

/// Whether a path names a dataset card rather than data.
pub(crate) fn is_card(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("yaml") || e.eq_ignore_ascii_case("yml"))
}

/// Data files described in the recipe itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// A path or a glob such as `corpus/*.jsonl`.
    pub path: String,
    /// File format; by the file's extension when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Name of the field or column that holds the text.
    pub text: String,
    /// Name of the field or column that holds the document's id; counted when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What to do with a record that cannot be read.
    pub on_error: OnError,
}

/// Format of data files, by the names of the data crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a line.
    JsonLines,
    /// Comma-separated values with a header.
    Csv,
    /// Tab-separated values with a header.
    Tsv,
    /// Apache Parquet.
    Parquet,
    /// Plain text, a file is a document.
    Text,
    /// Plain text, documents separated by blank lines.
    TextBlocks,
    /// One JSON object a file, sections of nested entries with a text each; a section is a document.
    JsonTree,
}

/// What to do with a record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// Leave it out and count it.
    Skip,
    /// End the run with its file and line.
    Refuse,
}

/// Fractions of documents held out; the rest is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Fraction looked at while training.
    pub validation: f64,
    /// Fraction looked at once, at the end.
    pub test: f64,
}

/// How text becomes token ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Tokenizer {
    /// WordPiece trained on the training split.
    Wordpiece {
        /// Entries of the vocabulary, special tokens included.
        vocab_size: usize,
        /// Lowercase and strip accents, as uncased BERT.
        lowercase: bool,
    },
    /// A given `vocab.txt` or `tokenizer.json`.
    File(PathBuf),
}

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// BERT as in the paper.
    pub bert: Bert,
}

/// BERT's shape and regularisation. With a preset or a checkpoint the numbers are filled from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bert {
    /// The named size that the numbers started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Folder in Hugging Face format whose weights training starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub huggingface: Option<PathBuf>,
    /// Encoder layers.
    pub layers: usize,
    /// Width of the hidden states.
    pub hidden: usize,
    /// Attention heads; divides `hidden`.
    pub heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate: usize,
    /// Dropout of embeddings and of each sublayer's output.
    pub dropout: f64,
    /// Dropout of the attention probabilities.
    pub attention_dropout: f64,
    /// Rows of the position table.
    pub max_positions: usize,
    /// Activation of the feed-forward layer.
    pub activation: Activation,
    /// Added to the variance in layer normalisation.
    pub layer_norm_eps: f64,
    /// Initial values of the weights.
    pub init: Init,
}

/// Activation of the feed-forward layer, by its Hugging Face meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x * Phi(x)` by the error function.
    Gelu,
    /// The tanh approximation (`gelu_new`).
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `x * sigmoid(x)`.
    Silu,
    /// Hyperbolic tangent.
    Tanh,
}

/// Initial values of the weights; biases are 0, layer norms 1 and 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// Normal with mean 0 and this standard deviation (Hugging Face).
    Normal(f64),
    /// Normal cut at two standard deviations (Google's code).
    TruncatedNormal(f64),
    /// Every weight 0.
    Zeros,
    /// Every weight this value.
    Constant(f64),
    /// Uniform within `sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio 2010).
    Xavier,
}

/// The size of a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Examples of one micro-batch.
    pub batch_size: usize,
    /// Micro-batches of one optimizer step.
    pub accumulate: usize,
    /// Largest global norm of the gradient; none when null.
    pub clip_norm: Option<f64>,
    /// Whether the examples of a micro-batch are packed into fewer rows, so that padding is not
    /// computed.
    pub packed: bool,
}

/// When the validation split is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// Optimizer steps between two evaluations.
    pub every_steps: u64,
}

/// Overrides of one intervention: dotted path (`+` at the end appends) to value.
pub type Overrides = IndexMap<String, Value>;

/// The interventions and how they are combined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Interventions on the data, by name.
    pub data: IndexMap<String, Overrides>,
    /// Interventions on the model, by name.
    pub model: IndexMap<String, Overrides>,
    /// Which combinations are trained.
    pub design: Design,
}

/// Which combinations of interventions are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Design {
    /// Baseline, each alone, and each data intervention with each model intervention.
    Factorial,
    /// Baseline and each alone.
    OneAtATime,
}

/// What the report is written as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Formats, without repetition.
    pub formats: Vec<ReportFormat>,
}

/// A format of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportFormat {
    /// One self-contained page.
    Html,
    /// One Markdown file with figures beside it.
    Markdown,
}
