//! From a graph of luminal primitives to a program of fused kernels.
//!
//! Owns: the compiler's graph, its passes, the kernel descriptions and the buffer plan; the traits
//! that a device implements ([`Backend`], [`Session`]); the reference backend, which is stock luminal.
//! Must not know: BERT, training, any particular device.
//!
//! Passes, each verified after it ran: [`passes::import`], [`passes::canonicalize`],
//! [`passes::onehot`], [`passes::layout`], [`passes::contraction`], [`passes::spread`], [`passes::large`],
//! [`passes::fusion`] with [`passes::emit`] and [`passes::recompute`], [`passes::blocks`],
//! [`passes::buffers`] with [`passes::storage`].

pub mod access;
mod backend;
mod error;
pub mod ir;
pub mod passes;
mod profile;
pub mod program;
mod reference;
mod text;

pub use backend::{Backend, BackendError, Kept, ProgramId, Session};
pub use error::CompileError;
pub use profile::{KernelTime, SessionMemory};
pub use program::{Program, Storage};
pub use reference::ReferenceBackend;

use ablate_graph::ir::Lowered;

/// Compiles a lowered graph.
///
/// # Errors
/// [`CompileError::Invariant`] when a pass breaks what must hold after it: a defect of the compiler.
pub fn compile(lowered: &Lowered) -> Result<Program, CompileError> {
    compile_with(lowered, Storage::F32)
}

/// Compiles a lowered graph for a backend that keeps activations in another storage than single
/// precision ([`passes::storage`] says which of them); with [`Storage::F32`] the same as [`compile`].
///
/// # Errors
/// As [`compile`].
pub fn compile_with(lowered: &Lowered, activations: Storage) -> Result<Program, CompileError> {
    let mut ir = passes::import::run(lowered);
    ir.verify("import")?;
    ir = passes::canonicalize::run(ir);
    ir.verify("canonicalize")?;
    passes::onehot::run(&mut ir);
    ir.verify("onehot")?;
    passes::layout::run(&mut ir);
    ir.verify("layout")?;
    passes::contraction::run(&mut ir);
    ir.verify("contraction")?;
    passes::spread::run(&mut ir);
    ir.verify("spread")?;
    if activations == Storage::F32 {
        passes::large::run(&mut ir);
        ir.verify("large")?;
    }
    let (mut program, assigned) = passes::emit::run(&ir)?;
    passes::buffers::run(&mut program, &assigned, &ir, activations)?;
    Ok(program)
}
