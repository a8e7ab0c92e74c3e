//! Write an Ablate plugin in safe Rust.
//!
//! Owns: the traits that a plugin implements, safe wrappers over the host's tables, and the two
//! macros that turn types into a library with a C entry. Must not know: how the host stores graphs
//! or finds plugins; it depends on the C ABI alone, so that a plugin works with any host of the same
//! ABI, whatever compiler built either. Nothing of Rust's own types crosses the border, and panics
//! are caught there and become errors with the panic's message.
//!
//! A whole plugin, an optimizer that steps along the sign of the gradient:
//!
//! ```
//! use ablate_sdk::{GraphBuilder, Optimizer, Parameter, Result, Updated};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! pub struct Config {
//!     /// Step size.
//!     learning_rate: f64,
//! }
//!
//! pub struct SignDescent(Config);
//!
//! impl Optimizer for SignDescent {
//!     const NAME: &'static str = "sign_descent";
//!     const DESCRIPTION: &'static str = "Steps of one size along the sign of the gradient.";
//!     type Config = Config;
//!
//!     fn new(config: Config) -> Result<Self> {
//!         Ok(SignDescent(config))
//!     }
//!     fn base_learning_rate(&self) -> f64 {
//!         self.0.learning_rate
//!     }
//!     fn scalar_names(&self) -> Vec<&'static str> {
//!         vec!["learning_rate"]
//!     }
//!     fn scalars(&self, _step: u64, learning_rate: f64) -> Result<Vec<f64>> {
//!         Ok(vec![learning_rate])
//!     }
//!     fn update<'g>(&self, g: &GraphBuilder<'g>, p: &Parameter<'_, 'g>) -> Result<Updated<'g>> {
//!         let step = g.mul(g.sign(p.gradient)?, p.scalars[0])?;
//!         Ok(Updated { parameter: g.sub(p.parameter, step)?, slots: vec![] })
//!     }
//! }
//!
//! ablate_sdk::plugin! {
//!     /// The descriptor, for hosts that link this crate.
//!     pub static PLUGIN = {
//!         description: "Descent along signs.",
//!         optimizers: [SignDescent],
//!     };
//! }
//! ablate_sdk::export!(PLUGIN);
//! # fn main() {}
//! ```
//!
//! With `crate-type = ["cdylib"]` that is a library to name under `plugins:` in a recipe.

pub mod check;
mod composites;
mod error;
mod exact;
mod export;
mod graph;
mod objective;
mod operator;
mod optimizer;
mod random;
mod schedule;
mod stopping;
mod tables;

pub use ablate_abi as abi;
pub use composites::bias_correction;
pub use error::{Error, Result};
pub use exact::Exact;
#[doc(hidden)]
pub use export::glue;
pub use graph::{GraphBuilder, Scope, Tensor};
pub use objective::{
    Batch, Feature, Layout, Objective, ObjectiveGraph, Pretrained, Role, Setup, IGNORED,
};
pub use operator::{Document, Fate, Operator};
pub use optimizer::{Optimizer, Parameter, ParameterInfo, Slot, Updated};
pub use random::{Random, Reader};
pub use schedule::Schedule;
pub use stopping::{Decision, Event, Series, Split, StoppingRule};
pub use tables::{log, Level};
