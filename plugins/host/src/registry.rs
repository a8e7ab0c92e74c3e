//! The registry: which capabilities there are, under which names, from where.

use std::path::Path;

use ablate_abi::Plugin;
use serde_json::Value;

use crate::catalogue::{CatalogueEntry, Kind, Origin};
use crate::descriptor::{self, Table};
use crate::{
    load, HostError, ObjectivePlugin, OperatorPlugin, OptimizerPlugin, SchedulePlugin,
    StoppingRulePlugin,
};

/// All capabilities of a process, by kind and name.
#[derive(Default)]
pub struct Registry {
    entries: Vec<CatalogueEntry>,
    tables: Vec<Table>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// A registry with the plugins that are linked into the program.
    ///
    /// # Errors
    /// As [`Registry::link`].
    pub fn with_builtins() -> Result<Self, HostError> {
        let mut registry = Self::new();
        for plugin in ablate_builtins::PLUGINS {
            registry.link(plugin)?;
        }
        Ok(registry)
    }

    /// Enters a plugin that is linked into the program.
    ///
    /// # Errors
    /// A descriptor that is not well formed, or a name that is taken; nothing is entered then.
    pub fn link(&mut self, plugin: &'static Plugin) -> Result<(), HostError> {
        // SAFETY: a reference to a descriptor made by the SDK (or by hand, as the ABI says).
        unsafe { self.enter(plugin, &Origin::BuiltIn) }
    }

    /// Loads a shared library, or every one in a folder, and enters its plugin. A library that is
    /// already loaded is passed over. Loading runs the library's code: name only what you trust.
    ///
    /// # Errors
    /// Whatever is wrong with path, file or descriptor, or a name that is taken. Libraries of the
    /// folder before the wrong one stay entered.
    pub fn load_path(&mut self, path: &Path) -> Result<(), HostError> {
        for library in load::libraries(path)? {
            if self.is_loaded(&library) {
                continue;
            }
            let (plugin, origin) = load::open(&library)?;
            // SAFETY: the pointer comes from the entry function of a library that stays open.
            unsafe { self.enter(plugin, &origin) }?;
        }
        Ok(())
    }

    fn is_loaded(&self, library: &Path) -> bool {
        let Ok(absolute) = library.canonicalize() else {
            return false;
        };
        self.entries
            .iter()
            .any(|e| matches!(&e.origin, Origin::File { path, .. } if *path == absolute))
    }

    /// # Safety
    /// As [`descriptor::read`].
    unsafe fn enter(&mut self, plugin: *const Plugin, origin: &Origin) -> Result<(), HostError> {
        // SAFETY: the caller's promise.
        let found = unsafe { descriptor::read(plugin, origin) }?;
        for (i, (entry, _)) in found.iter().enumerate() {
            let same = |e: &&CatalogueEntry| e.kind == entry.kind && e.name == entry.name;
            let earlier = found[..i].iter().map(|(e, _)| e);
            if let Some(first) = self.entries.iter().chain(earlier).find(same) {
                return Err(HostError::Duplicate {
                    kind: entry.kind,
                    name: entry.name.clone(),
                    first: Box::new(first.origin.clone()),
                    second: Box::new(entry.origin.clone()),
                });
            }
        }
        for (entry, table) in found {
            self.entries.push(entry);
            self.tables.push(table);
        }
        Ok(())
    }

    /// Everything that recipes can name, in the order of entering.
    pub fn catalogue(&self) -> &[CatalogueEntry] {
        &self.entries
    }

    /// The entry of a name.
    pub fn find(&self, kind: Kind, name: &str) -> Option<&CatalogueEntry> {
        self.entries
            .iter()
            .find(|e| e.kind == kind && e.name == name)
    }

