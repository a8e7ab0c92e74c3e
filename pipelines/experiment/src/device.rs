//! Which backend runs a recipe.
//!
//! Owns the meaning of `device`. Must not know what runs on it.

use std::num::NonZeroUsize;
use std::sync::{Once, OnceLock};

use ablate_compiler::{Backend, ReferenceBackend};
use ablate_cpu::CpuBackend;
use ablate_cuda::CudaBackend;
use ablate_recipe::{Device, Precision};

use crate::error::{ExperimentError, Result};

/// Threads to use when nothing is asked for: every core that this process may use.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Opens the device. `threads` 0 = all cores. `auto` is the GPU where there is one that works, else the
/// CPU, with the reason in the log, once.
///
/// # Errors
/// When the device does not exist here, with what is missing.
pub fn open(device: Device, precision: Precision, threads: usize) -> Result<Box<dyn Backend>> {
    match device {
        Device::Cpu => cpu(precision, threads),
        Device::Cuda => match gpu() {
            Ok(backend) => Ok(cuda(backend, precision)),
            Err(reason) => Err(ExperimentError::Recipe(format!(
                "device: cuda: {reason}. Use device: auto or device: cpu to train without a GPU"
            ))),
        },
        Device::Auto => match gpu() {
            Ok(backend) => Ok(cuda(backend, precision)),
            Err(reason) => {
                static SAID: Once = Once::new();
                SAID.call_once(|| {
                    tracing::info!(reason, "no GPU; device: auto uses the processor")
                });
                cpu(precision, threads)
            }
        },
    }
}

fn cpu(precision: Precision, threads: usize) -> Result<Box<dyn Backend>> {
    let precision = match precision {
        Precision::F32 => ablate_cpu::Precision::F32,
        Precision::Bf16 => ablate_cpu::Precision::Bf16,
    };
    let threads = match threads {
        0 => default_threads(),
        n => n,
    };
    Ok(Box::new(
        CpuBackend::new(threads)?.with_precision(precision),
    ))
}

fn cuda(backend: &CudaBackend, precision: Precision) -> Box<dyn Backend> {
    let precision = match precision {
        Precision::F32 => ablate_cuda::Precision::F32,
        Precision::Bf16 => ablate_cuda::Precision::Bf16,
    };
    Box::new(backend.clone().with_precision(precision))
}

/// The GPU, looked for and tried once in a process.
fn gpu() -> std::result::Result<&'static CudaBackend, &'static str> {
    static GPU: OnceLock<std::result::Result<CudaBackend, String>> = OnceLock::new();
    let look = || {
        let backend = CudaBackend::new().map_err(|e| e.to_string())?;
        backend.try_out().map_err(|e| e.to_string())?;
        Ok(backend)
    };
    GPU.get_or_init(look).as_ref().map_err(String::as_str)
}

/// Stock luminal, the oracle: correct and very slow, for graphs of a few thousand elements.
pub fn reference() -> Box<dyn Backend> {
    Box::new(ReferenceBackend)
}

/// The GPU in words, or why none is used.
///
/// # Errors
/// There is none that works.
pub fn describe_gpu() -> std::result::Result<String, &'static str> {
    gpu().map(Backend::description)
}
