//! What a schedule plugin fills in: the factor on the base learning rate at each step.
//!
//! Owns the meaning of the factor. Must not know any formula, nor optimizers. Steps count from 1, as in
//! run records.

use crate::objective::PluginError;

/// A schedule. Called from one thread at a time, not always the same one. It remembers nothing: the
/// same step, the same factor, so a checkpoint needs nothing of it.
pub trait Schedule: Send {
    /// Name as in the recipe.
    fn name(&self) -> &str;

    /// Factor on the base learning rate at `step` (from 1): finite and not negative.
    ///
    /// # Errors
    /// When the plugin fails.
    fn factor(&self, step: u64) -> Result<f64, PluginError>;
}

/// The base rate throughout, for those who train without a recipe.
#[derive(Clone, Copy, Debug, Default)]
pub struct Constant;

impl Schedule for Constant {
    fn name(&self) -> &str {
        "constant"
    }

    fn factor(&self, _step: u64) -> Result<f64, PluginError> {
        Ok(1.0)
    }
}
