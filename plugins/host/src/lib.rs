//! The plugin host: finds plugins, checks them, and makes them usable to the trainer.
//!
//! Owns: the registry of descriptors, loading shared libraries, negotiation of versions, the host's
//! side of the C ABI, and the adapters that implement [`ablate_train`]'s traits. Must not know: which
//! plugins exist (but for the list of linked ones), recipes, or backends.
//!
//! Linked and loaded plugins take one path: a descriptor is checked, its capabilities are entered
//! into the [`Registry`], and every use goes through the function tables of the ABI.
//!
//! ```
//! use ablate_host::{Kind, Registry};
//!
//! let registry = Registry::with_builtins()?;
//! let adamw = registry.make_optimizer("adamw", &serde_json::json!({"learning_rate": 2e-4}))?;
//! assert_eq!(adamw.base_learning_rate(), 2e-4);
//! let wrong = registry.check(Kind::Optimizer, "adamw", &serde_json::json!({"eps": -1.0}));
//! assert!(wrong.unwrap_err().to_string().contains("eps"));
//! # Ok::<(), ablate_host::HostError>(())
//! ```

mod batch_api;
mod catalogue;
mod context;
mod descriptor;
mod error;
mod graph_api;
mod history;
mod instance;
mod load;
mod model_api;
mod objective;
mod operator;
mod optimizer;
mod pretrained;
mod registry;
mod schedule;
mod stopping;
mod tables;

pub use catalogue::{CatalogueEntry, Kind, Origin};
pub use error::HostError;
pub use load::{check_pin, libraries};
pub use objective::ObjectivePlugin;
pub use operator::{Fate, OperatorPlugin};
pub use optimizer::OptimizerPlugin;
pub use registry::Registry;
pub use schedule::SchedulePlugin;
pub use stopping::StoppingRulePlugin;
