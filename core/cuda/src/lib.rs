//! Runs programs on a CUDA device: fused kernels, printed from the program and compiled at run time.
//!
//! Owns: the text of kernels ([`mod@print`]), the device with its memory and streams, the compiler with its cache,
//! matrix products by cuBLAS and cuBLASLt, runs as CUDA graphs. Must not know: where a program comes from, what a
//! parameter means.
//!
//! Driver, NVRTC and cuBLAS are loaded when [`CudaBackend::new`] is called, and every function of theirs is
//! looked up before the first call: a machine without CUDA gets an error that says what is missing.
//!
//! Numbers are reproducible: a device gives the same bits every time, for reductions have a fixed order, no
//! kernel uses atomics, and products run on one stream with a workspace of their own, under which cuBLAS
//! promises the same. Random numbers are those of the processor, bit for bit.

mod backend;
mod compiler;
mod device;
mod epilogues;
mod error;
mod exchange;
mod launch;
mod libraries;
pub mod listing;
mod lists;
mod loaded;
mod memory;
mod modules;
mod options;
pub mod print;
mod products;
mod programs;
mod registers;
mod session;
mod usage;

pub use backend::{CudaBackend, Precision};
pub use compiler::default_cache;
pub use error::CudaError;
pub use options::OPTIONS;
pub use programs::compile;
pub use registers::{nvrtc_version, usage};
pub use usage::Usage;
