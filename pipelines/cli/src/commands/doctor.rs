//! `ablate doctor`, `ablate plugin list`, `ablate schema`: what there is.

use std::path::PathBuf;

use ablate_experiment::{default_threads, describe_gpu, environment, open_device, Plugins};
use ablate_recipe::{Device, Precision};

use super::{print, Failure, Outcome};
use crate::{exit, table};

/// Says what the machine offers.
pub fn doctor() -> Outcome {
    let e = environment::look(default_threads(), String::new());
    let device = match open_device(Device::Auto, Precision::F32, 0) {
        Ok(backend) => backend.description(),
        Err(error) => format!("none: {error}"),
    };
    let gpu = match describe_gpu() {
        Ok(gpu) => gpu,
        Err(reason) => format!("none: {reason}"),
    };
    let plugins = match Plugins::built_in() {
        Ok(plugins) => plugins.list().len().to_string(),
        Err(error) => format!("none: {error}"),
    };
    let git = e.git.unwrap_or_else(|| "no repository here".to_owned());
    print(&format!(
        "\
ablate         {} (luminal {})
system         {}
cpu            {}
cpu features   {}
threads        {} of {} cores
device         {device}
gpu            {gpu}
plugins        {plugins} built in
plugin search  the paths under `plugins:` in the recipe (as written, then beside the recipe); no other folder is searched
git            {git}
",
        e.ablate,
        e.luminal,
        e.system,
        e.cpu,
        e.cpu_features.join(" "),
        e.threads,
        e.cores,
    ))?;
    Ok(exit::OK)
}

/// Lists everything that recipes can name.
pub fn plugins(paths: &[PathBuf]) -> Outcome {
    let plugins = load(paths)?;
    let rows: Vec<Vec<String>> = plugins
        .list()
        .iter()
        .map(|e| {
            vec![
                e.kind.to_string(),
                e.name.clone(),
                e.version.clone(),
                e.origin.to_string(),
                e.description.clone(),
            ]
        })
        .collect();
    print(&table::render(
        &["kind", "name", "version", "from", "what it does"],
        &rows,
    ))?;
    Ok(exit::OK)
}

/// Prints the JSON Schema of recipes.
pub fn schema(paths: &[PathBuf]) -> Outcome {
    let plugins = load(paths)?;
    let schema = ablate_recipe::schema(&plugins.catalog());
    let text = serde_json::to_string_pretty(&schema).map_err(Failure::running)?;
    print(&(text + "\n"))?;
    Ok(exit::OK)
}

fn load(paths: &[PathBuf]) -> Result<Plugins, Failure> {
    let (plugins, wrong) = Plugins::load(paths).map_err(Failure::running)?;
    match wrong.first() {
        None => Ok(plugins),
        Some((_, message)) => Err(Failure::usage(message)),
    }
}
