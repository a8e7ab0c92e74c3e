//! Runs programs on the processor.
//!
//! Owns: the session's memory, the thread pool, matrix products, row kernels, look-ups. Must not know:
//! where a program comes from, what a parameter means.
//!
//! Row kernels are machine code made when a program is loaded (`jit`), or where that cannot be are
//! interpreted tile by tile (`row`): one instruction works on a few thousand numbers that stay in cache, in
//! loops that the compiler vectorises once for each instruction set. Both give the same bits. All elementwise arithmetic is plain IEEE single precision without contraction
//! and every reduction has a fixed order, so that row kernels depend neither on the instruction set nor
//! on the number of threads. Matrix products are summed in an order that does not depend on the number of
//! threads either; how often they round depends on the processor.

mod backend;
mod bf16;
mod bias;
mod blocks;
mod gemm;
mod index;
mod jit;
pub mod math;
mod matmul;
mod matmul_bf16;
mod matmul_packed;
mod memory;
mod paths;
mod plan;
mod pool;
mod row;
mod strided;
mod vector;

pub use backend::{CpuBackend, Precision};