    /// Names of one kind that can be used, in the order of entering.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter(move |e| e.kind == kind && e.unusable.is_none())
            .map(|e| e.name.as_str())
    }

    fn table(&self, kind: Kind, name: &str) -> Result<Table, HostError> {
        let (entry, table) = self
            .entries
            .iter()
            .zip(&self.tables)
            .find(|(e, _)| e.kind == kind && e.name == name)
            .ok_or_else(|| self.unknown(kind, name))?;
        match &entry.unusable {
            None => Ok(*table),
            Some(reason) => Err(HostError::Unusable {
                kind,
                name: name.to_owned(),
                origin: Box::new(entry.origin.clone()),
                reason: reason.clone(),
            }),
        }
    }

    fn unknown(&self, kind: Kind, name: &str) -> HostError {
        HostError::UnknownName {
            kind,
            name: name.to_owned(),
            known: self.names(kind).map(str::to_owned).collect(),
        }
    }

    /// Makes an objective. `config` is what the recipe says under its name, a JSON object or null.
    ///
    /// # Errors
    /// An unknown name, or the plugin's refusal of the configuration.
    pub fn make_objective(&self, name: &str, config: &Value) -> Result<ObjectivePlugin, HostError> {
        match self.table(Kind::Objective, name)? {
            Table::Objective(api) => ObjectivePlugin::new(name, api, config)
                .map_err(|message| create(Kind::Objective, name, message)),
            _ => Err(self.unknown(Kind::Objective, name)),
        }
    }

    /// Makes an optimizer. `config` as in [`Registry::make_objective`].
    ///
    /// # Errors
    /// An unknown name, or the plugin's refusal of the configuration.
    pub fn make_optimizer(&self, name: &str, config: &Value) -> Result<OptimizerPlugin, HostError> {
        match self.table(Kind::Optimizer, name)? {
            Table::Optimizer(api) => OptimizerPlugin::new(name, api, config)
                .map_err(|message| create(Kind::Optimizer, name, message)),
            _ => Err(self.unknown(Kind::Optimizer, name)),
        }
    }

    /// Makes a stopping rule. `config` as in [`Registry::make_objective`].
    ///
    /// # Errors
    /// An unknown name, or the plugin's refusal of the configuration.
    pub fn make_stopping_rule(
        &self,
        name: &str,
        config: &Value,
    ) -> Result<StoppingRulePlugin, HostError> {
        match self.table(Kind::StoppingRule, name)? {
            Table::StoppingRule(api) => StoppingRulePlugin::new(name, api, config)
                .map_err(|message| create(Kind::StoppingRule, name, message)),
            _ => Err(self.unknown(Kind::StoppingRule, name)),
        }
    }

    /// Makes a schedule. `config` as in [`Registry::make_objective`].
    ///
    /// # Errors
    /// An unknown name, or the plugin's refusal of the configuration.
    pub fn make_schedule(&self, name: &str, config: &Value) -> Result<SchedulePlugin, HostError> {
        match self.table(Kind::Schedule, name)? {
            Table::Schedule(api) => SchedulePlugin::new(name, api, config)
                .map_err(|message| create(Kind::Schedule, name, message)),
            _ => Err(self.unknown(Kind::Schedule, name)),
        }
    }

    /// Makes a data operator. `config` as in [`Registry::make_objective`].
    ///
    /// # Errors
    /// An unknown name, or the plugin's refusal of the configuration.
    pub fn make_operator(&self, name: &str, config: &Value) -> Result<OperatorPlugin, HostError> {
        match self.table(Kind::Operator, name)? {
            Table::Operator(api) => OperatorPlugin::new(name, api, config)
                .map_err(|message| create(Kind::Operator, name, message)),
            _ => Err(self.unknown(Kind::Operator, name)),
        }
    }

    /// Whether a plugin accepts a configuration: makes an instance and drops it.
    ///
    /// # Errors
    /// As the `make_` function of the kind.
    pub fn check(&self, kind: Kind, name: &str, config: &Value) -> Result<(), HostError> {
        match kind {
            Kind::Objective => self.make_objective(name, config).map(drop),
            Kind::Optimizer => self.make_optimizer(name, config).map(drop),
            Kind::Schedule => self.make_schedule(name, config).map(drop),
            Kind::StoppingRule => self.make_stopping_rule(name, config).map(drop),
            Kind::Operator => self.make_operator(name, config).map(drop),
            Kind::Unknown => Err(self.unknown(kind, name)),
        }
    }
}

fn create(kind: Kind, name: &str, message: String) -> HostError {
    HostError::Create {
        kind,
        name: name.to_owned(),
        message,
    }
}
