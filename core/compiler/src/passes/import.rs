//! Pass `import`: luminal's primitives, as the graph crate lowered them, into the compiler's graph.
//!
//! Views become affine maps; a reduction's axis moves to the end of its map; roots that are read
//! through a view get a copy, so that every root is a dense buffer.

use crate::access::Access;
use crate::ir::{Binary, Ir, Kind, Node, Reduction, Unary};
use ablate_graph::ir::{Lowered, Op, Phase};
use std::sync::Arc;

/// Runs the pass.
pub fn run(lowered: &Lowered) -> Ir {
    let mut ir = Ir::default();
    for node in &lowered.nodes {
        let mut inputs: Vec<(usize, Access)> = node
            .inputs
            .iter()
            .map(|(id, view)| (*id, Access::from_view(view)))
            .collect();
        let mut reduce = |op: Reduction, axis: usize| {
            if let Some((_, access)) = inputs.first_mut() {
                let last = access.axes.remove(axis);
                access.axes.push(last);
            }
            Kind::Reduce { op, reduced: 1 }
        };
        let kind = match &node.op {
            Op::Load(kind) => Kind::Load(kind.clone()),
            Op::Constant(value) => Kind::Constant(*value),
            Op::Log2 => Kind::Unary(Unary::Log2),
            Op::Exp2 => Kind::Unary(Unary::Exp2),
            Op::Sin => Kind::Unary(Unary::Sin),
            Op::Sqrt => Kind::Unary(Unary::Sqrt),
            Op::Recip => Kind::Unary(Unary::Recip),
            Op::Add => Kind::Binary(Binary::Add),
            Op::Mul => Kind::Binary(Binary::Mul),
            Op::Mod => Kind::Binary(Binary::Mod),
            Op::LessThan => Kind::Binary(Binary::LessThan),
            Op::SumReduce(axis) => reduce(Reduction::Sum, *axis),
            Op::MaxReduce(axis) => reduce(Reduction::Max, *axis),
            Op::Contiguous => Kind::Copy,
        };
        if matches!(kind, Kind::Unary(_)) {
            // luminal's unary kernels map the physical buffer and ignore the view.
            for (_, access) in &mut inputs {
                *access = Access::dense(&node.shape);
            }
        }
        ir.nodes.push(Node {
            kind,
            inputs,
            shape: node.shape.clone(),
            scope: node.scope.clone(),
            phase: node.phase,
        });
    }
    let mut root = |id: usize, access: Access| {
        // A load must be copied: the session's buffer is not the program's to hand out.
        if access.is_dense() && access.len() == ir.nodes[id].len() && !ir.nodes[id].is_leaf() {
            return id;
        }
        let scope: Arc<str> = ir.nodes[id].scope.clone();
        let phase: Phase = ir.nodes[id].phase;
        ir.nodes.push(Node {
            kind: Kind::Copy,
            shape: access.shape(),
            inputs: vec![(id, access)],
            scope,
            phase,
        });
        ir.nodes.len() - 1
    };
    let outputs: Vec<_> = lowered
        .outputs
        .iter()
        .map(|(name, id, view)| (name.clone(), root(*id, Access::from_view(view))))
        .collect();
    let assigns: Vec<_> = lowered
        .assigns
        .iter()
        .map(|(name, id, view)| (name.clone(), root(*id, Access::from_view(view))))
        .collect();
    (ir.outputs, ir.assigns) = (outputs, assigns);
    ir.remove_dead();
    ir
}
