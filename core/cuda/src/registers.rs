//! What kernels use on an architecture, as the machine's own NVRTC tells: it needs no device.
//!
//! Owns: asking it. Must not know: what is done with the answer.

use crate::compiler::{log, with_compiled};
use crate::error::CudaError;
use crate::libraries::check_nvrtc;
use crate::print::{KernelSource, PRELUDE};
use crate::Usage;
use cudarc::nvrtc::sys;
use std::collections::BTreeMap;

/// The version of the machine's NVRTC, major and minor.
///
/// # Errors
/// There is none, or one that is too old.
pub fn nvrtc_version() -> Result<(i32, i32), CudaError> {
    check_nvrtc()?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: both are valid for a write; the function is there.
    unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    Ok((major, minor))
}

/// What kernels use on an architecture (80 for 8.0), by entry. Equal kernels are compiled once.
///
/// # Errors
/// NVRTC is not there, or does not compile for the architecture.
pub fn usage<'a>(
    kernels: impl IntoIterator<Item = &'a KernelSource>,
    architecture: u32,
) -> Result<BTreeMap<String, Usage>, CudaError> {
    check_nvrtc()?;
    let bodies: BTreeMap<&str, &str> = kernels
        .into_iter()
        .map(|kernel| (kernel.entry.as_str(), kernel.body.as_str()))
        .collect();
    let bodies: Vec<&str> = bodies.into_values().collect();
    let source = format!("{PRELUDE}\n{}", bodies.join("\n"));
    let options = [
        format!("--gpu-architecture=sm_{architecture}"),
        "--ptxas-options=-v".into(),
    ];
    // SAFETY: the program was compiled and is destroyed after this.
    let messages = with_compiled(&source, &options, |program| Ok(unsafe { log(program) }))?;
    let kernels = Usage::read(&messages).into_iter();
    Ok(kernels.map(|usage| (usage.name.clone(), usage)).collect())
}
