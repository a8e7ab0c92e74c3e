//! Schedules: the factor on the learning rate at each step.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::Result;

/// A learning-rate schedule. It remembers nothing: the same step, the same factor.
///
/// A configuration field `total_steps` that the recipe does not write is filled with the steps of the
/// recipe's `max_steps` rule.
pub trait Schedule: Send + Sized + 'static {
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

    /// Factor on the base learning rate at `step` (from 1): finite and not negative.
    fn factor(&self, step: u64) -> f64;
}
