//! The compiler's own graph: values over dense buffers, operands read through affine maps.
//!
//! Owns: the node kinds between import and fusion, and the checks that hold after every pass.
//! Must not know: luminal, BERT, any device.

use crate::access::Access;
use crate::CompileError;
use ablate_graph::ir::{LoadKind, Phase};
use std::fmt;
use std::sync::Arc;

/// Index of a node in [`Ir::nodes`].
pub type NodeId = usize;

/// Functions of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// Base-2 logarithm.
    Log2,
    /// Base-2 exponential.
    Exp2,
    /// Sine, in radians.
    Sin,
    /// Square root.
    Sqrt,
    /// One over.
    Recip,
}

/// Functions of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// Sum.
    Add,
    /// First minus second; made by canonicalisation from `a + b * -1`.
    Sub,
    /// Product.
    Mul,
    /// Remainder with the sign of the first, as Rust's `%`.
    Mod,
    /// One where the first is less than the second, else zero.
    LessThan,
    /// One where both are equal, else zero; made by canonicalisation from two `LessThan`.
    Equal,
}

/// What a reduction does along its axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Sum.
    Sum,
    /// Maximum.
    Max,
}

/// A group of axes of a contraction with the strides of its operands and result. A stride of an
/// operand that lacks the axis is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Number of positions.
    pub size: usize,
    /// Stride in the left operand.
    pub a: isize,
    /// Stride in the right operand.
    pub b: isize,
    /// Stride in the result.
    pub c: isize,
}

/// `c[batch, m, n] = sum over k of a[batch, m, k] * b[batch, k, n]`, every role at most one level
/// but the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Gemm {
    /// Batch levels, outermost first.
    pub batch: Vec<Level>,
    /// Rows of the result.
    pub m: Level,
    /// Columns of the result.
    pub n: Level,
    /// The summed axis.
    pub k: Level,
    /// First element of each operand.
    pub offset: [isize; 2],
}

impl Gemm {
    /// Multiply-adds count as two operations.
    pub fn flops(&self) -> f64 {
        let batch: usize = self.batch.iter().map(|l| l.size).product();
        2.0 * batch as f64 * self.m.size as f64 * self.n.size as f64 * self.k.size as f64
    }
}

/// What a node computes.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A buffer that the session, the caller or a random stream provides.
    Load(LoadKind),
    /// A number.
    Constant(f32),
    /// Elementwise, one operand.
    Unary(Unary),
    /// Elementwise, two operands.
    Binary(Binary),
    /// The operand as a dense buffer.
    Copy,
    /// Reduces the trailing `reduced` axes of the operand's access.
    Reduce {
        /// What to do along the axes.
        op: Reduction,
        /// How many trailing axes of the access are reduced.
        reduced: usize,
    },
    /// A (batched) matrix product of the two operands.
    Gemm(Gemm),
    /// `out[rows.., inner..] = table[index[rows..], inner..]`: operand 0 is the table, read with
    /// axes `[rows.., inner..]` at class zero; operand 1 the index, read with axes `[rows..]`.
    Gather {
        /// Number of trailing axes that the index does not depend on.
        inner: usize,
        /// Number of classes.
        classes: usize,
        /// Elements of the table between neighbouring classes.
        class_stride: isize,
    },
    /// `out[class, inner..] = sum over rows with index[row] == class of value[row, inner..]`: operand
    /// 0 is the value, read with axes `[rows.., inner..]`; operand 1 the index, axes `[rows..]`.
    ScatterAdd {
        /// Number of trailing axes that the index does not depend on.
        inner: usize,
        /// Number of classes: the leading axis of the result.
        classes: usize,
    },
}

/// A value: a dense buffer of `shape` (for a GEMM, laid out by its result strides).
#[derive(Clone, Debug)]
pub struct Node {
    /// What it computes.
    pub kind: Kind,
    /// Operands: node and how its buffer is read.
    pub inputs: Vec<(NodeId, Access)>,
    /// Shape of the result.
    pub shape: Vec<usize>,
    /// Label path of the place in the model that made it.
    pub scope: Arc<str>,
    /// Forward, backward or update.
    pub phase: Phase,
}

impl Node {
    /// Number of elements of the result.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True for a node without elements; there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True for nodes that need no kernel.
    pub fn is_leaf(&self) -> bool {
        matches!(self.kind, Kind::Load(_) | Kind::Constant(_))
    }

    /// True for elementwise nodes (copies among them).
    pub fn is_elementwise(&self) -> bool {
        matches!(self.kind, Kind::Unary(_) | Kind::Binary(_) | Kind::Copy)
    }

    /// True for what row kernels are fused from.
    pub fn is_fusible(&self) -> bool {
        self.is_elementwise() || matches!(self.kind, Kind::Reduce { .. })
    }
}

/// A graph in topological order with its roots.
#[derive(Clone, Debug, Default)]
pub struct Ir {
    /// Nodes; operands come before their users.
    pub nodes: Vec<Node>,
    /// Values that are read back after a run.
    pub outputs: Vec<(String, NodeId)>,
    /// States and the values that they take on after a run.
    pub assigns: Vec<(String, NodeId)>,
}

