//! What an objective plugin fills in: a data hook that writes labels, a graph hook that builds a loss.
//!
//! Owns the normalisation contract: an objective returns *sums* over its own units (masked tokens,
//! pairs); the trainer alone divides, by the units of the whole accumulation window. Must not know how
//! plugins are found or called.

use std::collections::BTreeMap;
use std::sync::Arc;

use ablate_bert::{Encoder, ParameterSpec, Role};
use ablate_graph::{Graph, GraphError, Tensor};

use crate::batch::PreparedBatch;

/// A hook of a plugin failed. The trial is recorded as failed with this message; other trials go on.
#[derive(Clone, Debug, thiserror::Error)]
#[error("plugin `{plugin}`, hook `{hook}`: {message}")]
pub struct PluginError {
    /// Name of the plugin as in the recipe.
    pub plugin: String,
    /// Name of the hook: `prepare`, `build`, `update`, `observe`, ...
    pub hook: String,
    /// What went wrong, in the plugin's words.
    pub message: String,
}

impl PluginError {
    /// Puts the three parts together.
    pub fn new(plugin: impl Into<String>, hook: impl Into<String>, message: impl ToString) -> Self {
        Self {
            plugin: plugin.into(),
            hook: hook.into(),
            message: message.to_string(),
        }
    }
}

/// A training objective. An instance is called from one thread at a time, not always the same one.
///
/// Training uses two instances at once: the data hook of one prepares batches on the data thread,
/// ahead of the step that runs, while the other builds graphs. So a hook may rely on the configuration
/// and on what it is given, not on an earlier call of the other hook.
pub trait Objective: Send {
    /// Short name: prefix of its metrics (`mlm` gives `mlm_loss`, `mlm_accuracy`) and of its inputs.
    fn name(&self) -> &str;

    /// Its weight in the cumulative loss.
    fn weight(&self) -> f64;

    /// Whether rows must be sentence pairs with `next_sentence_label`.
    fn needs_pairs(&self) -> bool;

    /// Whether rows must be two segments that stood one behind the other, in order or swapped, with
    /// `segment_order_label`.
    fn needs_ordered_pairs(&self) -> bool {
        false
    }

    /// Refuses a recipe in which it cannot work, before any batch or graph.
    ///
    /// # Errors
    /// What is wrong with the recipe, and what to do.
    fn check(&self, setup: &Setup<'_>) -> Result<(), PluginError> {
        let _ = setup;
        Ok(())
    }

    /// Whether the labels of a feature are token ids, for those who show batches.
    fn predicts_tokens(&self, feature: &str) -> bool {
        let _ = feature;
        true
    }

    /// Another instance of the same configuration, as if both had been made at the start.
    ///
    /// # Errors
    /// When the plugin refuses to make one.
    fn duplicate(&self) -> Result<Box<dyn Objective>, PluginError>;

    /// Data hook: may change `input_ids` and writes `features`; returns its units in this micro-batch
    /// (masked tokens, pairs; 0 is allowed). Must be a function of the batch alone: the same batch
    /// gives the same labels.
    ///
    /// # Errors
    /// When the batch lacks what the objective needs.
    fn prepare(&mut self, batch: &mut PreparedBatch) -> Result<f64, PluginError>;

    /// Graph hook: adds heads and the loss to the graph.
    ///
    /// # Errors
    /// When a node cannot be built.
    fn build(&mut self, cx: &mut ObjectiveContext<'_>) -> Result<ObjectiveGraph, PluginError>;
}

/// What a recipe says beside an objective's own configuration.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// Names of all objectives, in the order in which their data hooks run.
    pub objectives: &'a [String],
    /// The place of this one among them.
    pub index: usize,
    /// The model's dropout rate on hidden states.
    pub hidden_dropout: f64,
    /// The model's dropout rate on attention probabilities.
    pub attention_dropout: f64,
    /// Tokens a row in training.
    pub sequence_length: usize,
    /// The tokens by id; `None` where the vocabulary will be trained and is not known yet.
    pub vocabulary: Option<&'a [String]>,
}

/// What the graph hook of an objective works with.
pub struct ObjectiveContext<'a> {
    /// The graph under construction.
    pub graph: &'a mut Graph,
    /// The encoder of this graph; `pooled` is built on its first use.
    pub encoder: &'a mut Encoder,
    /// Rows of the micro-batch.
    pub batch: usize,
    /// Tokens a row.
    pub seq: usize,
    /// Capacity of the sparse per-token features; entries past the real ones have weight 0.
    pub predictions: usize,
    /// False in evaluation graphs: no dropout.
    pub training: bool,
    /// The objective's own features as graph inputs. A per-token feature `labels` appears as
    /// `labels.positions` (flat index into batch * seq), `labels.values` and `labels.weights`, each
    /// `[predictions]`; a per-sequence one as `labels.values` and `labels.weights`, each `[batch]`.
    /// Weights are 1, or 0 where there is no label; values are 0 there.
    pub features: BTreeMap<String, Tensor>,
    /// Parameters that the objective has declared so far, see [`ObjectiveContext::parameter`].
    pub parameters: Vec<ParameterSpec>,
    /// Parameters that the objectives before this one have declared.
    pub heads: Vec<ParameterSpec>,
    /// States that the objective has brought along, such as the weights of a teacher.
    pub frozen: Vec<FrozenState>,
}

/// A state that no gradient and no update reaches. It is neither exported nor saved in checkpoints:
/// whoever brings it can bring it again.
#[derive(Clone, Debug)]
pub struct FrozenState {
    /// Name of the state in the graph; the same name has the same values in all graphs of a trial.
    pub name: String,
    /// Its values, row-major.
    pub values: Arc<Vec<f32>>,
}

impl ObjectiveContext<'_> {
    /// Declares a trained parameter of a head. Names are Hugging Face's (`cls.predictions.bias`). The same
    /// name, shape and role once more give the same parameter: so do two objectives share a head.
    ///
    /// # Errors
    /// When the name is taken by something else or the shape is not allowed.
    pub fn parameter(
        &mut self,
        name: &str,
        shape: &[usize],
        role: Role,
    ) -> Result<Tensor, GraphError> {
        let spec = ParameterSpec::new(name, shape, role);
        if self.parameters.contains(&spec) || self.heads.contains(&spec) {
            if let Some(tensor) = self.graph.find_state(name) {
                return Ok(tensor.clone());
            }
        }
        let tensor = self.graph.parameter(name, shape)?;
        self.parameters.push(spec);
        Ok(tensor)
    }
}

/// What the graph hook returns.
#[derive(Clone, Debug)]
pub struct ObjectiveGraph {
    /// Scalar: the sum of the loss over the units of the micro-batch.
    pub loss_sum: Tensor,
    /// Scalars summed over the same units, by name: `accuracy` = number of correct predictions.
    pub metrics: Vec<(String, Tensor)>,
}
