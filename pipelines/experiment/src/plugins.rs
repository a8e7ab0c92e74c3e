//! Plugins as the recipe names them.
//!
//! Owns the way from a recipe's entry to a trait object, and the catalog that the recipe is checked
//! against. Must not know the plugin ABI; that is the host's.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ablate_datasets::curate;
use ablate_host::{CatalogueEntry, Kind, Origin, Registry};
use ablate_recipe::{self as recipe, Catalog, ConfigProblem};
use ablate_train::{
    Objective, ObjectiveContext, ObjectiveGraph, Optimizer, PluginError, PreparedBatch, Schedule,
    StoppingRule,
};
use ablate_validator::probe::Prober;
use serde_json::Value;

use crate::error::Result;

/// The plugins that are at hand: the built-in ones and those that the recipe loads.
#[derive(Clone)]
pub struct Plugins {
    registry: Arc<Registry>,
    /// All that recipes can name, whether or not it is in this process's registry.
    entries: Arc<[CatalogueEntry]>,
    /// Knows the entries that are not.
    prober: Option<Arc<Mutex<Prober>>>,
    paths: Vec<PathBuf>,
}

impl Plugins {
    /// The built-in plugins alone.
    ///
    /// # Errors
    /// When the program was linked wrongly.
    pub fn built_in() -> Result<Self> {
        Ok(Self::of(Registry::with_builtins()?, &[]))
    }

    fn of(registry: Registry, paths: &[PathBuf]) -> Self {
        Plugins {
            entries: registry.catalogue().into(),
            registry: Arc::new(registry),
            prober: None,
            paths: paths.to_vec(),
        }
    }

    /// The built-in plugins and those at `paths`, which a worker process looks at: nothing of them comes into
    /// this process. What is wrong with a path is told by its index. For everything but making instances
    /// that is enough; see [`Plugins::open`].
    ///
    /// # Errors
    /// As [`Plugins::built_in`].
    pub fn probe(paths: &[PathBuf], mut prober: Prober) -> Result<(Self, Vec<(usize, String)>)> {
        let mut plugins = Self::built_in()?;
        let mut wrong = Vec::new();
        for (i, path) in paths.iter().enumerate() {
            if let Err(error) = prober.load(path) {
                wrong.push((i, error.to_string()));
            }
        }
        let all = plugins.entries.iter().chain(prober.entries());
        plugins.entries = all.cloned().collect();
        plugins.paths = paths.to_vec();
        plugins.prober = Some(Arc::new(Mutex::new(prober)));
        Ok((plugins, wrong))
    }

    /// The same plugins, all of them in this process.
    ///
    /// # Errors
    /// A library that the worker process could load and this one cannot.
    pub fn open(&self) -> Result<Self> {
        let mut registry = Registry::with_builtins()?;
        for path in &self.paths {
            registry.load_path(path)?;
        }
        Ok(Self::of(registry, &self.paths))
    }

    /// The loaded plugins that these recipes name, in words.
    pub fn loaded_in(&self, recipes: &[&recipe::Recipe]) -> Vec<String> {
        let named = |entry: &CatalogueEntry| {
            recipes.iter().any(|r| match entry.kind {
                Kind::Objective => r.objectives.iter().any(|o| o.name == entry.name),
                Kind::Optimizer => r.optimizer.name == entry.name,
                Kind::Schedule => r.schedule.name == entry.name,
                Kind::StoppingRule => r.stop.iter().any(|s| s.name == entry.name),
                Kind::Operator => r.data.curate.iter().any(|c| c.name == entry.name),
                Kind::Unknown => false,
            })
        };
        self.entries
            .iter()
            .filter(|e| matches!(e.origin, Origin::File { .. }) && named(e))
            .map(|e| format!("the {} `{}` {}", e.kind, e.name, e.origin))
            .collect()
    }

    /// The built-in plugins and those at `paths`. What cannot be loaded is told by its index.
    ///
    /// # Errors
    /// As [`Plugins::built_in`].
    pub fn load(paths: &[PathBuf]) -> Result<(Self, Vec<(usize, String)>)> {
        let mut registry = Registry::with_builtins()?;
        let mut wrong = Vec::new();
        for (i, path) in paths.iter().enumerate() {
            if let Err(error) = registry.load_path(path) {
                wrong.push((i, error.to_string()));
            }
        }
        Ok((Self::of(registry, paths), wrong))
    }

    /// Everything that recipes can name.
    pub fn list(&self) -> &[CatalogueEntry] {
        &self.entries
    }

