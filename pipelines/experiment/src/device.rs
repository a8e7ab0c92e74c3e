//! Which backend runs a recipe.
//!
//! Owns the meaning of `device`. Must not know what runs on it.

use std::num::NonZeroUsize;

use ablate_compiler::{Backend, ReferenceBackend};
use ablate_cpu::CpuBackend;
use ablate_recipe::{Device, Precision};

use crate::error::{ExperimentError, Result};

/// Threads to use when nothing is asked for: every core that this process may use.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Opens the device. `threads` 0 = all cores.
///
/// # Errors
/// When the device does not exist here.
pub fn open(device: Device, precision: Precision, threads: usize) -> Result<Box<dyn Backend>> {
    let precision = match precision {
        Precision::F32 => ablate_cpu::Precision::F32,
        Precision::F32Split => ablate_cpu::Precision::F32Split,
        Precision::Bf16 => ablate_cpu::Precision::Bf16,
    };
    let threads = match threads {
        0 => default_threads(),
        n => n,
    };
    match device {
        Device::Auto | Device::Cpu => Ok(Box::new(
            CpuBackend::new(threads)?.with_precision(precision),
        )),
        Device::Cuda => Err(ExperimentError::Recipe(format!(
            "device: cuda: {}. Use device: auto or device: cpu",
            why_no_gpu()
        ))),
    }
}

/// Stock luminal, the oracle: correct and very slow, for graphs of a few thousand elements.
pub fn reference() -> Box<dyn Backend> {
    Box::new(ReferenceBackend)
}

/// Why no GPU is used, in words.
pub fn why_no_gpu() -> &'static str {
    "this build has no CUDA backend"
}
