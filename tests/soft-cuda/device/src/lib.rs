//! A CUDA device in software: one shared library that stands in for `libcuda`, `libnvrtc`, `libcublas`
//! and `libcublasLt` at once.
//!
//! A program that loads these libraries when it starts (by cudarc's dynamic loading, say) runs on it
//! unmodified: its kernels are compiled by the system's C++ compiler and emulated thread by thread, its
//! matrix products are computed here, and its streams, events and graphs order that work as a device
//! would. It is test equipment. It finds mistakes that a real device forgives: arguments are checked
//! strictly, memory is known byte by byte, work runs as late as the program allows, and threads in an
//! order of choice. It says nothing about speed.
//!
//! Where to look: [`stream`] for when things run, [`memory`] for what may be touched, `emulator/` for
//! how a kernel runs, [`nvrtc`] for how it is compiled, [`blas`] and [`lt`] for products, `api` for the
//! functions by which a program reaches all this. `tests/soft-cuda/src` has the installation.
//!
//! What it is not: there are no tensor-core instructions but `mma.sync`, no textures, no managed
//! memory, no cooperative launches, no device-side launches, no `__constant__` or `__device__`
//! variables, and one device only.

#![warn(missing_docs)]

pub mod blas;
pub mod clock;
pub mod context;
pub mod counts;
pub mod driver;
pub mod emulator;
pub mod event;
pub mod graph;
pub mod handles;
pub mod image;
pub mod launch;
pub mod lt;
pub mod memory;
pub mod module;
pub mod nvrtc;
pub mod settings;
pub mod status;
pub mod stream;
pub mod transfer;

mod api;
