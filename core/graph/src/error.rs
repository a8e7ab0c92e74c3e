//! The one error type of the graph crate.
//!
//! Owns: what can go wrong while a graph is built, differentiated, lowered or run. Every shape error
//! names the operation, the shapes and the scope (source label) it happened in.

use std::fmt;
use std::sync::Arc;

/// Result of every fallible call of this crate.
pub type Result<T> = std::result::Result<T, GraphError>;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GraphError {
    /// The shapes of the operands do not fit the operation.
    #[error("{op}: {detail}; shapes {}{}", Shapes(.shapes), At(.scope))]
    Shape {
        /// The operation as the caller named it.
        op: &'static str,
        /// Shapes of the operands.
        shapes: Vec<Vec<usize>>,
        /// Scope in which the call was made.
        scope: Arc<str>,
        /// What does not fit.
        detail: String,
    },
    /// An axis is not smaller than the rank.
    #[error("{op}: axis {axis} of a tensor of rank {rank}{}", At(.scope))]
    Axis {
        /// The operation as the caller named it.
        op: &'static str,
        /// The axis asked for.
        axis: usize,
        /// Rank of the operand.
        rank: usize,
        /// Scope in which the call was made.
        scope: Arc<str>,
    },
    /// More dims than a luminal shape tracker holds.
    #[error("{op}: needs {rank} dims, luminal holds at most {}{}", crate::view::MAX_RANK, At(.scope))]
    Rank {
        /// The operation as the caller named it.
        op: &'static str,
        /// Dims needed.
        rank: usize,
        /// Scope in which the call was made.
        scope: Arc<str>,
    },
    /// A number given to an operation is outside its domain.
    #[error("{op}: {detail}{}", At(.scope))]
    Value {
        /// The operation as the caller named it.
        op: &'static str,
        /// Which number, and what it may be.
        detail: String,
        /// Scope in which the call was made.
        scope: Arc<str>,
    },
    /// A tensor of another graph was given.
    #[error("{op}: a tensor of another graph{}", At(.scope))]
    OtherGraph {
        /// The operation as the caller named it.
        op: &'static str,
        /// Scope in which the call was made.
        scope: Arc<str>,
    },
    /// A name is taken already.
    #[error("the {kind} `{name}` exists already")]
    Duplicate {
        /// "state", "input", "uniform stream", "output" or "assignment".
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// No state, input or output of this name.
    #[error("no {kind} is called `{name}`")]
    UnknownName {
        /// "state", "input" or "output".
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The operation wants a whole node (a leaf, or a computed tensor), not a view of one.
    #[error("{op}: wants a whole tensor, got a view of shape {shape:?}{}", At(.scope))]
    NotWhole {
        /// The operation as the caller named it.
        op: &'static str,
        /// Shape of the view.
        shape: Vec<usize>,
        /// Scope in which the call was made.
        scope: Arc<str>,
    },
    /// No differentiation rule for an op on the path from the loss to a tensor.
    #[error("no gradient rule for the op {op}{}", At(.scope))]
    NoRule {
        /// The primitive.
        op: String,
        /// Scope of the node.
        scope: Arc<str>,
    },
    /// The loss does not depend on these tensors (or only through ops whose gradient is zero).
    #[error("the loss never reaches `{}`: it would not be trained", .parameters.join("`, `"))]
    Unreached {
        /// Names of the states, or descriptions of the nodes.
        parameters: Vec<String>,
    },
    /// An input of the graph was not fed.
    #[error("the input `{name}` {shape:?} was not fed")]
    MissingFeed {
        /// Name of the input.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A state of the graph has no value.
    #[error("the state `{name}` {shape:?} has no value")]
    MissingState {
        /// Name of the state.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A value of the wrong length.
    #[error("`{name}` wants {expected} numbers {shape:?}, got {got}")]
    Length {
        /// Name of the input or state.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Elements of the shape.
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// An index input holds something else than a whole number below its bound.
    #[error("`{name}`[{position}] is {value}, wants a whole number in 0..{bound}")]
    Index {
        /// Name of the input.
        name: String,
        /// Row-major position of the value.
        position: usize,
        /// The value.
        value: f32,
        /// Exclusive upper bound.
        bound: usize,
    },
    /// Stock luminal computes indices in 32 bits.
    #[error("a node of {elements} elements is too large for the reference run{}", At(.scope))]
    TooLarge {
        /// Elements of the node.
        elements: usize,
        /// Scope of the node.
        scope: Arc<str>,
    },
    /// The luminal graph holds a node that this crate did not make.
    #[error("node {node} is no primitive of this crate: {detail}")]
    ForeignNode {
        /// Index of the node.
        node: usize,
        /// What was found.
        detail: String,
    },
}

struct Shapes<'a>(&'a [Vec<usize>]);

impl fmt::Display for Shapes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, shape) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{shape:?}")?;
        }
        Ok(())
    }
}

struct At<'a>(&'a Arc<str>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, " (in {})", self.0)
        }
    }
}
