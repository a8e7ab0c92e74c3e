//! What an optimizer plugin fills in: its slots, its scalars of a step, and the update of one parameter
//! as graph nodes.
//!
//! Owns the shape of the update; must not know the model, the schedule or the clipping: it gets a
//! gradient that is already clipped and a learning rate that is already scheduled.

use ablate_bert::{ParameterSpec, Role};
use ablate_graph::{Graph, Tensor};

use crate::objective::PluginError;

/// One slot (a state that the optimizer keeps beside a parameter).
#[derive(Clone, Debug, PartialEq)]
pub struct SlotSpec {
    /// Short name: `exp_avg`.
    pub name: String,
    /// Shape, mostly that of the parameter.
    pub shape: Vec<usize>,
    /// What every element starts as.
    pub initial: f32,
}

/// What the update hook gets for one parameter.
#[derive(Clone, Debug)]
pub struct UpdateContext {
    /// Name of the parameter, for error messages and labels.
    pub name: String,
    /// What the parameter is: its group.
    pub role: Role,
    /// Its value before the step.
    pub parameter: Tensor,
    /// Its gradient after clipping, the same shape.
    pub gradient: Tensor,
    /// The slots in the order of [`Optimizer::slots`].
    pub slots: Vec<Tensor>,
    /// The scalars of [`Optimizer::scalar_names`] in order, shape `[]`.
    pub scalars: Vec<Tensor>,
    /// Whether weight decay applies: true for weight matrices and embeddings, false for biases and
    /// layer norms.
    pub decays: bool,
    /// Which of the update graphs is built: less than [`Optimizer::variants`].
    pub variant: u32,
}

/// What the update hook returns.
#[derive(Clone, Debug)]
pub struct Update {
    /// The parameter after the step.
    pub parameter: Tensor,
    /// The slots after the step, in the same order.
    pub slots: Vec<Tensor>,
}

/// An optimizer. Called from one thread at a time, not always the same one.
pub trait Optimizer: Send {
    /// Name as in the recipe.
    fn name(&self) -> &str;

    /// The slots it keeps for a parameter.
    ///
    /// # Errors
    /// When the plugin fails.
    fn slots(&self, parameter: &ParameterSpec) -> Result<Vec<SlotSpec>, PluginError>;

    /// How many different update graphs there are. A step runs the one that [`Optimizer::variant`]
    /// names, so that work that only some steps do costs the others nothing.
    fn variants(&self) -> u32 {
        1
    }

    /// Which update graph step `step` (counted from 1) runs: less than [`Optimizer::variants`], and
    /// decided by the step alone, so that a checkpoint needs nothing of it.
    ///
    /// # Errors
    /// When the plugin fails.
    fn variant(&self, _step: u64) -> Result<u32, PluginError> {
        Ok(0)
    }

    /// Names of the scalars that are fed each step.
    ///
    /// # Errors
    /// When the plugin fails.
    fn scalar_names(&self) -> Result<Vec<String>, PluginError>;

    /// Values of the scalars at a step (counted from 1) under the scheduled learning rate, computed in
    /// f64 and rounded once: bias corrections and the like.
    ///
    /// # Errors
    /// When the plugin fails.
    fn scalars(&self, step: u64, learning_rate: f64) -> Result<Vec<f64>, PluginError>;

    /// Graph hook, called once for each parameter.
    ///
    /// # Errors
    /// When a node cannot be built.
    fn update(&mut self, graph: &mut Graph, cx: UpdateContext) -> Result<Update, PluginError>;
}
