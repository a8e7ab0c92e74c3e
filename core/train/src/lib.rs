//! Training: batches in, steps out.
//!
//! Owns the loop, the checkpoints, the diagnosis of a run, and the traits that plugins fill
//! ([`Objective`], [`Optimizer`], [`Schedule`], [`StoppingRule`]) and that the owner of the data fills
//! ([`BatchSource`]). Must not know which backend runs the graphs, how a corpus is read, or how
//! plugins are found.

pub mod batch;
pub mod checkpoint;
mod clock;
mod compose;
pub mod diagnostics;
mod error;
pub mod files;
pub mod graphs;
pub mod metrics;
pub mod objective;
pub mod optimizer;
mod outcome;
pub mod packing;
mod prefetch;
mod programs;
mod rules;
pub mod schedule;
mod setup;
pub mod stopping;
mod trainer;
pub mod window;

pub use batch::{
    Asks, BatchSource, Feature, Place, PreparedBatch, SourceError, VocabularyFacts, Window, IGNORED,
};
pub use compose::{compose, Stop};
pub use error::TrainError;
pub use files::FileError;
pub use metrics::MetricsRow;
pub use objective::{FrozenState, Objective, ObjectiveContext, ObjectiveGraph, PluginError, Setup};
pub use optimizer::{Optimizer, SlotSpec, Update, UpdateContext};
pub use outcome::{Ending, NamedTensor, Outcome, TrainEvent};
pub use schedule::Schedule;
pub use setup::{CheckpointPolicy, Parts, TrainerConfig};
pub use stopping::{Decision, Event, Split, StoppingRule};
pub use trainer::Trainer;
