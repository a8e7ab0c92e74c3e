//! Runs programs on a CUDA device: fused kernels, printed from the program and compiled at run time.
//!
//! Owns: the text of kernels ([`print`]). Must not know: where a program comes from, what a parameter means.

mod options;
pub mod print;
mod usage;

pub use options::OPTIONS;
pub use usage::Usage;
