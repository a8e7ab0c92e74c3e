//! Data operators: which documents stay in the training split, and how they read.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::Result;

/// A data operator. An instance sees the documents of one split once, in order, and may remember what
/// it needs. The host hands them over in record batches, whose borders mean nothing.
pub trait Operator: Send + Sized + 'static {
    /// The name that recipes use.
    const NAME: &'static str;
    /// One sentence.
    const DESCRIPTION: &'static str;
    /// The configuration; derive `Deserialize` with `deny_unknown_fields`, and `JsonSchema`.
    type Config: DeserializeOwned + JsonSchema;

    /// Makes an instance for one split.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for values that cannot be used; name the key.
    fn new(config: Self::Config) -> Result<Self>;

    /// Says what becomes of a document.
    ///
    /// # Errors
    /// Where the operator cannot tell; that ends the run.
    fn apply(&mut self, document: Document<'_>) -> Result<Fate>;
}

/// One document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// Its id, unique in the corpus.
    pub id: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// What becomes of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Keep,
    /// It is removed.
    Remove,
    /// It stays with another text.
    Rewrite(String),
}

impl Fate {
    /// [`Fate::Keep`] where `condition` holds, else [`Fate::Remove`].
    pub fn keep_if(condition: bool) -> Self {
        if condition {
            Fate::Keep
        } else {
            Fate::Remove
        }
    }
}
