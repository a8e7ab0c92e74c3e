//! The passes, in order. Each takes the [`Ir`](crate::ir::Ir) to the next stage and is verified
//! after it ran; the last two make kernels and place their buffers.

pub mod blocks;
pub mod buffers;
pub mod canonicalize;
pub mod contraction;
pub mod domain;
pub mod emit;
pub mod fusion;
pub mod import;
pub mod large;
pub mod layout;
mod merge;
pub mod onehot;
pub mod operands;
pub mod recompute;
mod replay;
pub mod spread;
pub mod storage;
