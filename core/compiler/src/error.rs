//! The compiler's errors.

use ablate_graph::GraphError;

/// What can go wrong while compiling a graph.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The graph could not be lowered.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A pass broke one of the invariants that are checked after it: a defect of the compiler.
    #[error("after pass `{pass}`, node %{node} ({scope}): {reason}; this is a defect of the compiler, please report the pipeline")]
    Invariant {
        /// The pass that ran last.
        pass: &'static str,
        /// The node.
        node: usize,
        /// Its label path.
        scope: String,
        /// What does not hold.
        reason: String,
    },
}
