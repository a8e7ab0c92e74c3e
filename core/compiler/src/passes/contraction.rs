//! Pass `contraction`: every sum of products that has rows and columns becomes a matrix product.
//!
//! A multiplication whose operands are broadcast views, summed over axes that both operands have, is
//! a contraction whatever its axes' order: each axis is a batch, row, column or summed axis by the
//! strides alone. So forward and backward products, transposed or batched, are found by one rule.

use crate::access::{dense_strides, Access, Axis};
use crate::ir::{Binary, Gemm, Ir, Kind, Level, Node, NodeId, Reduction};

/// A sum over a product, seen from the axes of the sum.
pub struct Product {
    /// The factors, read with the axes `[kept.., reduced..]`.
    pub operands: [(NodeId, Access); 2],
    /// How many leading axes remain in the result.
    pub kept: usize,
}

/// Node `id` as a sum over a product, if it is one.
pub fn product(ir: &Ir, id: NodeId) -> Option<Product> {
    let node = &ir.nodes[id];
    let Kind::Reduce {
        op: Reduction::Sum,
        reduced,
    } = node.kind
    else {
        return None;
    };
    let (source, access) = &node.inputs[0];
    let mul = &ir.nodes[*source];
    if mul.kind != Kind::Binary(Binary::Mul) || access.is_guarded() {
        return None;
    }
    let operand = |k: usize| {
        let (id, inner) = &mul.inputs[k];
        let access = access.compose(&mul.shape, inner)?;
        // A broadcast that is padded has the axis after all, though no stride shows it.
        let hidden = access.axes.iter().any(|a| a.is_guarded() && a.stride == 0);
        (!hidden).then_some((*id, access))
    };
    Some(Product {
        operands: [operand(0)?, operand(1)?],
        kept: access.axes.len() - reduced,
    })
}

/// True for a sum over a product that the pass makes a matrix product of.
pub fn is_matrix_product(ir: &Ir, id: NodeId) -> bool {
    product(ir, id).is_some_and(|p| Roles::of(&p).is_some())
}

/// Runs the pass.
pub fn run(ir: &mut Ir) {
    let mut out = Ir::default();
    let mut renamed: Vec<NodeId> = Vec::with_capacity(ir.nodes.len());
    let source = std::mem::take(ir);
    for id in 0..source.nodes.len() {
        let mut node = source.nodes[id].clone();
        if let Some(product) = product(&source, id) {
            if let Some(roles) = Roles::of(&product) {
                let operands = product.operands.map(|(id, access)| (renamed[id], access));
                node = gemm(&mut out, node, operands, product.kept, &roles);
                renamed.push(out.nodes.len());
                out.nodes.push(node);
                continue;
            }
        }
        for (input, _) in &mut node.inputs {
            *input = renamed[*input];
        }
        renamed.push(out.nodes.len());
        out.nodes.push(node);
    }
    let map =
        |list: &[(String, NodeId)]| list.iter().map(|(n, i)| (n.clone(), renamed[*i])).collect();
    out.outputs = map(&source.outputs);
    out.assigns = map(&source.assigns);
    out.remove_dead();
    write_through_copies(&mut out);
    out.remove_dead();
    *ir = out;
}

/// Axes of a product by their role; axes of size one have none.
struct Roles {
    batch: Vec<usize>,
    m: Vec<usize>,
    n: Vec<usize>,
    k: Vec<usize>,
}

impl Roles {
    /// The roles, if the product has rows, columns and a common summed axis, and nothing else.
    fn of(product: &Product) -> Option<Roles> {
        let [(_, a), (_, b)] = &product.operands;
        let mut roles = Roles {
            batch: vec![],
            m: vec![],
            n: vec![],
            k: vec![],
        };
        for axis in 0..a.axes.len() {
            if a.axes[axis].size == 1 {
                continue;
            }
            let kept = axis < product.kept;
            match (kept, a.axes[axis].stride != 0, b.axes[axis].stride != 0) {
                (true, true, true) => roles.batch.push(axis),
                (true, true, false) => roles.m.push(axis),
                (true, false, true) => roles.n.push(axis),
                (false, true, true) => roles.k.push(axis),
                _ => return None,
            }
        }
        (!roles.m.is_empty() && !roles.n.is_empty() && !roles.k.is_empty()).then_some(roles)
    }
}

/// The levels of one role, neighbouring ones merged where all strides allow.
fn levels(
    a: &Access,
    b: &Access,
    c: &[isize],
    axes: &[usize],
    by: impl Fn(&Level) -> isize,
) -> Vec<Level> {
    let mut levels: Vec<Level> = axes
        .iter()
        .map(|&d| Level {
            size: a.axes[d].size,
            a: a.axes[d].stride,
            b: b.axes[d].stride,
            c: c.get(d).copied().unwrap_or(0),
        })
        .collect();
    levels.sort_by_key(|l| std::cmp::Reverse(by(l)));
    merge(levels)
}

