//! Training: batches in, steps out.
//!
//! Owns the loop, the schedules, the checkpoints, the diagnosis of a run, and the traits that plugins
//! fill ([`Objective`], [`Optimizer`], [`StoppingRule`]) and that the owner of the data fills
//! ([`BatchSource`]). Must not know which backend runs the graphs, how a corpus is read, or how
//! plugins are found.

pub mod batch;
pub mod objective;
pub mod optimizer;
pub mod stopping;

pub use batch::{
    BatchSource, Feature, PreparedBatch, SourceError, VocabularyFacts, Window, IGNORED,
};
pub use objective::{Objective, ObjectiveContext, ObjectiveGraph, PluginError};
pub use optimizer::{Optimizer, SlotSpec, Update, UpdateContext};
pub use stopping::{Decision, Event, Split, StoppingRule};
