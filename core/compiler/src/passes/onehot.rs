//! Pass `onehot`: a sum of products with a one-hot operand is a look-up, or the transpose of one.
//!
//! `sum over v of (index == v) * table[v, ..]` becomes a gather, and
//! `sum over rows of (index[row] == v) * value[row, ..]` a scatter-add. A look-up of single numbers (the label's logit in a
//! cross-entropy) stays elementwise: fused into its row kernel it costs one comparison, while a
//! gather would need the whole row in memory.

use super::contraction::{product, Product};
use crate::access::Access;
use crate::ir::{Binary, Ir, Kind, NodeId, Reduction};
use ablate_graph::ir::LoadKind;

/// Runs the pass.
pub fn run(ir: &mut Ir) {
    for id in 0..ir.nodes.len() {
        if !matches!(
            ir.nodes[id].kind,
            Kind::Reduce {
                op: Reduction::Sum,
                ..
            }
        ) {
            continue;
        }
        let Some(product) = product(ir, id) else {
            continue;
        };
        for hot in 0..2 {
            let Some(index) = one_hot(ir, &product.operands[hot]) else {
                continue;
            };
            let value = product.operands[1 - hot].clone();
            if gather(ir, id, &product, &index, &value) || scatter(ir, id, &product, &index, &value)
            {
                break;
            }
        }
    }
    ir.remove_dead();
}

/// The index of a one-hot operand and the product axis that runs over its classes.
struct Index {
    node: NodeId,
    /// Over all product axes; the class axis has stride zero.
    access: Access,
    class_axis: usize,
    classes: usize,
}

fn one_hot(ir: &Ir, operand: &(NodeId, Access)) -> Option<Index> {
    let node = &ir.nodes[operand.0];
    if node.kind != Kind::Binary(Binary::Equal) || operand.1.is_guarded() {
        return None;
    }
    for side in 0..2 {
        let (iota, iota_access) = &node.inputs[side];
        if !matches!(ir.nodes[*iota].kind, Kind::Load(LoadKind::Iota)) {
            continue;
        }
        let classes = ir.nodes[*iota].len();
        let counted = operand.1.compose(&node.shape, iota_access)?;
        let moving: Vec<usize> = (0..counted.axes.len())
            .filter(|&d| counted.axes[d].stride != 0 && counted.axes[d].size > 1)
            .collect();
        let [class_axis] = moving[..] else { continue };
        let axis = counted.axes[class_axis];
        if axis.stride != 1 || axis.size != classes || counted.offset != 0 || counted.is_guarded() {
            continue;
        }
        let (index, index_access) = &node.inputs[1 - side];
        let access = operand.1.compose(&node.shape, index_access)?;
        if access.axes[class_axis].stride != 0 || access.is_guarded() {
            continue;
        }
        return Some(Index {
            node: *index,
            access,
            class_axis,
            classes,
        });
    }
    None
}

fn without(access: &Access, axis: usize) -> Access {
    let mut access = access.clone();
    access.axes.remove(axis);
    access
}

/// `out[rows.., inner..] = table[.., index[rows..], inner..]`
fn gather(
    ir: &mut Ir,
    id: NodeId,
    product: &Product,
    index: &Index,
    table: &(NodeId, Access),
) -> bool {
    let kept = product.kept;
    let rank = table.1.axes.len();
    // The class axis is the only one that is summed, and the table varies along it.
    if rank != kept + 1 || index.class_axis != kept || table.1.axes[kept].stride == 0 {
        return false;
    }
    if table.1.is_guarded() {
        return false;
    }
    let class_stride = table.1.axes[kept].stride;
    let rows = without(&index.access, kept);
    let inner = rows.axes.iter().rev().take_while(|a| a.stride == 0).count();
    let width: usize = rows.axes[kept - inner..].iter().map(|a| a.size).product();
    if width <= 1 {
        return false;
    }
    let rows = Access {
        axes: rows.axes[..kept - inner].to_vec(),
        offset: rows.offset,
    };
    let node = &mut ir.nodes[id];
    node.kind = Kind::Gather {
        inner,
        classes: index.classes,
        class_stride,
    };
    node.inputs = vec![(table.0, without(&table.1, kept)), (index.node, rows)];
    true
}

/// `out[class, inner..] = sum over rows with index[row] == class of value[row, inner..]`
fn scatter(
    ir: &mut Ir,
    id: NodeId,
    product: &Product,
    index: &Index,
    value: &(NodeId, Access),
) -> bool {
    let kept = product.kept;
    if index.class_axis != 0 || kept == 0 || value.1.axes[0].stride != 0 || value.1.is_guarded() {
        return false;
    }
    // The index may vary along the summed axes only.
    let inner_axes = 1..kept;
    if inner_axes.clone().any(|d| index.access.axes[d].stride != 0) {
        return false;
    }
    let rank = value.1.axes.len();
    let order: Vec<usize> = (kept..rank).chain(inner_axes).collect();
    let rows: Vec<usize> = (kept..rank).collect();
    let node = &mut ir.nodes[id];
    node.kind = Kind::ScatterAdd {
        inner: kept - 1,
        classes: index.classes,
    };
    node.inputs = vec![
        (value.0, value.1.permuted(&order)),
        (index.node, index.access.permuted(&rows)),
    ];
    true
}