fn merge(levels: Vec<Level>) -> Vec<Level> {
    let mut out: Vec<Level> = Vec::with_capacity(levels.len());
    for level in levels {
        if let Some(outer) = out.last_mut() {
            let n = level.size as isize;
            if outer.a == level.a * n && outer.b == level.b * n && outer.c == level.c * n {
                *outer = Level {
                    size: outer.size * level.size,
                    ..level
                };
                continue;
            }
        }
        out.push(level);
    }
    out
}

/// The operand as a dense copy with its own axes in the given order; the access is that of the copy.
fn packed(
    ir: &mut Ir,
    like: &Node,
    operand: (NodeId, Access),
    order: &[usize],
) -> (NodeId, Access) {
    let mine: Vec<usize> = order
        .iter()
        .copied()
        .filter(|&d| operand.1.axes[d].stride != 0 && operand.1.axes[d].size > 1)
        .collect();
    let reading = operand.1.permuted(&mine);
    let shape = reading.shape();
    let mut access = operand.1.clone();
    access.offset = 0;
    access
        .axes
        .iter_mut()
        .for_each(|a| *a = Axis::new(a.size, 0));
    for (d, stride) in mine.iter().zip(dense_strides(&shape)) {
        access.axes[*d].stride = stride;
    }
    ir.nodes.push(Node {
        kind: Kind::Copy,
        inputs: vec![(operand.0, reading)],
        shape,
        scope: like.scope.clone(),
        phase: like.phase,
    });
    (ir.nodes.len() - 1, access)
}

/// The GEMM node of a product; operands that no single stride can walk are packed first.
fn gemm(
    ir: &mut Ir,
    node: Node,
    operands: [(NodeId, Access); 2],
    kept: usize,
    roles: &Roles,
) -> Node {
    let [mut a, mut b] = operands;
    let c = dense_strides(&a.1.shape()[..kept]);
    let two_steps = |a: &Access, b: &Access| levels(a, b, &c, &roles.k, |l| l.a).len() > 1;
    let pack = a.1.is_guarded() || b.1.is_guarded() || two_steps(&a.1, &b.1);
    if pack {
        let order = |own: &[usize]| -> Vec<usize> {
            roles
                .batch
                .iter()
                .chain(own)
                .chain(&roles.k)
                .copied()
                .collect()
        };
        a = packed(ir, &node, a, &order(&roles.m));
        b = packed(ir, &node, b, &order(&roles.n));
    }
    let mut batch = levels(&a.1, &b.1, &c, &roles.batch, |l| l.c);
    let mut role = |axes: &[usize]| -> Level {
        // More than one step along a role: the outer ones are looped over like batches. The innermost
        // is the largest, so that the loop is short.
        let mut levels = levels(&a.1, &b.1, &c, axes, |l| l.c);
        let largest = (0..levels.len())
            .max_by_key(|&i| levels[i].size)
            .unwrap_or(0);
        let chosen = levels.remove(largest);
        batch.extend(levels);
        chosen
    };
    let (m, n) = (role(&roles.m), role(&roles.n));
    let k = levels(&a.1, &b.1, &[], &roles.k, |l| l.a);
    let gemm = Gemm {
        batch,
        m,
        n,
        // One level by construction: either it merged, or packing laid the axes side by side.
        k: k[0],
        offset: [a.1.offset, b.1.offset],
    };
    Node {
        kind: Kind::Gemm(gemm),
        inputs: vec![a, b],
        ..node
    }
}

