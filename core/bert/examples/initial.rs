//! Writes a freshly initialised model as a Hugging Face folder:
//!
//! ```text
//! cargo run --release -p ablate-bert --example initial -- tiny /tmp/tiny
//! ```
//!
//! `tests/golden/check_export.py` shows that transformers loads it.

use std::path::Path;
use std::process::ExitCode;

use ablate_bert::hf::{export, ExportTensor};
use ablate_bert::{
    encoder_parameters, mlm_head_parameters, nsp_head_parameters, pooler_parameters, BertConfig,
    BertError, Init,
};

fn write(config: &BertConfig, folder: &Path) -> Result<(), BertError> {
    let specs = [
        encoder_parameters(config),
        pooler_parameters(config),
        mlm_head_parameters(config),
        nsp_head_parameters(config),
    ]
    .concat();
    let init = Init::TruncatedNormal {
        std: config.initializer_range,
    };
    let values: Vec<Vec<f32>> = specs
        .iter()
        .map(|spec| config.initial_values(spec, &init, 1))
        .collect();
    let tensors: Vec<ExportTensor<'_>> = specs
        .iter()
        .zip(&values)
        .map(|(spec, values)| ExportTensor {
            name: &spec.name,
            shape: &spec.shape,
            values,
        })
        .collect();
    export(folder, config, &tensors, &[])
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [preset, folder] = arguments.as_slice() else {
        eprintln!("usage: initial PRESET FOLDER");
        return ExitCode::from(2);
    };
    let Some(config) = BertConfig::preset(preset) else {
        eprintln!(
            "no preset {preset:?}; there are {}",
            BertConfig::PRESETS.join(", ")
        );
        return ExitCode::from(2);
    };
    match write(&config, Path::new(folder)) {
        Ok(()) => {
            println!("{}", config.counts().total());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
