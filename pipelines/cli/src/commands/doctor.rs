//! `ablate doctor`, `ablate schema`: what there is.

use std::path::PathBuf;

use ablate_experiment::{default_threads, describe_gpu, environment, open_device, Plugins};
use ablate_recipe::{Device, Precision};

use super::plugin::load;
use super::{print, Failure, Outcome};
use crate::exit;

/// Says what the machine offers.
pub fn doctor() -> Outcome {
    let e = environment::look(default_threads(), String::new());
    let [device, tf32, split, bf16] = [
        Precision::F32,
        Precision::Tf32,
        Precision::F32Split,
        Precision::Bf16,
    ]
    .map(device_in);
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
tf32           {tf32}
f32_split      {split}
bf16           {bf16}
gpu            {gpu}
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
    ))?;
    Ok(exit::OK)
}

/// The device that computes in a precision, and what to know about it.
fn device_in(precision: Precision) -> String {
    match open_device(Device::Auto, precision, 0) {
        Ok(backend) => match backend.advice() {
            Some(advice) => format!("{}; {advice}", backend.description()),
            None => backend.description(),
        },
        Err(error) => format!("none: {error}"),
    }
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