/// A GEMM whose result is only copied into another order writes that order itself.
fn write_through_copies(ir: &mut Ir) {
    for copy in 0..ir.nodes.len() {
        if ir.nodes[copy].kind != Kind::Copy {
            continue;
        }
        let (source, access) = ir.nodes[copy].inputs[0].clone();
        let Kind::Gemm(gemm) = ir.nodes[source].kind.clone() else {
            continue;
        };
        if ir.roots().any(|r| r == source) {
            continue;
        }
        let Some(order) = Reordering::new(&access, ir.nodes[source].len()) else {
            continue;
        };
        let mut gemm = gemm;
        let strides: Option<Vec<isize>> = gemm
            .batch
            .iter()
            .chain([&gemm.m, &gemm.n])
            .map(|level| order.stride(level.c, level.size))
            .collect();
        let Some(strides) = strides else { continue };
        // Other readers of the product must be able to read the new order.
        let shape = ir.nodes[source].shape.clone();
        let Some(inverse) = order.inverse(&shape) else {
            continue;
        };
        let readers: Vec<(NodeId, usize)> = (source + 1..ir.nodes.len())
            .flat_map(|user| {
                let reads = ir.nodes[user].inputs.iter().enumerate();
                reads
                    .filter(|(_, i)| i.0 == source)
                    .map(move |(k, _)| (user, k))
                    .collect::<Vec<_>>()
            })
            .filter(|(user, _)| *user != copy)
            .collect();
        // A matrix product's strides were fixed before; leave those alone.
        let rewritten: Option<Vec<Access>> = readers
            .iter()
            .map(|&(user, k)| {
                let fixed = matches!(
                    ir.nodes[user].kind,
                    Kind::Gemm(_) | Kind::Gather { .. } | Kind::ScatterAdd { .. }
                );
                if fixed {
                    None
                } else {
                    ir.nodes[user].inputs[k].1.compose(&shape, &inverse)
                }
            })
            .collect();
        let Some(rewritten) = rewritten else { continue };
        for ((user, k), access) in readers.into_iter().zip(rewritten) {
            ir.nodes[user].inputs[k].1 = access;
        }
        let count = gemm.batch.len();
        for (level, stride) in gemm.batch.iter_mut().zip(&strides) {
            level.c = *stride;
        }
        (gemm.m.c, gemm.n.c) = (strides[count], strides[count + 1]);
        ir.nodes[source].kind = Kind::Gemm(gemm);
        ir.nodes[source].shape = ir.nodes[copy].shape.clone();
        // The copy's users read the product; the copy itself dies.
        for user in copy + 1..ir.nodes.len() {
            for (input, _) in &mut ir.nodes[user].inputs {
                if *input == copy {
                    *input = source;
                }
            }
        }
        for (_, id) in ir.outputs.iter_mut().chain(&mut ir.assigns) {
            if *id == copy {
                *id = source;
            }
        }
        let dense = Access::dense(&ir.nodes[copy].shape);
        ir.nodes[copy].inputs[0].1 = dense;
    }
}

/// A one-to-one reordering of a dense buffer: pairs of (size, old stride, new stride).
struct Reordering {
    axes: Vec<(usize, isize, isize)>,
}

impl Reordering {
    /// The reordering that a copy through `access` makes, if it moves every element exactly once.
    fn new(access: &Access, length: usize) -> Option<Self> {
        if access.is_guarded() || access.offset != 0 || access.len() != length {
            return None;
        }
        let mut axes: Vec<(usize, isize, isize)> = access
            .axes
            .iter()
            .zip(dense_strides(&access.shape()))
            .filter(|(a, _)| a.size > 1)
            .map(|(a, new)| (a.size, a.stride, new))
            .collect();
        axes.sort_by_key(|a| std::cmp::Reverse(a.1));
        let mut expected = length as isize;
        for (size, old, _) in &axes {
            expected /= *size as isize;
            if *old != expected {
                return None;
            }
        }
        Some(Reordering { axes })
    }

    /// The new stride of a level that has `old` stride and `size` positions.
    fn stride(&self, old: isize, size: usize) -> Option<isize> {
        if size == 1 {
            return Some(0);
        }
        // Axes that the level covers, innermost first.
        let (mut step, mut left) = (old, size);
        let mut first = None;
        let mut expected_new = None;
        while left > 1 {
            let axis = self
                .axes
                .iter()
                .find(|a| a.1 <= step && step < a.1 * a.0 as isize && step % a.1 == 0)?;
            let times = step / axis.1;
            if axis.0 % times as usize != 0 {
                return None;
            }
            let room = axis.0 / times as usize;
            let new = axis.2 * times;
            match expected_new {
                None => first = Some(new),
                Some(expected) if expected != new => return None,
                _ => {}
            }
            let take = room.min(left);
            if left % take != 0 {
                return None;
            }
            expected_new = Some(new * take as isize);
            step *= take as isize;
            left /= take;
        }
        first
    }

    /// How a reader of the old layout (a tensor of `shape`) reads the new one.
    fn inverse(&self, shape: &[usize]) -> Option<Access> {
        let mut access = Access::dense(shape);
        for axis in &mut access.axes {
            axis.stride = self.stride(axis.stride, axis.size)?;
        }
        Some(access)
    }
}

/// Sums of products with rows and columns that are not matrix products: none remain after the pass.
pub fn remaining(ir: &Ir) -> usize {
    (0..ir.nodes.len())
        .filter(|&id| is_matrix_product(ir, id))
        .count()
}