impl Ir {
    /// Every root.
    pub fn roots(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.outputs.iter().chain(&self.assigns).map(|(_, id)| *id)
    }

    /// For each node the nodes that read it, in order, once per read.
    pub fn users(&self) -> Vec<Vec<NodeId>> {
        let mut users = vec![vec![]; self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            for (input, _) in &node.inputs {
                users[*input].push(id);
            }
        }
        users
    }

    /// Removes what no root needs, and renumbers.
    pub fn remove_dead(&mut self) {
        let mut live = vec![false; self.nodes.len()];
        for root in self.roots() {
            live[root] = true;
        }
        for id in (0..self.nodes.len()).rev() {
            if live[id] {
                for (input, _) in &self.nodes[id].inputs {
                    live[*input] = true;
                }
            }
        }
        let mut renamed = vec![usize::MAX; self.nodes.len()];
        let mut kept = Vec::with_capacity(self.nodes.len());
        for (id, mut node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            if live[id] {
                for (input, _) in &mut node.inputs {
                    *input = renamed[*input];
                }
                renamed[id] = kept.len();
                kept.push(node);
            }
        }
        self.nodes = kept;
        for (_, id) in self.outputs.iter_mut().chain(&mut self.assigns) {
            *id = renamed[*id];
        }
    }

    /// Checks the invariants that hold between passes.
    ///
    /// # Errors
    /// [`CompileError::Invariant`] with the pass, the node and what is wrong.
    pub fn verify(&self, pass: &'static str) -> Result<(), CompileError> {
        let fail = |id: NodeId, reason: String| {
            Err(CompileError::Invariant {
                pass,
                node: id,
                scope: self.nodes[id].scope.to_string(),
                reason,
            })
        };
        for (id, node) in self.nodes.iter().enumerate() {
            let arity = match &node.kind {
                Kind::Load(_) | Kind::Constant(_) => 0,
                Kind::Unary(_) | Kind::Copy | Kind::Reduce { .. } => 1,
                _ => 2,
            };
            if node.inputs.len() != arity {
                return fail(
                    id,
                    format!("{} operands instead of {arity}", node.inputs.len()),
                );
            }
            if node.is_empty() {
                return fail(id, "no elements".into());
            }
            for (k, (input, access)) in node.inputs.iter().enumerate() {
                if *input >= id {
                    return fail(id, format!("operand {k} comes after its user"));
                }
                let length = self.nodes[*input].len() as isize;
                if let Some((low, high)) = access.bounds() {
                    if low < 0 || high >= length {
                        return fail(
                            id,
                            format!("operand {k} reads elements {low}..={high} of {length}"),
                        );
                    }
                }
                let shape = access.shape();
                let fits = match &node.kind {
                    Kind::Unary(_) | Kind::Binary(_) | Kind::Copy => shape == node.shape,
                    Kind::Reduce { reduced, .. } => {
                        *reduced >= 1
                            && *reduced <= shape.len()
                            && shape[..shape.len() - reduced] == node.shape[..]
                    }
                    Kind::Gather { inner, .. } if k == 0 => {
                        *inner <= shape.len() && shape == node.shape
                    }
                    Kind::Gather { inner, .. } => {
                        shape[..] == node.shape[..node.shape.len() - inner]
                    }
                    _ => true,
                };
                if !fits {
                    return fail(
                        id,
                        format!(
                            "operand {k} is read as {shape:?} for a result {:?}",
                            node.shape
                        ),
                    );
                }
                if matches!(node.kind, Kind::Gemm(_)) && access.is_guarded() {
                    return fail(id, format!("operand {k} of a GEMM is padded"));
                }
            }
        }
        for (name, id) in self.outputs.iter().chain(&self.assigns) {
            if *id >= self.nodes.len() {
                return Err(CompileError::Invariant {
                    pass,
                    node: *id,
                    scope: name.clone(),
                    reason: "root points nowhere".into(),
                });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Ir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, node) in self.nodes.iter().enumerate() {
            write!(f, "%{id} {:?} {:?}", node.shape, node.kind)?;
            for (input, access) in &node.inputs {
                write!(f, " %{input}")?;
                if !access.is_dense() {
                    let axes: Vec<String> = access
                        .axes
                        .iter()
                        .map(|a| {
                            let guard = if a.is_guarded() {
                                format!("[{}..{}]", a.lo, a.hi)
                            } else {
                                String::new()
                            };
                            format!("{}:{}{guard}", a.size, a.stride)
                        })
                        .collect();
                    write!(f, "@{}+({})", access.offset, axes.join(" "))?;
                }
            }
            writeln!(f, "  # {} {:?}", node.scope, node.phase)?;
        }
        for (name, id) in &self.outputs {
            writeln!(f, "output {name} = %{id}")?;
        }
        for (name, id) in &self.assigns {
            writeln!(f, "assign {name} = %{id}")?;
        }
        Ok(())
    }
}
