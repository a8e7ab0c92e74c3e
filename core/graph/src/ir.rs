//! The lowered graph: plain data, no luminal types. Compilers and interpreters read this.

use crate::error::{GraphError, Result};
use crate::view::View;
use std::sync::Arc;

/// What a leaf holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LoadKind {
    /// Lives in the backend between runs.
    State {
        /// Unique among the states.
        name: String,
        /// A trainable parameter (not a gradient or an optimizer's slot).
        parameter: bool,
    },
    /// Fed each run.
    Input {
        /// Unique among the inputs.
        name: String,
        /// `Some(n)`: whole numbers in `0..n`.
        index_bound: Option<usize>,
    },
    /// Uniform numbers in `[0, 1)`: row-major element `i` is
    /// `Stream::new(key.seed, stream).uniform_at(key.step, i)`.
    Uniform {
        /// Name of the stream.
        stream: String,
    },
    /// `0, 1, 2, ..`
    Iota,
}

/// A primitive. Operand and result shapes are in the [`Node`].
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A leaf.
    Load(LoadKind),
    /// A rank-0 number.
    Constant(f32),
    /// Base-2 logarithm.
    Log2,
    /// Base-2 exponential.
    Exp2,
    /// Sine.
    Sin,
    /// Square root.
    Sqrt,
    /// Reciprocal.
    Recip,
    /// Sum of two operands of one shape.
    Add,
    /// Product of two operands of one shape.
    Mul,
    /// Remainder with the sign of the dividend (Rust's `%`).
    Mod,
    /// 1 where the first operand is less than the second, else 0.
    LessThan,
    /// Sum over a logical axis of the operand, which is removed.
    SumReduce(usize),
    /// Maximum over a logical axis of the operand, which is removed.
    MaxReduce(usize),
    /// A copy of the operand's view in row-major order.
    Contiguous,
}

impl Op {
    /// Short name, without parameters.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Load(_) => "Load",
            Op::Constant(_) => "Constant",
            Op::Log2 => "Log2",
            Op::Exp2 => "Exp2",
            Op::Sin => "Sin",
            Op::Sqrt => "Sqrt",
            Op::Recip => "Recip",
            Op::Add => "Add",
            Op::Mul => "Mul",
            Op::Mod => "Mod",
            Op::LessThan => "LessThan",
            Op::SumReduce(_) => "SumReduce",
            Op::MaxReduce(_) => "MaxReduce",
            Op::Contiguous => "Contiguous",
        }
    }

    /// One operand, read plainly: the result has the producer's shape.
    pub fn is_unary(&self) -> bool {
        matches!(self, Op::Log2 | Op::Exp2 | Op::Sin | Op::Sqrt | Op::Recip)
    }
}

/// Which part of a training step a node belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Model and loss.
    #[default]
    Forward,
    /// Made by autodiff.
    Backward,
    /// Made by an optimizer.
    Update,
}

/// One primitive with its operands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// Producers (earlier in [`Lowered::nodes`]) and how they are read.
    pub inputs: Vec<(usize, View)>,
    /// Shape of the result, a row-major buffer.
    pub shape: Vec<usize>,
    /// Source label, such as `encoder.layer.0.attention`.
    pub scope: Arc<str>,
    /// Part of the step.
    pub phase: Phase,
    /// No gradient flows through the node.
    pub stop_gradient: bool,
}

impl Node {
    /// Elements of the result.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A graph as compilers and interpreters read it. Holds only what an output or an assignment needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lowered {
    /// In topological order.
    pub nodes: Vec<Node>,
    /// Read back after a run: name, node, view.
    pub outputs: Vec<(String, usize, View)>,
    /// After a run the state holds the value: name of the state, node, view.
    pub assigns: Vec<(String, usize, View)>,
}

impl Lowered {
    /// The part that these outputs need, without assignments.
    ///
    /// # Errors
    /// [`GraphError::UnknownName`] if there is no such output.
    pub fn restricted_to(&self, outputs: &[&str]) -> Result<Lowered> {
        let mut live = vec![false; self.nodes.len()];
        let mut kept = Vec::new();
        for name in outputs {
            let Some(output) = self.outputs.iter().find(|o| o.0 == *name) else {
                return Err(GraphError::UnknownName {
                    kind: "output",
                    name: (*name).to_owned(),
                });
            };
            live[output.1] = true;
            kept.push(output.clone());
        }
        for i in (0..self.nodes.len()).rev() {
            if live[i] {
                for (source, _) in &self.nodes[i].inputs {
                    live[*source] = true;
                }
            }
        }
        let mut number = vec![usize::MAX; self.nodes.len()];
        let mut nodes = Vec::new();
        for (i, node) in self.nodes.iter().enumerate().filter(|(i, _)| live[*i]) {
            number[i] = nodes.len();
            let mut node = node.clone();
            for (source, _) in &mut node.inputs {
                *source = number[*source];
            }
            nodes.push(node);
        }
        for output in &mut kept {
            output.1 = number[output.1];
        }
        Ok(Lowered {
            nodes,
            outputs: kept,
            assigns: Vec::new(),
        })
    }
}
