//! The software CUDA device, through unmodified cudarc: what a real device would do, and what it would
//! let pass.

mod blas;
mod compiler;
mod faults;
mod graphs;
mod install;
mod kernels;
mod lt;
mod memory;
mod streams;
mod support;
