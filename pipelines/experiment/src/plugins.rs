//! Plugins as the recipe names them.
//!
//! Owns the way from a recipe's entry to a trait object, and the catalog that the recipe is checked
//! against. Must not know the plugin ABI; that is the host's.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ablate_host::{check_pin, CatalogueEntry, Kind, OperatorPlugin, Origin, Registry};
use ablate_recipe::{self as recipe, Catalog, ConfigProblem, PluginPath};
use ablate_train::{
    compose, Objective, ObjectiveContext, ObjectiveGraph, Optimizer, PluginError, PreparedBatch,
    Schedule, Setup, Stop, StoppingRule,
};
use ablate_validator::probe::Prober;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::environment::Library;
use crate::error::{ExperimentError, Result};
use crate::inputs;
use crate::objectives;

/// Something of a loaded library that a trial uses, for its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedPlugin {
    /// What it is.
    pub kind: Kind,
    /// The name by which the recipe has it.
    pub name: String,
    /// Name of the plugin.
    pub plugin: String,
    /// The plugin's own version.
    pub version: String,
    /// The library.
    pub path: PathBuf,
    /// SHA-256 of the library, in hexadecimal.
    pub sha256: String,
}

impl LoadedPlugin {
    fn of(entry: &CatalogueEntry) -> Option<Self> {
        match &entry.origin {
            Origin::BuiltIn => None,
            Origin::File { path, sha256 } => Some(LoadedPlugin {
                kind: entry.kind,
                name: entry.name.clone(),
                plugin: entry.plugin.clone(),
                version: entry.version.clone(),
                path: path.clone(),
                sha256: sha256.clone(),
            }),
        }
    }
}

/// Whether a pinned library is still the one that was meant. Nothing of it has been run yet.
fn pin(named: &PluginPath) -> std::result::Result<(), String> {
    match named.sha256() {
        None => Ok(()),
        Some(sha256) => check_pin(named.path(), sha256).map_err(|error| error.to_string()),
    }
}

/// Several of them in a sentence.
pub(crate) fn in_words(loaded: &[LoadedPlugin]) -> String {
    let words: Vec<String> = loaded
        .iter()
        .map(|l| format!("the {} `{}` from `{}`", l.kind, l.name, l.path.display()))
        .collect();
    words.join(", ")
}

/// The plugins that are at hand: the built-in ones and those that the recipe loads.
#[derive(Clone)]
pub struct Plugins {
    registry: Arc<Registry>,
    /// All that recipes can name, whether or not it is in this process's registry.
    entries: Arc<[CatalogueEntry]>,
    /// Knows the entries that are not.
    prober: Option<Arc<Mutex<Prober>>>,
    paths: Vec<PluginPath>,
}

impl Plugins {
    /// The built-in plugins alone.
    ///
    /// # Errors
    /// When the program was linked wrongly.
    pub fn built_in() -> Result<Self> {
        Ok(Self::of(Registry::with_builtins()?, &[]))
    }