    /// What a recipe may name, for checking it.
    pub fn catalog(&self) -> Catalog {
        let mut catalog = Catalog::default();
        for entry in self.list() {
            let names = match entry.kind {
                Kind::Objective => &mut catalog.objectives,
                Kind::Optimizer => &mut catalog.optimizers,
                Kind::Schedule => &mut catalog.schedules,
                Kind::StoppingRule => &mut catalog.stopping,
                Kind::Operator => &mut catalog.operators,
                Kind::Unknown => continue,
            };
            names.insert(entry.name.clone(), entry.schema.clone());
        }
        for name in curate::operator_names() {
            // Operators check their own options; see `check` below.
            let schema = serde_json::json!({"type": "object"});
            catalog.operators.insert(name.to_owned(), schema);
        }
        let registry = self.registry.clone();
        let elsewhere = self.clone();
        catalog.check = Some(Arc::new(move |kind, name: &str, config: &Value| {
            let result = match kind {
                kind if elsewhere.is_elsewhere(host_kind(kind), name) => {
                    elsewhere.try_elsewhere(host_kind(kind), name, config)
                }
                recipe::Kind::Objective => check(&registry, Kind::Objective, name, config),
                recipe::Kind::Optimizer => check(&registry, Kind::Optimizer, name, config),
                recipe::Kind::Schedule => check(&registry, Kind::Schedule, name, config),
                recipe::Kind::StoppingRule => check(&registry, Kind::StoppingRule, name, config),
                recipe::Kind::Operator => curate::validate(name, config).map_err(|e| e.to_string()),
            };
            result.map_err(|message| ConfigProblem { key: None, message })
        }));
        catalog
    }

    /// Whether only the worker process has this plugin.
    fn is_elsewhere(&self, kind: Kind, name: &str) -> bool {
        self.prober.is_some()
            && self.registry.find(kind, name).is_none()
            && self
                .entries
                .iter()
                .any(|e| e.kind == kind && e.name == name)
    }

    /// Has the worker process make an instance and call its hooks.
    fn try_elsewhere(
        &self,
        kind: Kind,
        name: &str,
        config: &Value,
    ) -> std::result::Result<(), String> {
        let Some(prober) = &self.prober else {
            return Ok(());
        };
        let mut prober = prober.lock().unwrap_or_else(PoisonError::into_inner);
        prober
            .try_config(kind, name, config)
            .map_err(|e| e.to_string())
    }

    /// Makes the recipe's objectives, each with the recipe's weight.
    ///
    /// # Errors
    /// When a plugin refuses its config.
    pub fn objectives(&self, named: &[recipe::Objective]) -> Result<Vec<Box<dyn Objective>>> {
        named
            .iter()
            .map(|o| {
                Ok(Box::new(Weighted {
                    inner: Box::new(self.registry.make_objective(&o.name, &o.config)?),
                    weight: o.weight,
                }) as Box<dyn Objective>)
            })
            .collect()
    }

    /// Makes the recipe's optimizer.
    ///
    /// # Errors
    /// When the plugin refuses its config.
    pub fn optimizer(&self, named: &recipe::Optimizer) -> Result<Box<dyn Optimizer>> {
        let made = self.registry.make_optimizer(&named.name, &named.config)?;
        Ok(Box::new(made))
    }

    /// Makes the recipe's schedule.
    ///
    /// # Errors
    /// When the plugin refuses its config.
    pub fn schedule(&self, named: &recipe::Component) -> Result<Box<dyn Schedule>> {
        let made = self.registry.make_schedule(&named.name, &named.config)?;
        Ok(Box::new(made))
    }

    /// Makes the recipe's stopping rules.
    ///
    /// # Errors
    /// When a plugin refuses its config.
    pub fn rules(&self, named: &[recipe::Component]) -> Result<Vec<Box<dyn StoppingRule>>> {
        named
            .iter()
            .map(|rule| {
                let made = self.registry.make_stopping_rule(&rule.name, &rule.config)?;
                Ok(Box::new(made) as Box<dyn StoppingRule>)
            })
            .collect()
    }
}

/// The host's word for a recipe's kind.
fn host_kind(kind: recipe::Kind) -> Kind {
    match kind {
        recipe::Kind::Objective => Kind::Objective,
        recipe::Kind::Optimizer => Kind::Optimizer,
        recipe::Kind::Schedule => Kind::Schedule,
        recipe::Kind::StoppingRule => Kind::StoppingRule,
        recipe::Kind::Operator => Kind::Operator,
    }
}

fn check(
    registry: &Registry,
    kind: Kind,
    name: &str,
    config: &Value,
) -> std::result::Result<(), String> {
    registry
        .check(kind, name, config)
        .map_err(|e| e.to_string())
}

/// An objective with the weight that the recipe gives it, whether or not the plugin knows of weights.
struct Weighted {
    inner: Box<dyn Objective>,
    weight: f64,
}

impl Objective for Weighted {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn weight(&self) -> f64 {
        self.weight
    }

    fn needs_pairs(&self) -> bool {
        self.inner.needs_pairs()
    }

    fn prepare(&mut self, batch: &mut PreparedBatch) -> std::result::Result<f64, PluginError> {
        self.inner.prepare(batch)
    }

    fn build(
        &mut self,
        cx: &mut ObjectiveContext<'_>,
    ) -> std::result::Result<ObjectiveGraph, PluginError> {
        self.inner.build(cx)
    }
}
