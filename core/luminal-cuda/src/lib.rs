//! Stock `luminal_cuda` 0.2.0 as a backend: a second, unfused way to run a graph on a CUDA device.
//!
//! Owns: handing a graph to luminal's own `CudaCompiler` and running what it makes, one kernel an
//! operation. It is an oracle for another CUDA backend and the baseline of its kernel counts; it is never
//! chosen for training. Must not know: programs of this project's compiler, BERT.
//!
//! It builds without CUDA: [`available`] tells whether it can run. What luminal_cuda computes wrong or
//! cannot do stays as it is; `tests/` lists it.
//!
//! A binary that links this crate has the CUDA symbols that luminal_cudarc wants (`forward`), so it must
//! not link CUDA itself.

mod backend;
mod forward;

pub use backend::LuminalCudaBackend;
pub use forward::available;