    fn of(registry: Registry, paths: &[PluginPath]) -> Self {
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
    pub fn probe(paths: &[PluginPath], mut prober: Prober) -> Result<(Self, Vec<(usize, String)>)> {
        let mut plugins = Self::built_in()?;
        let mut wrong = Vec::new();
        for (i, path) in paths.iter().enumerate() {
            let loaded = pin(path).and_then(|()| match prober.load(path.path()) {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            });
            wrong.extend(loaded.err().map(|message| (i, message)));
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
    /// A library that the worker process could load and this one cannot, or that has changed since.
    pub fn open(&self) -> Result<Self> {
        let mut registry = Registry::with_builtins()?;
        for path in &self.paths {
            registry.load_path(path.path())?;
        }
        let opened = Self::of(registry, &self.paths);
        opened.same_files(&self.files())?;
        Ok(opened)
    }

    /// Refuses to go on with other files than those that were looked at before.
    ///
    /// # Errors
    /// When a file has changed.
    pub(crate) fn same_files(&self, before: &[Origin]) -> Result<()> {
        if self.files() == before {
            return Ok(());
        }
        Err(ExperimentError::Recipe(
            "a plugin's file is another one than when the run began; run again when its build is done"
                .to_owned(),
        ))
    }

    /// What a trial of this arm needs of loaded plugins: that which its recipe names, and the operators of
    /// the baseline's data, on which every arm's tokenizer depends.
    pub fn loaded_for(&self, arm: &recipe::Recipe, baseline: &recipe::Recipe) -> Vec<LoadedPlugin> {
        self.loaded(|kind, name| match kind {
            Kind::Objective => arm.objectives.iter().any(|o| o.name == name),
            Kind::Optimizer => arm.optimizer.name == name,
            Kind::Schedule => arm.schedule.name == name,
            Kind::StoppingRule => arm.stop.iter().any(|s| s.uses(name)),
            Kind::Operator => [arm, baseline].iter().any(|r| curates(&r.data, name)),
            Kind::Unknown => false,
        })
    }

    /// The loaded operators that data needs.
    pub fn loaded_for_data(&self, data: &recipe::Data) -> Vec<LoadedPlugin> {
        self.loaded(|kind, name| kind == Kind::Operator && curates(data, name))
    }

    fn loaded(&self, needed: impl Fn(Kind, &str) -> bool) -> Vec<LoadedPlugin> {
        self.entries
            .iter()
            .filter(|e| needed(e.kind, &e.name))
            .filter_map(LoadedPlugin::of)
            .collect()
    }

    /// The files that plugins came from, each once, as they were when they were looked at.
    pub fn files(&self) -> Vec<Origin> {
        let mut files: Vec<Origin> = Vec::new();
        for entry in self.entries.iter() {
            if entry.origin != Origin::BuiltIn && !files.contains(&entry.origin) {
                files.push(entry.origin.clone());
            }
        }
        files
    }

    /// The files with what is in them, for the record of the environment.
    pub fn libraries(&self) -> Vec<Library> {
        let mut libraries: Vec<Library> = Vec::new();
        for entry in self.entries.iter() {
            if let Origin::File { path, sha256 } = &entry.origin {
                if libraries.iter().all(|l| l.path != *path) {
                    libraries.push(Library {
                        path: path.clone(),
                        sha256: sha256.clone(),
                        plugin: entry.plugin.clone(),
                        version: entry.version.clone(),
                        abi: format!("{}.{}", entry.abi.0, entry.abi.1),
                    });
                }
            }
        }
        libraries
    }

    /// The paths that were given.
    pub fn paths(&self) -> &[PluginPath] {
        &self.paths
    }

    /// Makes a data operator.
    ///
    /// # Errors
    /// When the plugin refuses its config.
    pub fn operator(&self, named: &recipe::Component) -> Result<OperatorPlugin> {
        Ok(self.registry.make_operator(&named.name, &named.config)?)
    }

    /// The built-in plugins and those at `paths`. What cannot be loaded is told by its index.
    ///
    /// # Errors
    /// As [`Plugins::built_in`].
    pub fn load(paths: &[PluginPath]) -> Result<(Self, Vec<(usize, String)>)> {
        let mut registry = Registry::with_builtins()?;
        let mut wrong = Vec::new();
        for (i, path) in paths.iter().enumerate() {
            let loaded = pin(path).and_then(|()| {
                let loaded = registry.load_path(path.path());
                loaded.map_err(|error| error.to_string())
            });
            wrong.extend(loaded.err().map(|message| (i, message)));
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
        inputs::add(&mut catalog);
        let registry = self.registry.clone();
        let elsewhere = self.clone();
        catalog.check = Some(Arc::new(move |kind, name: &str, config: &Value| {
            let kind = host_kind(kind);
            let result = if elsewhere.is_elsewhere(kind, name) {
                elsewhere.try_elsewhere(kind, name, config)
            } else {
                check(&registry, kind, name, config)
            };
            result.map_err(|message| ConfigProblem { key: None, message })
        }));
        let registry = self.registry.clone();
        catalog.check_together = Some(Arc::new(move |one| objectives::problems(&registry, one)));
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

fn curates(data: &recipe::Data, operator: &str) -> bool {
    data.curate.iter().any(|c| c.name == operator)
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

    fn needs_ordered_pairs(&self) -> bool {
        self.inner.needs_ordered_pairs()
    }

    fn check(&self, setup: &Setup<'_>) -> std::result::Result<(), PluginError> {
        self.inner.check(setup)
    }

    fn predicts_tokens(&self, feature: &str) -> bool {
        self.inner.predicts_tokens(feature)
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
