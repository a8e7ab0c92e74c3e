//! Trust in plugins: a project to begin with, a validator for authors, and a probe before anyone's experiment
//! depends on a plugin.
//!
//! Owns: processes in which a plugin may die ([`process`]), the probe before a run ([`probe`]), the validator's
//! tests and measurements ([`check`](mod@check)), and new projects ([`scaffold`]). Must not know recipes,
//! corpora, or which device there is; a backend is handed in.
//!
//! Everything here looks at a plugin from outside, through [`ablate_host`] and the C ABI, as it comes from
//! its author: a finished library.

pub mod check;
pub mod probe;
pub mod process;
pub mod scaffold;
pub mod schema;

mod border;
mod engine;
mod exercise;
mod rig;
mod words;

pub use ablate_host::{libraries, CatalogueEntry, HostError, Kind, Origin};
pub use border::library::Target;
