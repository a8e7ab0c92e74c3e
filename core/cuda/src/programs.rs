//! What the backend asks of the compiler.

use ablate_compiler::{compile_for, Abilities, CompileError, Program};
use ablate_graph::ir::Lowered;

/// Compiles a lowered graph as the backend does when it loads one.
///
/// # Errors
/// As [`ablate_compiler::compile`].
pub fn compile(lowered: &Lowered) -> Result<Program, CompileError> {
    let abilities = Abilities {
        sums: true,
        ..Abilities::default()
    };
    compile_for(lowered, abilities)
}
