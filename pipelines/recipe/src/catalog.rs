//! What a recipe may name: plugins and operators with the schemas of their configs.
//!
//! Owns the form in which the names come in. Must not know where they come from: the plugin host
//! and the data crate fill a [`Catalog`], this crate only looks things up in it.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use serde_json::Value;

use crate::recipe::{Device, Source};

/// Kind of a thing that is chosen by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A term of the loss.
    Objective,
    /// An update rule.
    Optimizer,
    /// How the learning rate changes.
    Schedule,
    /// A rule that ends training.
    StoppingRule,
    /// A curation operator.
    Operator,
}

/// A mistake that a plugin found in its own config, beyond what its schema says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key at fault, dotted inside the config; the whole config when `None`.
    pub key: Option<String>,
    /// What was expected and what was found.
    pub message: String,
}

/// A check of one component's config; called only with a config that fits the schema.
pub type ConfigCheck =
    dyn Fn(Kind, &str, &Value) -> Result<(), ConfigProblem> + Send + Sync + 'static;

/// A look at a data source without reading it; gives what is wrong with it.
pub type SourceCheck = dyn Fn(&Source) -> Result<(), String> + Send + Sync + 'static;

/// The objectives of a recipe, and what they may know of the rest of it.
#[derive(Clone, Debug)]
pub struct Together<'a> {
    /// Name and own config of each, in order.
    pub objectives: Vec<(&'a str, Value)>,
    /// The model's dropout rate on hidden states.
    pub hidden_dropout: f64,
    /// The model's dropout rate on attention probabilities.
    pub attention_dropout: f64,
    /// Tokens of a training example.
    pub sequence_length: usize,
    /// The tokenizer's file; `None` where the tokenizer will be trained.
    pub tokenizer: Option<&'a Path>,
}

/// A look at objectives together; gives what is wrong, each with the place of an objective. Called only
/// with configs that the objectives accept.
pub type TogetherCheck = dyn Fn(&Together<'_>) -> Vec<(usize, String)> + Send + Sync + 'static;

/// Why a device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceProblem {
    /// What was expected and what was found.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Whether this machine has a device; gives what is wrong.
pub type DeviceCheck = dyn Fn(Device) -> Option<DeviceProblem> + Send + Sync + 'static;

/// A look at a checkpoint folder or a tokenizer file; gives the entries of its vocabulary, or what is
/// wrong with it.
pub type VocabularyCheck = dyn Fn(&Path) -> Result<usize, String> + Send + Sync + 'static;

/// Names that a recipe may use, each with the JSON Schema of its config.
///
/// The schemas are objects in a subset of JSON Schema: `type`, `properties`, `required`,
/// `additionalProperties`, `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `enum`,
/// `const`, `default`, `items`, `minItems`, `maxItems`, `uniqueItems`, `minProperties`,
/// `maxProperties`, `minLength`, `oneOf`, `anyOf`, and `$ref` into the schema's own `$defs`, as
/// `schemars` writes them. Other keywords are passed on by `schema` and left to the plugin to check.
/// A text of an objective's config with `"format": "path"` names a file or folder that must exist; it is
/// looked for as other paths of a recipe are, and the component gets the path that was found.
/// A schema that lists `properties` is closed unless it says otherwise. Two keys belong to the host and need not be declared: `weight` of
/// an objective and `learning_rate` of an optimizer. A schedule that declares `total_steps` gets the
/// steps of the `max_steps` rule where the recipe does not write it.
#[derive(Clone, Default)]
pub struct Catalog {
    /// Objectives, by name.
    pub objectives: BTreeMap<String, Value>,
    /// Optimizers, by name.
    pub optimizers: BTreeMap<String, Value>,
    /// Schedules, by name.
    pub schedules: BTreeMap<String, Value>,
    /// Stopping rules, by name.
    pub stopping: BTreeMap<String, Value>,
    /// Curation operators, by name.
    pub operators: BTreeMap<String, Value>,
    /// The JSON Schema of a dataset card, in the same subset.
    pub card: Option<Value>,
    /// Further check of a config by the component itself.
    pub check: Option<Arc<ConfigCheck>>,
    /// Further check of the objectives together, and against the rest of the recipe.
    pub check_together: Option<Arc<TogetherCheck>>,
    /// Further check of the data source, whose paths exist and are relative to the current folder:
    /// a card that is malformed, files that it names and that are missing.
    pub check_source: Option<Arc<SourceCheck>>,
    /// Further check of the folder in `model.bert.huggingface`, which exists: weights that are damaged
    /// or do not fit its configuration.
    pub check_checkpoint: Option<Arc<VocabularyCheck>>,
    /// Further check of `device`; none where the recipe is read for something that opens no
    /// device.
    pub check_device: Option<Arc<DeviceCheck>>,
    /// Further check of the file in `data.tokenizer`, which exists.
    pub check_tokenizer: Option<Arc<VocabularyCheck>>,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog")
            .field("objectives", &self.objectives.keys())
            .field("optimizers", &self.optimizers.keys())
            .field("schedules", &self.schedules.keys())
            .field("stopping", &self.stopping.keys())
            .field("operators", &self.operators.keys())
            .finish_non_exhaustive()
    }
}

impl Catalog {
    /// The schemas of one kind, by name.
    #[must_use]
    pub fn of(&self, kind: Kind) -> &BTreeMap<String, Value> {
        match kind {
            Kind::Objective => &self.objectives,
            Kind::Optimizer => &self.optimizers,
            Kind::Schedule => &self.schedules,
            Kind::StoppingRule => &self.stopping,
            Kind::Operator => &self.operators,
        }
    }
}
