//! Which backend runs a recipe.
//!
//! Owns the meaning of `device`. Must not know what runs on it.

use std::num::NonZeroUsize;
use std::sync::{Once, OnceLock};

use ablate_compiler::{Backend, ReferenceBackend};
use ablate_cpu::CpuBackend;
use ablate_cuda::CudaBackend;
use ablate_recipe::{Device, DeviceProblem, Precision};

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
            Ok(backend) => cuda(backend, precision),
            Err(reason) => Err(ExperimentError::Recipe(format!(
                "device: cuda: {reason}. Use device: auto or device: cpu to train without a GPU"
            ))),
        },
        // Split products are the processor's alone.
        Device::Auto if precision == Precision::F32Split => cpu(precision, threads),
        Device::Auto => match gpu() {
            Ok(backend) => cuda(backend, precision),
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

/// What of a recipe's `device` and `precision` this machine cannot do, for checking the recipe before any work.
/// A GPU is looked for only if the recipe asks for one.
pub fn check(device: Device, precision: Precision) -> Vec<DeviceProblem> {
    let mut problems = vec![];
    if device != Device::Cuda {
        return problems;
    }
    if let Err(reason) = gpu() {
        problems.push(DeviceProblem {
            key: "device",
            message: format!("`device: cuda` needs a GPU, and there is none to use here: {reason}"),
            help: "write device: auto or device: cpu to train without a GPU".to_owned(),
        });
    }
    if precision == Precision::F32Split {
        problems.push(DeviceProblem {
            key: "precision",
            message:
                "`precision: f32_split` is computed on the processor only, but `device` is cuda"
                    .to_owned(),
            help: "write device: cpu, or precision: f32 or bf16 on the GPU".to_owned(),
        });
    }
    problems
}

fn cpu(precision: Precision, threads: usize) -> Result<Box<dyn Backend>> {
    let precision = match precision {
        Precision::F32 => ablate_cpu::Precision::F32,
        Precision::F32Split => ablate_cpu::Precision::F32Split,
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

fn cuda(backend: &CudaBackend, precision: Precision) -> Result<Box<dyn Backend>> {
    let precision = match precision {
        Precision::F32 => ablate_cuda::Precision::F32,
        Precision::Bf16 => ablate_cuda::Precision::Bf16,
        Precision::F32Split => {
            return Err(ExperimentError::Recipe(
                "precision: f32_split is computed on the processor only. Use device: cpu, or precision: f32 or bf16 \
                 on the GPU"
                    .to_owned(),
            ))
        }
    };
    Ok(Box::new(backend.clone().with_precision(precision)))
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
