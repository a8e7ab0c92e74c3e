//! The driver's functions, as a program calls them.
//!
//! Each checks its handles and pointers and hands over to the modules of the crate. What a function
//! does is told by NVIDIA's CUDA Driver API reference; comments here tell where the device is
//! stricter, or does less. A function that is missing is one that neither cudarc's safe layer nor
//! luminal_cuda calls.

mod context;
mod device;
mod error;
mod event;
mod graph;
mod launch;
mod memory;
mod module;
mod pool;
mod stream;
mod transfer;
