//! Plugins as the recipe names them.
//!
//! Owns the way from a recipe's entry to a trait object, and the catalog that the recipe is checked
//! against. Must not know the plugin ABI; that is the host's.

use std::path::PathBuf;
use std::sync::Arc;

use ablate_datasets::curate;
use ablate_host::{CatalogueEntry, Kind, Registry};
use ablate_recipe::{self as recipe, Catalog, ConfigProblem};
use ablate_train::{
    compose, Objective, ObjectiveContext, ObjectiveGraph, Optimizer, PluginError, PreparedBatch,
    Schedule, Stop, StoppingRule,
};
use serde_json::Value;

use crate::error::Result;
use crate::inputs;

/// The plugins that are at hand: the built-in ones and those that the recipe loads.
#[derive(Clone)]
pub struct Plugins {
    registry: Arc<Registry>,
}

impl Plugins {
    /// The built-in plugins alone.
    ///
    /// # Errors
    /// When the program was linked wrongly.
    pub fn built_in() -> Result<Self> {
        Ok(Plugins {
            registry: Arc::new(Registry::with_builtins()?),
        })
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
        let plugins = Plugins {
            registry: Arc::new(registry),
        };
        Ok((plugins, wrong))
    }

    /// Everything that recipes can name.
    pub fn list(&self) -> &[CatalogueEntry] {
        self.registry.catalogue()
    }

    /// What a recipe may name, for checking it.
    pub fn catalog(&self) -> Catalog {
        let mut catalog = Catalog::default();
        for entry in self.registry.catalogue() {
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
        for (name, schema) in curate::operator_schemas() {
            catalog.operators.insert(name.to_owned(), schema);
        }
        inputs::add(&mut catalog);
        let registry = self.registry.clone();
        catalog.check = Some(Arc::new(move |kind, name: &str, config: &Value| {
            let result = match kind {
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

    /// Makes the recipe's stopping rules, and puts them together as the recipe says.
    ///
    /// # Errors
    /// When a plugin refuses its config.
    pub fn rules(&self, named: &[recipe::Stop]) -> Result<Vec<Box<dyn StoppingRule>>> {
        Ok(compose(self.parts(named)?))
    }

    fn parts(&self, named: &[recipe::Stop]) -> Result<Vec<Stop>> {
        named.iter().map(|stop| self.part(stop)).collect()
    }

    fn part(&self, stop: &recipe::Stop) -> Result<Stop> {
        Ok(match stop {
            recipe::Stop::Rule(rule) => Stop::Rule(Box::new(
                self.registry.make_stopping_rule(&rule.name, &rule.config)?,
            )),
            recipe::Stop::Any(parts) => Stop::Any(self.parts(parts)?),
            recipe::Stop::All(parts) => Stop::All(self.parts(parts)?),
            recipe::Stop::Not(part) => Stop::Not(Box::new(self.part(part)?)),
        })
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

    fn duplicate(&self) -> std::result::Result<Box<dyn Objective>, PluginError> {
        Ok(Box::new(Weighted {
            inner: self.inner.duplicate()?,
            weight: self.weight,
        }))
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
