//! Optimizers: how a gradient changes a parameter.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::graph::{GraphBuilder, Tensor};
use crate::{Result, Role};

/// An optimizer. What it remembers from step to step lives in slots, so a checkpoint has it all.
pub trait Optimizer: Send + Sized + 'static {
    /// The name that recipes use.
    const NAME: &'static str;
    /// One sentence.
    const DESCRIPTION: &'static str;
    /// The configuration; derive `Deserialize` with `deny_unknown_fields`, and `JsonSchema`.
    type Config: DeserializeOwned + JsonSchema;

    /// Makes an instance for one trial.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for values that cannot be used; name the key.
    fn new(config: Self::Config) -> Result<Self>;

    /// The learning rate of the configuration; the schedule scales it.
    fn base_learning_rate(&self) -> f64;

    /// Slots of a parameter of this shape.
    fn slots(&self, _shape: &[usize]) -> Vec<Slot> {
        Vec::new()
    }

    /// Slots of a parameter, for optimizers that treat groups differently; those of its shape unless
    /// overridden.
    fn slots_of(&self, parameter: &ParameterInfo<'_>) -> Vec<Slot> {
        self.slots(&parameter.shape)
    }

    /// How many different update graphs there are. With several, [`Optimizer::update`] builds each of
    /// them and says by [`Optimizer::variant`] which one a step runs, so that work that only some steps
    /// do costs the others nothing.
    fn variants(&self) -> u32 {
        1
    }

    /// Which of the update graphs step `step` (from 1) runs: less than [`Optimizer::variants`], and
    /// nothing but the step decides.
    fn variant(&self, _step: u64) -> u32 {
        0
    }

    /// Names of the numbers that [`Optimizer::scalars`] gives.
    fn scalar_names(&self) -> Vec<&'static str>;

    /// Numbers of step `step` (from 1) at the scheduled learning rate, in double precision: bias
    /// corrections and the like. As many as names.
    ///
    /// # Errors
    /// Where there is no such step.
    fn scalars(&self, step: u64, learning_rate: f64) -> Result<Vec<f64>>;

    /// Builds the new value of a parameter and of its slots.
    ///
    /// # Errors
    /// Where a node cannot be built.
    fn update<'g>(&self, g: &GraphBuilder<'g>, p: &Parameter<'_, 'g>) -> Result<Updated<'g>>;
}

/// A tensor kept for a parameter from step to step.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Name, unique among the slots of a parameter: `exp_avg`.
    pub name: &'static str,
    /// Shape, mostly the parameter's.
    pub shape: Vec<usize>,
    /// Value of every element before the first step.
    pub initial: f64,
}

impl Slot {
    /// A slot of zeros.
    pub fn zeros(name: &'static str, shape: &[usize]) -> Self {
        Slot {
            name,
            shape: shape.to_vec(),
            initial: 0.0,
        }
    }
}

/// What is known of a parameter before any graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterInfo<'a> {
    /// Its name in Hugging Face's form, for messages and special cases.
    pub name: &'a str,
    /// Its group.
    pub role: Role,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Whether weight decay applies: not for biases and layer norms.
    pub decays: bool,
}

/// A parameter in the graph hook.
pub struct Parameter<'a, 'g> {
    /// Its name in Hugging Face's form, for messages and special cases.
    pub name: &'a str,
    /// Its group.
    pub role: Role,
    /// Its value before the step.
    pub parameter: Tensor<'g>,
    /// The clipped gradient, of the same shape.
    pub gradient: Tensor<'g>,
    /// Its slots before the step, in the order of [`Optimizer::slots_of`].
    pub slots: &'a [Tensor<'g>],
    /// The step's numbers `[]`, in the order of [`Optimizer::scalar_names`].
    pub scalars: &'a [Tensor<'g>],
    /// Whether weight decay applies: not for biases and layer norms.
    pub decays: bool,
    /// Which of the update graphs is built: less than [`Optimizer::variants`].
    pub variant: u32,
}

/// What the graph hook returns.
pub struct Updated<'g> {
    /// The parameter after the step.
    pub parameter: Tensor<'g>,
    /// The slots after the step, in order.
    pub slots: Vec<Tensor<'g>>,
}
