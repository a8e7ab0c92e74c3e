//! Pass `canonicalize`: one form for what can be written in several ways.
//!
//! In one sweep from leaves to roots: copies are read through instead of made, constants are folded,
//! `a + b * -1` becomes a subtraction, `1 - (a < b) - (b < a)` an equality, neutral elements vanish,
//! equal nodes are shared. Then chains of reductions become one reduction. Rounding is that of the
//! source but for folded constants.

use crate::access::Access;
use crate::ir::{Binary, Ir, Kind, Node, NodeId, Reduction, Unary};
use std::collections::HashMap;

/// Runs the pass.
pub fn run(ir: Ir) -> Ir {
    let mut out = Rewriter::default().rewrite(ir);
    out.remove_dead();
    super::layout::follow_operands(&mut out);
    merge_reductions(&mut out);
    out.remove_dead();
    sort_reduced_axes(&mut out);
    split_full_reductions(&mut out);
    out.remove_dead();
    out
}

#[derive(Default)]
struct Rewriter {
    out: Ir,
    /// For each old node, the new node and the map through which its dense value is read.
    alias: Vec<(NodeId, Access)>,
    shapes: Vec<Vec<usize>>,
    copies: HashMap<NodeId, NodeId>,
    known: HashMap<String, NodeId>,
}

impl Rewriter {
    fn rewrite(mut self, ir: Ir) -> Ir {
        for node in ir.nodes {
            let inputs = node
                .inputs
                .iter()
                .map(|(id, access)| self.read(*id, access))
                .collect();
            let node = Node { inputs, ..node };
            self.shapes.push(node.shape.clone());
            let alias = match self.simplify(&node) {
                Some(alias) => alias,
                None => {
                    let dense = Access::dense(&node.shape);
                    (self.add(node), dense)
                }
            };
            self.alias.push(alias);
        }
        let roots = |me: &mut Self, list: Vec<(String, NodeId)>| -> Vec<(String, NodeId)> {
            list.into_iter()
                .map(|(name, id)| (name, me.root(id)))
                .collect()
        };
        let outputs = roots(&mut self, ir.outputs);
        let assigns = roots(&mut self, ir.assigns);
        (self.out.outputs, self.out.assigns) = (outputs, assigns);
        self.out
    }

    /// The operand that reads old node `id` through `access`.
    fn read(&mut self, id: NodeId, access: &Access) -> (NodeId, Access) {
        let (new, inner) = self.alias[id].clone();
        if inner.is_dense() && inner.len() == self.out.nodes[new].len() {
            return (new, access.clone());
        }
        match access.compose(&self.shapes[id], &inner) {
            Some(both) => (new, both),
            None => (self.materialize(id), access.clone()),
        }
    }

    /// Old node `id` as a dense buffer.
    fn materialize(&mut self, id: NodeId) -> NodeId {
        let (new, inner) = self.alias[id].clone();
        if inner.is_dense() && inner.len() == self.out.nodes[new].len() {
            return new;
        }
        if let Some(copy) = self.copies.get(&id) {
            return *copy;
        }
        let source = &self.out.nodes[new];
        let copy = Node {
            kind: Kind::Copy,
            inputs: vec![(new, inner)],
            shape: self.shapes[id].clone(),
            scope: source.scope.clone(),
            phase: source.phase,
        };
        let copy = self.add(copy);
        self.copies.insert(id, copy);
        copy
    }

    fn root(&mut self, id: NodeId) -> NodeId {
        let new = self.materialize(id);
        if !self.out.nodes[new].is_leaf() {
            return new;
        }
        // The buffer of a load is not the program's to hand out.
        let source = &self.out.nodes[new];
        let copy = Node {
            kind: Kind::Copy,
            inputs: vec![(new, Access::dense(&source.shape))],
            shape: source.shape.clone(),
            scope: source.scope.clone(),
            phase: source.phase,
        };
        self.add(copy)
    }

    /// Adds a node unless an equal one is there.
    fn add(&mut self, node: Node) -> NodeId {
        let shared = !matches!(node.kind, Kind::Load(_));
        let key = if shared {
            format!("{:?}{:?}{:?}", node.kind, node.inputs, node.shape)
        } else {
            String::new()
        };
        if shared {
            if let Some(id) = self.known.get(&key) {
                return *id;
            }
        }
        let id = self.out.nodes.len();
        self.out.nodes.push(node);
        if shared {
            self.known.insert(key, id);
        }
        id
    }

