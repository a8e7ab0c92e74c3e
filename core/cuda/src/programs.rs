//! What the backend asks of the compiler.

use crate::Precision;
use ablate_compiler::{compile_for, Abilities, CompileError, Program};
use ablate_graph::ir::Lowered;

/// Compiles a lowered graph as the backend does when it loads one in this precision.
///
/// # Errors
/// As [`ablate_compiler::compile`].
pub fn compile(lowered: &Lowered, precision: Precision) -> Result<Program, CompileError> {
    let abilities = Abilities {
        formats: precision.into(),
        sums: true,
    };
    compile_for(lowered, abilities)
}
