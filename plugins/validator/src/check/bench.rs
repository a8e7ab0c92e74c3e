//! What a test works with: the plugin under test, a device, and the ways to end.

use ablate_abi::Plugin;
use ablate_compiler::{Backend, BackendError};
use ablate_graph::GraphError;
use ablate_host::{
    HostError, Kind, ObjectivePlugin, OperatorPlugin, OptimizerPlugin, Registry, SchedulePlugin,
    StoppingRulePlugin,
};
use ablate_train::{PluginError, TrainError};
use serde_json::Value;

use crate::border::library::Target;
use crate::border::proxy;
use crate::exercise::{exercise, Fault};
use crate::schema;

/// Why a test does not pass.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It found something.
    Failed(String),
    /// There is nothing to look at.
    Skipped(String),
}

macro_rules! fails {
    ($($error:ty),*) => {$(
        impl From<$error> for Stop {
            fn from(error: $error) -> Self {
                Stop::Failed(error.to_string())
            }
        }
    )*};
}
fails!(
    HostError,
    PluginError,
    TrainError,
    GraphError,
    BackendError,
    ablate_bert::BertError
);

/// Ends a test that found something.
pub(crate) fn fail<T>(text: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Failed(text.into()))
}

/// The work bench of one test of one capability.
pub(crate) struct Bench<'a> {
    pub target: &'a Target,
    /// The capability under test; of a test of the whole library, its first.
    pub kind: Kind,
    pub name: &'a str,
    /// Its schema.
    pub schema: &'a Value,
    /// What the user wants it tested with.
    pub chosen: Option<&'a Value>,
    pub backend: &'a dyn Backend,
    /// Is told what is about to happen, should it be the last thing.
    pub tell: &'a mut dyn FnMut(&str),
    /// What the test measured, for programs to read.
    pub data: Option<Value>,
}

impl Bench<'_> {
    /// Says what is about to happen.
    pub fn doing(&mut self, what: impl AsRef<str>) {
        (self.tell)(what.as_ref());
    }

    /// The plugin in a registry of its own, as a recipe would load it.
    pub fn registry(&mut self) -> Result<Registry, Stop> {
        self.doing("load");
        let mut registry = Registry::new();
        match self.target {
            Target::Library(path) => registry.load_path(path)?,
            Target::BuiltIn => {
                for plugin in ablate_builtins::PLUGINS {
                    let plugin: &'static Plugin = plugin;
                    registry.link(plugin)?;
                }
            }
        }
        Ok(registry)
    }

    /// The capability in a registry, with everything of [`crate::border`] in between.
    pub fn proxied(&mut self) -> Result<Registry, Stop> {
        self.doing("load");
        proxy::registry(self.target, self.kind, self.name).map_err(Stop::Failed)
    }

    /// The configuration that tests use: the user's, else the smallest that the schema allows.
    pub fn config(&self) -> Result<Value, Stop> {
        if let Some(chosen) = self.chosen {
            return Ok(chosen.clone());
        }
        schema::smallest(self.schema).ok_or_else(|| {
            Stop::Skipped(format!(
                "the schema requires keys for which it has no default and no example; give a configuration: --config {}={{...}}",
                self.name
            ))
        })
    }

    /// Whether the schema requires keys, so that [`Bench::config`] had to make values up.
    pub fn made_up(&self) -> bool {
        let required = self.schema.get("required").and_then(Value::as_array);
        self.chosen.is_none() && required.is_some_and(|keys| !keys.is_empty())
    }

    /// The instance that tests use. A refusal of values that were made up is no finding.
    fn made<T>(&self, made: Result<T, HostError>, config: &Value) -> Result<T, Stop> {
        made.map_err(|error| {
            if self.made_up() {
                Stop::Skipped(format!(
                    "the made-up configuration {config} is refused; give one: --config {}={{...}} ({error})",
                    self.name
                ))
            } else {
                Stop::from(error)
            }
        })
    }

    /// An objective with the configuration of [`Bench::config`].
    pub fn objective(&mut self, registry: &Registry) -> Result<ObjectivePlugin, Stop> {
        self.doing("create");
        let config = self.config()?;
        self.made(registry.make_objective(self.name, &config), &config)
    }

    /// An optimizer, likewise.
    pub fn optimizer(&mut self, registry: &Registry) -> Result<OptimizerPlugin, Stop> {
        self.doing("create");
        let config = self.config()?;
        self.made(registry.make_optimizer(self.name, &config), &config)
    }

    /// A schedule, likewise.
    pub fn schedule(&mut self, registry: &Registry) -> Result<SchedulePlugin, Stop> {
        self.doing("create");
        let config = self.config()?;
        self.made(registry.make_schedule(self.name, &config), &config)
    }

    /// A stopping rule, likewise.
    pub fn stopping_rule(&mut self, registry: &Registry) -> Result<StoppingRulePlugin, Stop> {
        self.doing("create");
        let config = self.config()?;
        self.made(registry.make_stopping_rule(self.name, &config), &config)
    }

    /// A data operator, likewise.
    pub fn operator(&mut self, registry: &Registry) -> Result<OperatorPlugin, Stop> {
        self.doing("create");
        let config = self.config()?;
        self.made(registry.make_operator(self.name, &config), &config)
    }

    /// One use from the first hook to the last; the message of the hook that failed.
    pub fn exercise(
        &mut self,
        registry: &Registry,
        situation: &str,
    ) -> Result<Result<(), String>, Stop> {
        let config = self.config()?;
        let tell = &mut *self.tell;
        let mut doing = |hook: &str| tell(&format!("{hook}{situation}"));
        match exercise(registry, self.kind, self.name, &config, &mut doing) {
            Ok(()) => Ok(Ok(())),
            Err(Fault::Refused(message) | Fault::Hook(message)) => Ok(Err(message)),
        }
    }

    /// As [`Bench::exercise`], where nothing may go wrong.
    pub fn works(&mut self, registry: &Registry, situation: &str) -> Result<(), Stop> {
        let config = self.config()?;
        self.doing(format!("create{situation}"));
        let checked = registry.check(self.kind, self.name, &config);
        self.made(checked, &config)?;
        self.exercise(registry, situation)?.map_err(Stop::Failed)
    }
}

/// Whether a message is a host's word for a bare status, which says nothing of the cause.
pub(crate) fn is_bare(message: &str) -> bool {
    message.trim().is_empty() || message.ends_with(", no message)")
}

/// A configuration as a sentence shows it.
pub(crate) fn shown(config: &Value) -> String {
    let text = config.to_string();
    if text.len() <= 120 {
        return text;
    }
    let begin: String = text.chars().take(100).collect();
    format!("{begin}.. ({} bytes)", text.len())
}

/// Two values that must be the same.
pub(crate) fn same<T: PartialEq>(a: &T, b: &T, what: &str) -> Result<(), Stop> {
    if a == b {
        Ok(())
    } else {
        fail(format!("{what} differ"))
    }
}

/// Bits of numbers, for which NaN is equal to itself.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// `1 slot`, `2 slots`.
pub(crate) fn count(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}
