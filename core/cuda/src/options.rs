//! How kernels are compiled, wherever that is.

/// Options of NVRTC beside the architecture. No contraction: a value that is computed again in another
/// kernel has the same bits.
pub const OPTIONS: &[&str] = &["--std=c++17", "--fmad=false"];
