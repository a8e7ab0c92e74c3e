//! The parts of a trial for a benchmark.
//!
//! Owns which plugins and settings a measured step has: the recipe's defaults. Must not know how time
//! is measured.

use ablate_bert::Init;
use ablate_compiler::Backend;
use ablate_cpu::CpuBackend;
use ablate_host::Registry;
use ablate_train::{CheckpointPolicy, Objective, Parts, TrainerConfig};
use serde_json::json;

use crate::configuration::{Configuration, Precision};
use crate::error::Result;
use crate::source::SyntheticBatches;

/// Opens the device that a benchmark asks for.
///
/// # Errors
/// When it cannot be opened.
pub fn backend(configuration: &Configuration) -> Result<Box<dyn Backend>> {
    let precision = match configuration.precision {
        Precision::F32 => ablate_cpu::Precision::F32,
        Precision::F32Split => ablate_cpu::Precision::F32Split,
        Precision::Bf16 => ablate_cpu::Precision::Bf16,
    };
    let backend = CpuBackend::new(configuration.threads)?;
    Ok(Box::new(backend.with_precision(precision)))
}

/// Whether a benchmark can run here, without running it.
///
/// # Errors
/// Sizes that make no model or no batch.
pub fn check(configuration: &Configuration) -> Result<()> {
    configuration.model()?;
    backend(configuration).map(drop)
}

pub(crate) fn objectives(registry: &Registry) -> Result<Vec<Box<dyn Objective>>> {
    Ok(vec![
        Box::new(registry.make_objective("mlm", &json!({}))?),
        Box::new(registry.make_objective("nsp", &json!({}))?),
    ])
}

/// Everything that a trainer needs: masked words and next sentence, AdamW, gradients clipped to 1.
///
/// # Errors
/// When the configuration makes no model or the device refuses.
pub fn parts(
    configuration: &Configuration,
    backend: &dyn Backend,
) -> Result<(TrainerConfig, Parts)> {
    let model = configuration.model()?;
    let registry = Registry::with_builtins()?;
    let optimizer = registry.make_optimizer("adamw", &json!({"learning_rate": 1e-4}))?;
    let config = TrainerConfig {
        init: Init::Normal {
            std: model.initializer_range,
        },
        model,
        initial: Default::default(),
        seed: configuration.seed,
        packed: configuration.packed,
        clip_norm: Some(1.0),
        learning_rate: optimizer.base_learning_rate(),
        evaluate_every: None,
        metrics: None,
        checkpoint: CheckpointPolicy::default(),
        fingerprint: String::new(),
    };
    let parts = Parts {
        session: backend.session()?,
        objectives: objectives(&registry)?,
        optimizer: Box::new(optimizer),
        schedule: Box::new(registry.make_schedule("constant", &json!({}))?),
        rules: Vec::new(),
        source: Box::new(SyntheticBatches::new(configuration)),
    };
    Ok((config, parts))
}