    fn constant(&self, operand: &(NodeId, Access)) -> Option<f32> {
        match self.out.nodes[operand.0].kind {
            Kind::Constant(value) if !operand.1.is_guarded() => Some(value),
            _ => None,
        }
    }

    /// If the operand is `x * factor`: `x` as read by the operand's user.
    fn scaled(&self, operand: &(NodeId, Access), factor: f32) -> Option<(NodeId, Access)> {
        let node = &self.out.nodes[operand.0];
        if node.kind != Kind::Binary(Binary::Mul) || operand.1.is_guarded() {
            return None;
        }
        let x = match (
            self.constant(&node.inputs[0]),
            self.constant(&node.inputs[1]),
        ) {
            (_, Some(c)) if c == factor => &node.inputs[0],
            (Some(c), _) if c == factor => &node.inputs[1],
            _ => return None,
        };
        Some((x.0, operand.1.compose(&node.shape, &x.1)?))
    }

    /// If the operand is `(a < b) + (b < a)`: `a` and `b` as read by the operand's user.
    fn unequal(&self, operand: &(NodeId, Access)) -> Option<[(NodeId, Access); 2]> {
        let node = &self.out.nodes[operand.0];
        if node.kind != Kind::Binary(Binary::Add) || operand.1.is_guarded() {
            return None;
        }
        let less: Vec<Vec<(NodeId, Access)>> = node
            .inputs
            .iter()
            .filter_map(|(id, access)| {
                let less = &self.out.nodes[*id];
                if less.kind != Kind::Binary(Binary::LessThan) || access.is_guarded() {
                    return None;
                }
                less.inputs
                    .iter()
                    .map(|(x, inner)| Some((*x, access.compose(&less.shape, inner)?)))
                    .collect()
            })
            .collect();
        let [first, second] = &less[..] else {
            return None;
        };
        if first[0] != second[1] || first[1] != second[0] {
            return None;
        }
        let through = |x: &(NodeId, Access)| Some((x.0, operand.1.compose(&node.shape, &x.1)?));
        Some([through(&first[0])?, through(&first[1])?])
    }

