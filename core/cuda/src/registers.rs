//! What kernels use on an architecture, as the machine's own NVRTC tells: it needs no device.
//!
//! Owns: finding out whether NVRTC is there, and asking it. Must not know: what is done with the answer.

use crate::print::{KernelSource, PRELUDE};
use crate::{Usage, OPTIONS};
use cudarc::nvrtc::{result, sys};
use std::collections::BTreeMap;
use std::ffi::CString;

/// Why the registers of kernels are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistersError {
    /// No library.
    #[error(
        "libnvrtc.so.12 is not there; it comes with CUDA toolkit 12 or with `pip install \
         nvidia-cuda-nvrtc-cu12`, and its folder belongs on LD_LIBRARY_PATH"
    )]
    Missing,
    /// A library without a function that is called.
    #[error("the NVRTC here has no function `{0}`; version 12 has")]
    Old(&'static str),
    /// The compiler takes no kernel for this architecture.
    #[error("NVRTC compiles nothing for {architecture}: {log}")]
    Refused {
        /// `sm_80`.
        architecture: String,
        /// What it says.
        log: String,
    },
}

/// Every function that is called here: cudarc panics where one is missing.
const FUNCTIONS: [&str; 6] = [
    "nvrtcVersion",
    "nvrtcCreateProgram",
    "nvrtcDestroyProgram",
    "nvrtcCompileProgram",
    "nvrtcGetProgramLogSize",
    "nvrtcGetProgramLog",
];

/// The version of the machine's NVRTC, major and minor.
///
/// # Errors
/// There is none, or one that is too old.
pub fn nvrtc_version() -> Result<(i32, i32), RegistersError> {
    // SAFETY: NVIDIA's library, whose initialisers are made to be run this way; of the functions only the
    // addresses are taken.
    unsafe {
        if !sys::is_culib_present() {
            return Err(RegistersError::Missing);
        }
        let has = |name: &&str| sys::culib().get::<*const ()>(name.as_bytes()).is_ok();
        if let Some(function) = FUNCTIONS.into_iter().find(|name| !has(name)) {
            return Err(RegistersError::Old(function));
        }
    }
    let (mut major, mut minor) = (0, 0);
    // SAFETY: both are valid for a write; the function is there.
    unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    Ok((major, minor))
}

/// What kernels use on an architecture (80 for 8.0), by entry. Equal kernels are compiled once.
///
/// # Errors
/// NVRTC is not there or does not take a kernel.
pub fn usage<'a>(
    kernels: impl IntoIterator<Item = &'a KernelSource>,
    architecture: u32,
) -> Result<BTreeMap<String, Usage>, RegistersError> {
    nvrtc_version()?;
    let bodies: BTreeMap<&str, &str> = kernels
        .into_iter()
        .map(|kernel| (kernel.entry.as_str(), kernel.body.as_str()))
        .collect();
    let bodies: Vec<&str> = bodies.into_values().collect();
    let log = compile_log(&format!("{PRELUDE}\n{}", bodies.join("\n")), architecture)?;
    let kernels = Usage::read(&log).into_iter();
    Ok(kernels.map(|usage| (usage.name.clone(), usage)).collect())
}

fn compile_log(source: &str, architecture: u32) -> Result<String, RegistersError> {
    let architecture = format!("sm_{architecture}");
    let refused = |log: String| RegistersError::Refused {
        architecture: architecture.clone(),
        log,
    };
    let text = CString::new(source).map_err(|e| refused(e.to_string()))?;
    let program = result::create_program(&text, Some(c"kernels.cu"));
    let program = program.map_err(|e| refused(format!("{:?}", e.0)))?;
    let mut options: Vec<String> = OPTIONS.iter().map(|o| o.to_string()).collect();
    options.push(format!("--gpu-architecture={architecture}"));
    options.push("--ptxas-options=-v".into());
    // SAFETY: the program exists until it is destroyed below, once.
    unsafe {
        let compiled = result::compile_program(program, &options);
        let log = result::get_program_log(program).unwrap_or_default();
        let _ = result::destroy_program(program);
        let log: Vec<u8> = log.iter().map(|c| *c as u8).collect();
        let log = String::from_utf8_lossy(&log);
        let log = log.trim_end_matches('\0').to_string();
        match compiled {
            Ok(()) => Ok(log),
            Err(_) => Err(refused(log)),
        }
    }
}
