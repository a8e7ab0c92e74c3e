//! From a graph of luminal primitives to a program of fused kernels.
//!
//! Owns: the compiler's graph, its passes, the kernel descriptions and the buffer plan; the traits
//! that a device implements ([`Backend`], [`Session`]); the reference backend, which is stock luminal.
//! Must not know: BERT, training, any particular device.
//!
//! Passes, each verified after it ran: [`passes::import`], [`passes::canonicalize`],
//! [`passes::onehot`], [`passes::layout`], [`passes::contraction`], [`passes::spread`], [`passes::large`],
//! [`passes::fusion`] with [`passes::emit`] and [`passes::recompute`], [`passes::epilogue`], [`passes::blocks`],
//! [`passes::buffers`] with [`passes::storage`] and [`passes::operands`].

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
    compile_with(lowered, Formats::default())
}

/// What a backend reads and writes; the default is single precision throughout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Formats {
    /// How activations may be stored ([`passes::storage`] says which of them).
    pub activations: Storage,
    /// Whether a product must find both of its operands in one format, as in libraries. If so, what is not
    /// rounded gets a rounded copy ([`passes::operands`]).
    pub operands_alike: bool,
}

impl Formats {
    /// Whether programs have groups of steps that may run block by block, for which the backward makes
    /// large values again. Products of rounded operands by a library run step by step, and there what is
    /// made again would be stored again.
    fn has_groups(self) -> bool {
        self.activations == Storage::F32 || !self.operands_alike
    }
}

impl From<Storage> for Formats {
    /// Activations in this storage, operands in any.
    fn from(activations: Storage) -> Self {
        Formats {
            activations,
            operands_alike: false,
        }
    }
}

/// What a backend can do that not every one can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// What it reads and writes.
    pub formats: Formats,
    /// Products that sum their left operand on the side: `sums` of [`program::Kernel::Gemm`]. Only in
    /// single precision.
    pub sums: bool,
}

/// Compiles a lowered graph for a backend that keeps activations in another storage than single
/// precision; with [`Storage::F32`] the same as [`compile`].
///
/// # Errors
/// As [`compile`].
pub fn compile_with(
    lowered: &Lowered,
    formats: impl Into<Formats>,
) -> Result<Program, CompileError> {
    let abilities = Abilities {
        formats: formats.into(),
        ..Abilities::default()
    };
    compile_for(lowered, abilities)
}

/// Compiles a lowered graph for a backend with these abilities.
///
/// # Errors
/// As [`compile`].
pub fn compile_for(lowered: &Lowered, abilities: Abilities) -> Result<Program, CompileError> {
    let formats = abilities.formats;
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
    if formats.has_groups() {
        passes::large::run(&mut ir);
        ir.verify("large")?;
    }
    let (mut program, assigned) = passes::emit::run(&ir)?;
    if formats.activations == Storage::F32 {
        // A product that rounds its result would round it before the bias and after.
        let wanted = program.outputs.iter().chain(&assigned);
        let wanted: Vec<program::BufferId> = wanted.map(|(_, buffer)| *buffer).collect();
        passes::epilogue::run(&mut program, &wanted);
        if abilities.sums {
            passes::epilogue::sums(&mut program);
        }
    }
    passes::buffers::run(&mut program, &assigned, &ir, formats)?;
    Ok(program)
}
