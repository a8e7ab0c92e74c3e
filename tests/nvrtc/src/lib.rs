//! NVIDIA's own NVRTC, installed for a test.
//!
//! The compiler needs no GPU: it makes PTX and CUBINs for any architecture that it knows, and tells
//! registers, spills and shared memory of each kernel. [`installed`] fetches the Python wheel
//! `nvidia-cuda-nvrtc-cu12` at one version, checked by its digest, into a cache folder. Where Python, pip
//! or the registry are out of reach it says so on stdout and returns nothing, and the test ends.
//!
//! Must not know: which kernels there are; `tests/kernels` gives it those of the example pipelines.

mod compile;
mod install;

pub use ablate_cuda::Usage;
pub use compile::{CompileError, Compiled, Nvrtc};
pub use install::{cache, installed, library_folder, VERSION};
