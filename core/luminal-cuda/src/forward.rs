//! The symbols of CUDA that luminal_cudarc links to, loaded when they are first called.
//!
//! luminal_cudarc 0.10 declares the driver, NVRTC and cuBLAS as linked libraries. Built with its feature
//! `ci-check` it does not ask the linker for them, and these functions are what it finds. Each looks its
//! own name up in the real library and passes its arguments on. Every argument of every one of them is
//! an integer or a pointer, so that words of 64 bits carry them unchanged on x86-64 and 64-bit Arm.
#![allow(non_snake_case, clippy::missing_safety_doc, clippy::too_many_arguments)]

use libloading::Library;
use std::ffi::{c_char, c_void};
use std::sync::OnceLock;

/// The libraries, with the names under which they are looked for.
#[derive(Clone, Copy)]
enum Cuda {
    Driver,
    Nvrtc,
    Cublas,
}

impl Cuda {
    fn names(self) -> &'static [&'static str] {
        match self {
            Cuda::Driver => &["libcuda.so.1", "libcuda.so"],
            Cuda::Nvrtc => &["libnvrtc.so.12", "libnvrtc.so", "libnvrtc.so.13"],
            Cuda::Cublas => &["libcublas.so.12", "libcublas.so", "libcublas.so.13"],
        }
    }

    /// What a call returns when its library is missing: `CUDA_ERROR_NO_DEVICE`,
    /// `NVRTC_ERROR_BUILTIN_OPERATION_FAILURE`, `CUBLAS_STATUS_NOT_INITIALIZED`.
    fn missing(self) -> u64 {
        match self {
            Cuda::Driver => 100,
            Cuda::Nvrtc => 7,
            Cuda::Cublas => 1,
        }
    }

    fn library(self) -> Option<&'static Library> {
        static LIBRARIES: [OnceLock<Option<Library>>; 3] = [const { OnceLock::new() }; 3];
        let find = || {
            // SAFETY: the system's CUDA libraries, whose initialisers are made to be run this way.
            self.names()
                .iter()
                .find_map(|name| unsafe { Library::new(*name) }.ok())
        };
        LIBRARIES[self as usize].get_or_init(find).as_ref()
    }

    fn symbol(self, name: &str) -> Option<*mut c_void> {
        let library = self.library()?;
        // SAFETY: only the address is taken; its type is given where it is called.
        let found = unsafe { library.get::<*mut c_void>(name.as_bytes()) };
        found.ok().map(|symbol| *symbol)
    }
}

/// Why stock luminal_cuda cannot run here.
///
/// # Errors
/// A library is missing, or there is no device.
pub fn available() -> Result<(), String> {
    for library in [Cuda::Driver, Cuda::Nvrtc, Cuda::Cublas] {
        if library.library().is_none() {
            return Err(format!("{} is not there", library.names()[0]));
        }
    }
    let mut count = 0i32;
    // SAFETY: the driver's documented first two calls.
    let status = unsafe {
        match cuInit(0) {
            0 => cuDeviceGetCount((&raw mut count) as u64),
            failed => failed,
        }
    };
    match (status, count) {
        (0, 0) | (100, _) => Err("there is no CUDA device".into()),
        (0, _) => Ok(()),
        (status, _) => Err(format!("the driver answers with status {status}")),
    }
}

macro_rules! forward {
    ($library:ident: $($name:ident($($argument:ident),*);)*) => {$(
        #[no_mangle]
        unsafe extern "C" fn $name($($argument: u64),*) -> u32 {
            type Real = unsafe extern "C" fn($(forward!(@word $argument)),*) -> u32;
            static REAL: OnceLock<Option<Real>> = OnceLock::new();
            let find = || {
                let found = Cuda::$library.symbol(stringify!($name))?;
                // SAFETY: the symbol is this very function of the library.
                Some(unsafe { std::mem::transmute::<*mut c_void, Real>(found) })
            };
            match REAL.get_or_init(find) {
                // SAFETY: the caller's promise, passed on.
                Some(real) => unsafe { real($($argument),*) },
                None => Cuda::$library.missing() as u32,
            }
        }
    )*};
    (@word $argument:ident) => { u64 };
}

forward! {
    Driver:
    cuInit(a);
    cuDeviceGet(a, b);
    cuDeviceGetCount(a);
    cuDeviceGetAttribute(a, b, c);
    cuDevicePrimaryCtxRetain(a, b);
    cuDevicePrimaryCtxRelease_v2(a);
    cuCtxSetCurrent(a);
    cuCtxGetCurrent(a);
    cuCtxSynchronize();
    cuEventCreate(a, b);
    cuEventDestroy_v2(a);
    cuEventRecord(a, b);
    cuStreamCreate(a, b);
    cuStreamWaitEvent(a, b, c);
    cuStreamDestroy_v2(a);
    cuStreamSynchronize(a);
    cuLaunchKernel(a, b, c, d, e, f, g, h, i, j, k);
    cuMemAlloc_v2(a, b);
    cuMemAllocAsync(a, b, c);
    cuMemFree_v2(a);
    cuMemFreeAsync(a, b);
    cuMemcpyDtoD_v2(a, b, c);
    cuMemcpyDtoDAsync_v2(a, b, c, d);
    cuMemcpyDtoH_v2(a, b, c);
    cuMemcpyDtoHAsync_v2(a, b, c, d);
    cuMemcpyHtoD_v2(a, b, c);
    cuMemcpyHtoDAsync_v2(a, b, c, d);
    cuMemsetD8_v2(a, b, c);
    cuMemsetD8Async(a, b, c, d);
    cuModuleGetFunction(a, b, c);
    cuModuleLoad(a, b);
    cuModuleLoadData(a, b);
    cuModuleUnload(a);
}

forward! {
    Nvrtc:
    nvrtcCreateProgram(a, b, c, d, e, f);
    nvrtcCompileProgram(a, b, c);
    nvrtcDestroyProgram(a);
    nvrtcGetPTX(a, b);
    nvrtcGetPTXSize(a, b);
    nvrtcGetProgramLog(a, b);
    nvrtcGetProgramLogSize(a, b);
}

forward! {
    Cublas:
    cublasCreate_v2(a);
    cublasDestroy_v2(a);
    cublasSetStream_v2(a, b);
    cublasSgemm_v2(a, b, c, d, e, f, g, h, i, j, k, l, m, n);
    cublasHgemm(a, b, c, d, e, f, g, h, i, j, k, l, m, n);
    cublasSgemmStridedBatched(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r);
    cublasHgemmStridedBatched(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r);
}

/// luminal_cudarc prints the text of every error, so this gives one without the library too.
#[no_mangle]
unsafe extern "C" fn cuGetErrorString(error: u32, text: *mut *const c_char) -> u32 {
    type Real = unsafe extern "C" fn(u32, *mut *const c_char) -> u32;
    if let Some(found) = Cuda::Driver.symbol("cuGetErrorString") {
        // SAFETY: the driver's function of this name; the caller's promise, passed on.
        return unsafe { std::mem::transmute::<*mut c_void, Real>(found)(error, text) };
    }
    // SAFETY: the caller's promise.
    unsafe { text.write(c"the CUDA driver is not there".as_ptr()) };
    0
}
