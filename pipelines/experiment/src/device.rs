//! Which backend runs a recipe.
//!
//! Owns the meaning of `device`. Must not know what runs on it.

use std::num::NonZeroUsize;
use std::sync::{Once, OnceLock};

use ablate_compiler::{Backend, BackendError, ReferenceBackend, Session};
use ablate_cpu::CpuBackend;
use ablate_cuda::CudaBackend;
use ablate_recipe::{Device, DeviceProblem, Precision};

use crate::error::{ExperimentError, Result};

/// Threads to use when nothing is asked for: every core that this process may use.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Opens the device. `threads` 0 = all cores. `auto` is the GPU where there is one that works, else the
/// CPU, with the reason in the log, once. There `tf32` is `f32`, and the backend's advice says so.
///
/// # Errors
/// When the device does not exist here, with what is missing.
pub fn open(device: Device, precision: Precision, threads: usize) -> Result<Box<dyn Backend>> {
    match device {
        Device::Cpu if precision == Precision::Tf32 => Err(ExperimentError::Recipe(
            "precision: tf32 is for tensor cores of a GPU. Use device: cuda or device: auto, or precision: f32 on \
             the processor"
                .to_owned(),
        )),
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
                let backend = cpu(precision, threads)?;
                Ok(match precision {
                    Precision::Tf32 => Box::new(InF32(backend)),
                    _ => backend,
                })
            }
        },
    }
}

/// A processor that was asked for TF32.
struct InF32(Box<dyn Backend>);

impl Backend for InF32 {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn description(&self) -> String {
        self.0.description()
    }

    fn advice(&self) -> Option<&'static str> {
        Some("precision tf32 is for tensor cores of a GPU; the processor computes in f32")
    }

    fn session(&self) -> std::result::Result<Box<dyn Session>, BackendError> {
        self.0.session()
    }
}

/// Why this machine has not the device of a recipe, for checking the recipe before any work. A GPU is looked
/// for only if the recipe asks for one.
pub fn check(device: Device) -> Option<DeviceProblem> {
    if device != Device::Cuda {
        return None;
    }
    gpu().err().map(|reason| DeviceProblem {
        message: format!("`device: cuda` needs a GPU, and there is none to use here: {reason}"),
        help: "write device: auto or device: cpu to train without a GPU".to_owned(),
    })
}

fn cpu(precision: Precision, threads: usize) -> Result<Box<dyn Backend>> {
    let precision = match precision {
        // Where nothing rounds to TF32, it is f32.
        Precision::F32 | Precision::Tf32 => ablate_cpu::Precision::F32,
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
        Precision::Tf32 => ablate_cuda::Precision::Tf32,
        Precision::Bf16 => ablate_cuda::Precision::Bf16,
        Precision::F32Split => {
            return Err(ExperimentError::Recipe(
                "precision: f32_split is computed on the processor only. Use device: cpu, or precision: f32, tf32 or \
                 bf16 on the GPU"
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
