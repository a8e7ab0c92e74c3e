//! `ablate doctor`, `ablate schema`: what there is.

use std::path::PathBuf;

use ablate_experiment::{default_threads, environment, open_device, why_no_gpu, Plugins};
use ablate_recipe::{Device, Precision};

use super::plugin::load;
use super::{print, Failure, Outcome};
use crate::exit;

/// Says what the machine offers.
pub fn doctor() -> Outcome {
    let e = environment::look(default_threads(), String::new());
    let device = match open_device(Device::Auto, Precision::F32, 0) {
        Ok(backend) => backend.description(),
        Err(error) => format!("none: {error}"),
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
gpu            none: {}
plugins        {plugins} built in
plugin search  the paths under `plugins:` in the recipe (as written, then beside the recipe) and `--plugin`; no other folder is searched
git            {git}
",
        e.ablate,
        e.luminal,
        e.system,
        e.cpu,
        e.cpu_features.join(" "),
        e.threads,
        e.cores,
        why_no_gpu(),
    ))?;
    Ok(exit::OK)
}

/// Prints the JSON Schema of recipes or of dataset cards.
pub fn schema(card: bool, paths: &[PathBuf]) -> Outcome {
    let catalog = load(paths)?.catalog();
    let schema = match card {
        true => ablate_recipe::card_schema(&catalog),
        false => Some(ablate_recipe::schema(&catalog)),
    };
    let text = serde_json::to_string_pretty(&schema).map_err(Failure::running)?;
    print(&(text + "\n"))?;
    Ok(exit::OK)
}