    /// What the node's value can be read from instead of computing it; may add other nodes.
    fn simplify(&mut self, node: &Node) -> Option<(NodeId, Access)> {
        let dense = || Access::dense(&node.shape);
        match node.kind {
            Kind::Copy => Some(node.inputs[0].clone()),
            // A reduction of one element is that element.
            Kind::Reduce { reduced, .. } => {
                let (input, mut access) = node.inputs[0].clone();
                let kept = access.axes.len() - reduced;
                let single = access.axes[kept..]
                    .iter()
                    .all(|a| a.size == 1 && !a.is_guarded());
                access.axes.truncate(kept);
                single.then_some((input, access))
            }
            Kind::Unary(op) => {
                let x = self.constant(&node.inputs[0])?;
                let value = match op {
                    Unary::Log2 => x.log2(),
                    Unary::Exp2 => x.exp2(),
                    Unary::Sin => x.sin(),
                    Unary::Sqrt => x.sqrt(),
                    Unary::Recip => x.recip(),
                };
                Some(self.number(node, value))
            }
            Kind::Binary(op) => {
                let (a, b) = (&node.inputs[0], &node.inputs[1]);
                let (ca, cb) = (self.constant(a), self.constant(b));
                if let (Some(x), Some(y)) = (ca, cb) {
                    let value = match op {
                        Binary::Add => x + y,
                        Binary::Sub => x - y,
                        Binary::Mul => x * y,
                        Binary::Mod => x % y,
                        Binary::LessThan => f32::from(u8::from(x < y)),
                        Binary::Equal => f32::from(u8::from(x == y)),
                    };
                    return Some(self.number(node, value));
                }
                match op {
                    Binary::Add if ca == Some(0.0) => Some(b.clone()),
                    Binary::Add if cb == Some(0.0) => Some(a.clone()),
                    Binary::Mul if ca == Some(1.0) => Some(b.clone()),
                    Binary::Mul if cb == Some(1.0) => Some(a.clone()),
                    Binary::Add => {
                        // 1 + ((a < b) + (b < a)) * -1
                        let rest = match (ca, cb) {
                            (Some(1.0), _) => Some(b),
                            (_, Some(1.0)) => Some(a),
                            _ => None,
                        };
                        let pair = rest
                            .and_then(|r| self.scaled(r, -1.0))
                            .and_then(|sum| self.unequal(&sum));
                        let (kind, inputs) = if let Some(pair) = pair {
                            (Binary::Equal, pair.to_vec())
                        } else if let Some(negated) = self.scaled(b, -1.0) {
                            (Binary::Sub, vec![a.clone(), negated])
                        } else if let Some(negated) = self.scaled(a, -1.0) {
                            (Binary::Sub, vec![b.clone(), negated])
                        } else {
                            return None;
                        };
                        let id = self.add(Node {
                            kind: Kind::Binary(kind),
                            inputs,
                            ..node.clone()
                        });
                        Some((id, dense()))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The number `value` read as the node's shape.
    fn number(&mut self, node: &Node, value: f32) -> (NodeId, Access) {
        let id = self.add(Node {
            kind: Kind::Constant(value),
            inputs: vec![],
            shape: vec![],
            ..node.clone()
        });
        let mut access = Access::dense(&node.shape);
        access.axes.iter_mut().for_each(|a| a.stride = 0);
        (id, access)
    }
}

/// A sum of a sum over other axes is one sum over both groups of axes; maxima likewise.
fn merge_reductions(ir: &mut Ir) {
    let users = ir.users();
    let roots: Vec<NodeId> = ir.roots().collect();
    for id in 0..ir.nodes.len() {
        let Kind::Reduce { op, reduced } = ir.nodes[id].kind else {
            continue;
        };
        let (inner_id, outer) = ir.nodes[id].inputs[0].clone();
        let inner = &ir.nodes[inner_id];
        let Kind::Reduce {
            op: inner_op,
            reduced: inner_reduced,
        } = inner.kind
        else {
            continue;
        };
        // A padded zero is neutral for a sum only.
        let neutral = !outer.is_guarded() || op == Reduction::Sum;
        if op != inner_op || !neutral || users[inner_id].len() != 1 || roots.contains(&inner_id) {
            continue;
        }
        let (source, full) = inner.inputs[0].clone();
        let kept = full.axes.len() - inner_reduced;
        let keep = Access {
            axes: full.axes[..kept].to_vec(),
            offset: full.offset,
        };
        let Some(mut both) = outer.compose(&inner.shape, &keep) else {
            continue;
        };
        both.axes.extend_from_slice(&full.axes[kept..]);
        let node = &mut ir.nodes[id];
        node.kind = Kind::Reduce {
            op,
            reduced: reduced + inner_reduced,
        };
        node.inputs[0] = (source, both);
    }
}

/// The order of reduced axes is free: the one that walks memory forwards.
fn sort_reduced_axes(ir: &mut Ir) {
    for node in &mut ir.nodes {
        if let Kind::Reduce { reduced, .. } = node.kind {
            let axes = &mut node.inputs[0].1.axes;
            let kept = axes.len() - reduced;
            axes[kept..].sort_by_key(|a| std::cmp::Reverse(a.stride));
        }
    }
}

/// A reduction of a whole tensor to one number becomes rows, then one number: both halves can run in
/// parallel and in a fixed order.
fn split_full_reductions(ir: &mut Ir) {
    let mut out = Ir::default();
    let mut renamed = Vec::with_capacity(ir.nodes.len());
    for mut node in std::mem::take(&mut ir.nodes) {
        for (id, _) in &mut node.inputs {
            *id = renamed[*id];
        }
        if let Kind::Reduce { op, reduced } = node.kind {
            let access = node.inputs[0].1.clone();
            let whole = reduced == access.axes.len() && reduced >= 2;
            let guarded = access.is_guarded() && op == Reduction::Max;
            if whole && !guarded {
                let rows: Vec<usize> = access.axes[..reduced - 1].iter().map(|a| a.size).collect();
                out.nodes.push(Node {
                    kind: Kind::Reduce { op, reduced: 1 },
                    shape: rows.clone(),
                    ..node.clone()
                });
                node.kind = Kind::Reduce {
                    op,
                    reduced: rows.len(),
                };
                node.inputs = vec![(out.nodes.len() - 1, Access::dense(&rows))];
            }
        }
        renamed.push(out.nodes.len());
        out.nodes.push(node);
    }
    let map = |list: &mut Vec<(String, NodeId)>| {
        list.iter_mut().for_each(|(_, id)| *id = renamed[*id]);
    };
    map(&mut ir.outputs);
    map(&mut ir.assigns);
    ir.nodes = out.nodes;
}
