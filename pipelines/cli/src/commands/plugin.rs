//! `ablate plugin list | check | describe | new`: plugins from their authors' side.
//!
//! None of these opens a library in this process: whatever is in it happens to a worker.

mod check;
mod describe;
mod new;

use std::path::{Path, PathBuf};

use ablate_experiment::Plugins;
use ablate_recipe::PluginPath;
use ablate_validator::probe::Prober;
use ablate_validator::process::{Limits, Program};
use ablate_validator::Target;
use serde_json::{Map, Value};

use super::worker::program;
use super::{print, Failure, Outcome};
use crate::args::{PluginCommand, PluginTarget};
use crate::{exit, table};

/// Runs a subcommand.
pub fn plugin(command: &PluginCommand) -> Outcome {
    match command {
        PluginCommand::List { paths, json } => list(paths, *json),
        PluginCommand::Check(args) => check::check(args),
        PluginCommand::Describe(args) => describe::describe(args),
        PluginCommand::New(args) => new::new(args),
    }
}

/// Lists everything that recipes can name.
fn list(paths: &[PathBuf], json: bool) -> Outcome {
    let plugins = load(paths)?;
    if json {
        let text = serde_json::to_string_pretty(&plugins.list()).map_err(Failure::running)?;
        print(&(text + "\n"))?;
        return Ok(exit::OK);
    }
    let rows: Vec<Vec<String>> = plugins
        .list()
        .iter()
        .map(|e| {
            vec![
                e.kind.to_string(),
                e.name.clone(),
                e.version.clone(),
                e.origin.to_string(),
                e.unusable.clone().unwrap_or_else(|| e.description.clone()),
            ]
        })
        .collect();
    print(&table::render(
        &["kind", "name", "version", "from", "what it does"],
        &rows,
    ))?;
    Ok(exit::OK)
}

/// The built-in plugins and those at `paths`, looked at by a worker.
pub fn load(paths: &[PathBuf]) -> Result<Plugins, Failure> {
    let prober = Prober::new(program()?, Limits::for_plugins());
    let paths: Vec<PluginPath> = paths.iter().cloned().map(PluginPath::from).collect();
    let (plugins, wrong) = Plugins::probe(&paths, prober).map_err(Failure::running)?;
    match wrong.first() {
        None => Ok(plugins),
        Some((_, message)) => Err(Failure::usage(message)),
    }
}

/// What `check` and `describe` look at.
struct Subject {
    target: Target,
    /// How people call it.
    shown: String,
    program: Program,
    configs: Map<String, Value>,
}

fn subject(args: &PluginTarget) -> Result<Subject, Failure> {
    let target = match (&args.library, args.built_in) {
        (Some(path), false) => Target::Library(library(path)?),
        (None, true) => Target::BuiltIn,
        _ => {
            return Err(Failure::usage(
                "say which plugin: the path of a shared library, or --built-in",
            ))
        }
    };
    let shown = match &target {
        Target::Library(path) => path.display().to_string(),
        Target::BuiltIn => "built in".to_owned(),
    };
    let mut configs = Map::new();
    for config in &args.config {
        let (name, value) = config.split_once('=').ok_or_else(|| {
            Failure::usage(format!(
                "--config {config}: write NAME={{key: value}}, NAME being what a recipe calls the plugin"
            ))
        })?;
        let value: Value = serde_yaml::from_str(value)
            .map_err(|e| Failure::usage(format!("--config {config}: {e}")))?;
        if !value.is_object() {
            return Err(Failure::usage(format!(
                "--config {config}: a configuration is a map, such as {{learning_rate: 0.1}}"
            )));
        }
        configs.insert(name.to_owned(), value);
    }
    Ok(Subject {
        target,
        shown,
        program: program()?,
        configs,
    })
}

/// The library at a path, or the only one in a folder.
fn library(path: &Path) -> Result<PathBuf, Failure> {
    let found = ablate_validator::libraries(path).map_err(Failure::usage)?;
    match found.as_slice() {
        [one] => Ok(one.clone()),
        several => {
            let names: Vec<String> = several.iter().map(|p| p.display().to_string()).collect();
            Err(Failure::usage(format!(
                "{} has {} libraries; name one: {}",
                path.display(),
                several.len(),
                names.join(", ")
            )))
        }
    }
}
