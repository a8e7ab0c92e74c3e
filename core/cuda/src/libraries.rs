//! Whether the libraries are there, before anything of them is called.
//!
//! cudarc panics when a library or a function is missing, so every name that this crate calls is looked up
//! here first. Owns: the list of those names. Must not know: devices.

use crate::error::CudaError;
use cudarc::{cublas, cublaslt, driver, nvrtc};

const DRIVER: &[&str] = &[
    "cuInit",
    "cuDriverGetVersion",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxSetCurrent",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventQuery",
    "cuEventSynchronize",
    "cuEventElapsedTime",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuModuleGetFunction",
    "cuFuncSetAttribute",
    "cuLaunchKernel",
];

const NVRTC: &[&str] = &[
    "nvrtcVersion",
    "nvrtcGetNumSupportedArchs",
    "nvrtcGetSupportedArchs",
    "nvrtcCreateProgram",
    "nvrtcDestroyProgram",
    "nvrtcCompileProgram",
    "nvrtcGetProgramLogSize",
    "nvrtcGetProgramLog",
    "nvrtcGetPTXSize",
    "nvrtcGetPTX",
    "nvrtcGetCUBINSize",
    "nvrtcGetCUBIN",
];

const CUBLAS: &[&str] = &[
    "cublasCreate_v2",
    "cublasDestroy_v2",
    "cublasSetStream_v2",
    "cublasSetWorkspace_v2",
    "cublasGemmEx",
    "cublasGemmStridedBatchedEx",
    "cublasGemmBatchedEx",
];

const CUBLAS_LT: &[&str] = &[
    "cublasLtCreate",
    "cublasLtDestroy",
    "cublasLtMatmulDescCreate",
    "cublasLtMatmulDescSetAttribute",
    "cublasLtMatmulDescDestroy",
    "cublasLtMatrixLayoutCreate",
    "cublasLtMatrixLayoutSetAttribute",
    "cublasLtMatrixLayoutDestroy",
    "cublasLtMatmulPreferenceCreate",
    "cublasLtMatmulPreferenceSetAttribute",
    "cublasLtMatmulPreferenceDestroy",
    "cublasLtMatmulAlgoGetHeuristic",
    "cublasLtMatmul",
];

const DRIVER_ADVICE: &str = "install NVIDIA's driver, 570 or later";
const TOOLKIT_ADVICE: &str = "install it with CUDA toolkit 12, or with `pip install \
    nvidia-cuda-nvrtc-cu12 nvidia-cublas-cu12`, and put its folder on LD_LIBRARY_PATH";

fn missing(library: &'static str, file: &'static str, advice: &'static str) -> CudaError {
    CudaError::MissingLibrary {
        library,
        file,
        advice,
    }
}

/// The first of the functions that a library does not have is an error.
fn complete(
    library: &'static str,
    functions: &[&str],
    advice: &'static str,
    has: &dyn Fn(&str) -> bool,
) -> Result<(), CudaError> {
    match functions.iter().find(|name| !has(name)) {
        None => Ok(()),
        Some(function) => Err(CudaError::OldLibrary {
            library,
            function: function.to_string(),
            advice,
        }),
    }
}

/// Whether NVRTC is there with every function.
///
/// # Errors
/// What is missing, and what to do about it.
pub fn check_nvrtc() -> Result<(), CudaError> {
    // SAFETY: as in `check`.
    unsafe {
        if !nvrtc::sys::is_culib_present() {
            return Err(missing("NVRTC", "libnvrtc.so.12", TOOLKIT_ADVICE));
        }
        let library = nvrtc::sys::culib();
        complete("NVRTC", NVRTC, TOOLKIT_ADVICE, &|name| {
            library.get::<*const ()>(name.as_bytes()).is_ok()
        })
    }
}

/// Whether cuBLASLt is there with every function. It makes products faster and can be done without.
///
/// # Errors
/// What is missing, and what to do about it.
pub fn check_light() -> Result<(), CudaError> {
    // SAFETY: as in `check`.
    unsafe {
        if !cublaslt::sys::is_culib_present() {
            return Err(missing("cuBLASLt", "libcublasLt.so.12", TOOLKIT_ADVICE));
        }
        let library = cublaslt::sys::culib();
        complete("cuBLASLt", CUBLAS_LT, TOOLKIT_ADVICE, &|name| {
            library.get::<*const ()>(name.as_bytes()).is_ok()
        })
    }
}

/// Whether every library that is needed is there with every function.
///
/// # Errors
/// What is missing first, and what to do about it.
pub fn check() -> Result<(), CudaError> {
    // SAFETY: NVIDIA's libraries, whose initialisers are made to be run this way; of the functions only
    // the addresses are taken.
    unsafe {
        if !driver::sys::is_culib_present() {
            return Err(missing("the CUDA driver", "libcuda.so.1", DRIVER_ADVICE));
        }
        let library = driver::sys::culib();
        complete("the CUDA driver", DRIVER, DRIVER_ADVICE, &|name| {
            library.get::<*const ()>(name.as_bytes()).is_ok()
        })?;
        check_nvrtc()?;
        if !cublas::sys::is_culib_present() {
            return Err(missing("cuBLAS", "libcublas.so.12", TOOLKIT_ADVICE));
        }
        let library = cublas::sys::culib();
        complete("cuBLAS", CUBLAS, TOOLKIT_ADVICE, &|name| {
            library.get::<*const ()>(name.as_bytes()).is_ok()
        })
    }
}
