//! NVRTC: CUDA C++ to an image, by the system's C++ compiler.
//!
//! Owns: programs with their options and logs. `source` rewrites what C++ does not know, `compile`
//! runs the compiler, `options` knows which options there are.

mod api;
mod compile;
mod options;
mod source;
mod tokens;

pub use compile::write_atomically;

/// An `nvrtcResult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Outcome {
    Success = 0,
    InvalidInput = 3,
    InvalidProgram = 4,
    InvalidOption = 5,
    Compilation = 6,
    NoLoweredNamesBeforeCompilation = 9,
    InternalError = 11,
}
