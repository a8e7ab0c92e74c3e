//! The pipeline file: read once, checked whole, resolved to plain values.
//!
//! Owns the keys of the file, their meaning and defaults, overrides, the arms that an experiment
//! stands for, the JSON Schema, and every message about a mistake. Must not know how any of it is
//! carried out: plugins and operators are known only by the names and config schemas in a
//! [`Catalog`], and nothing here reads a corpus, loads a library, or computes.

mod arms;
mod bert;
mod cards;
mod catalog;
mod checks;
mod component;
mod diagnostic;
mod expect;
mod files;
mod interventions;
mod load;
mod normal;
mod overrides;
mod parse;
mod reader;
mod recipe;
mod resolve;
mod schema;
mod stop;
mod tree;
mod words;

pub use arms::{Arm, ArmKind, ArmPlan, BASELINE};
pub use catalog::{
    Catalog, ConfigCheck, ConfigProblem, DeviceCheck, DeviceProblem, Kind, SourceCheck, Together,
    TogetherCheck, VocabularyCheck,
};
pub use component::{Component, Objective, Optimizer};
pub use diagnostic::{Diagnostic, Diagnostics, Position, Severity};
pub use load::{load, load_with, Loaded};
pub use recipe::{
    Activation, Bert, Data, Design, Device, Evaluate, Experiment, Files, Format, Init, Model,
    OnError, Overrides, Pinned, PluginPath, Precision, Recipe, Report, ReportFormat, Source, Split,
    Tokenizer, Train,
};
pub use schema::{card_schema, schema};
pub use stop::Stop;
pub use words::nearest;
