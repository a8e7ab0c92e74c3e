//! Pass `layout`: values are written in the order that their readers want.
//!
//! Autodiff writes the gradient of a permuted operand in the permuted order, and attention writes its
//! heads apart; their readers then walk memory in long strides, or need a copy. A product can write
//! any order of its axes at no cost, so the order is taken from its first reader, if all other
//! readers can follow.

use super::contraction;
use super::domain::reduced_first;
use crate::access::{dense_strides, Access};
use crate::ir::{Ir, Kind, NodeId};

/// Elementwise values are laid out as their operands lie: a product that autodiff wrote with its
/// summed axes last then fits the kernel that makes its factors.
pub fn follow_operands(ir: &mut Ir) {
    let users = ir.users();
    let roots: Vec<NodeId> = ir.roots().collect();
    for (id, readers) in users.iter().enumerate() {
        let node = &ir.nodes[id];
        if !matches!(node.kind, Kind::Unary(_) | Kind::Binary(_)) || roots.contains(&id) {
            continue;
        }
        // The first operand that has every axis tells the order.
        let whole = node.inputs.iter().find(|(_, access)| {
            !access.is_guarded() && access.axes.iter().all(|a| a.size == 1 || a.stride > 0)
        });
        let Some((_, access)) = whole else { continue };
        let mut order: Vec<usize> = (0..node.shape.len()).collect();
        order.sort_by_key(|&j| std::cmp::Reverse(access.axes[j].stride));
        let moved: Vec<usize> = order
            .iter()
            .copied()
            .filter(|&j| node.shape[j] > 1)
            .collect();
        if moved.windows(2).any(|w| w[0] > w[1]) {
            reorder(ir, id, &order, readers);
        }
    }
}

/// Runs the pass.
pub fn run(ir: &mut Ir) {
    let users = ir.users();
    let roots: Vec<NodeId> = ir.roots().collect();
    for (id, readers) in users.iter().enumerate() {
        if roots.contains(&id) || !contraction::is_matrix_product(ir, id) {
            continue;
        }
        let Some(order) = readers.iter().find_map(|user| wanted(ir, id, *user)) else {
            continue;
        };
        if order.windows(2).all(|w| w[0] < w[1]) {
            continue;
        }
        reorder(ir, id, &order, readers);
    }
}

/// The order in which `user` walks the axes of `id`, if it walks all of them.
fn wanted(ir: &Ir, id: NodeId, user: NodeId) -> Option<Vec<usize>> {
    let shape = &ir.nodes[id].shape;
    let strides = dense_strides(shape);
    let (_, access) = ir.nodes[user]
        .inputs
        .iter()
        .find(|(input, _)| *input == id)?;
    let access = match ir.nodes[user].kind {
        // A sum over rows walks them outermost.
        Kind::Reduce { reduced, .. } => reduced_first(access, access.axes.len() - reduced),
        _ => access.clone(),
    };
    if access.is_guarded() || access.offset != 0 {
        return None;
    }
    let mut order = vec![];
    for axis in access.axes.iter().filter(|a| a.stride != 0 && a.size > 1) {
        // The axis walks one axis of the result, or a run of neighbouring ones.
        let last = (0..shape.len())
            .rev()
            .find(|&j| shape[j] > 1 && strides[j] == axis.stride)?;
        let (mut first, mut size) = (last, shape[last]);
        while size < axis.size && first > 0 {
            first -= 1;
            size *= shape[first];
        }
        if size != axis.size {
            return None;
        }
        order.extend(first..=last);
    }
    // Axes of size one may be anywhere.
    let missing: Vec<usize> = (0..shape.len()).filter(|j| !order.contains(j)).collect();
    if missing.iter().any(|&j| shape[j] != 1) || order.len() + missing.len() != shape.len() {
        return None;
    }
    Some(missing.into_iter().chain(order).collect())
}

fn reorder(ir: &mut Ir, id: NodeId, order: &[usize], users: &[NodeId]) {
    let old = ir.nodes[id].shape.clone();
    let new: Vec<usize> = order.iter().map(|&j| old[j]).collect();
    // How the old order is read from the new buffer.
    let mut inverse = Access::dense(&old);
    for (&axis, stride) in order.iter().zip(dense_strides(&new)) {
        inverse.axes[axis].stride = stride;
    }
    let mut rewritten = vec![];
    for &user in users {
        for (k, (input, access)) in ir.nodes[user].inputs.iter().enumerate() {
            if *input == id {
                // A gather steps from class to class of its table by a stride of its own.
                if k == 0 && matches!(ir.nodes[user].kind, Kind::Gather { .. }) {
                    return;
                }
                let Some(access) = access.compose(&old, &inverse) else {
                    return;
                };
                rewritten.push((user, k, access));
            }
        }
    }
    for (user, k, access) in rewritten {
        ir.nodes[user].inputs[k].1 = access;
    }
    let node = &mut ir.nodes[id];
    node.shape = new;
    for (_, access) in &mut node.inputs {
        let kept = access.axes[..order.len()].to_vec();
        for (axis, &from) in access.axes.iter_mut().zip(order) {
            *axis = kept[from];
        }
    }
}
