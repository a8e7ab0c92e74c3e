//! Pass `large`: the backward makes large values again instead of waiting with them in memory.
//!
//! The scores of attention are a batched product over the few columns of a head, and larger than both of
//! its operands together. Kept for the backward, scores and probabilities of every layer are most of what
//! the forward leaves in memory. Such a product, and what is made of it element by element, is written
//! anew in the backward phase; reductions (maxima and sums of a softmax) are one number a row and stay.
//! With pass `blocks` neither copy is ever whole in memory. After Dao, Fu, Ermon, Rudra, Re,
//! "FlashAttention: fast and memory-efficient exact attention", NeurIPS 2022; here all rows of a head
//! are made at once, so that every number keeps the bits of the plain order.

use crate::access::Access;
use crate::ir::{Ir, Kind, Node, NodeId};
use ablate_graph::ir::Phase;
use std::collections::HashMap;

/// Longest sum of a product that is made again: longer ones cost more than the memory does.
const LONGEST: usize = 128;

/// Runs the pass.
pub fn run(ir: &mut Ir) {
    let again = again(ir);
    if !again.contains(&true) {
        return;
    }
    let mut writer = Writer {
        old: std::mem::take(&mut ir.nodes),
        again,
        new: vec![],
        renamed: vec![],
        copies: HashMap::new(),
    };
    for id in 0..writer.old.len() {
        let mut node = writer.old[id].clone();
        for (input, _) in &mut node.inputs {
            *input = if node.phase == Phase::Backward && writer.again[*input] {
                writer.copy(*input)
            } else {
                writer.renamed[*input]
            };
        }
        writer.renamed.push(writer.new.len());
        writer.new.push(node);
    }
    let renamed = &writer.renamed;
    let roots = ir.outputs.iter_mut().chain(&mut ir.assigns);
    roots.for_each(|(_, id)| *id = renamed[*id]);
    ir.nodes = writer.new;
    ir.remove_dead();
}

/// Whether a node is such a product.
fn is_large(ir: &Ir, node: &Node) -> bool {
    let Kind::Gemm(gemm) = &node.kind else {
        return false;
    };
    let batches: usize = gemm.batch.iter().map(|l| l.size).product();
    let (m, n, k) = (gemm.m.size, gemm.n.size, gemm.k.size);
    let operands = node.inputs.iter().all(|(id, _)| !ir.nodes[*id].is_leaf());
    node.phase == Phase::Forward && batches > 1 && k <= LONGEST && m * n >= (m + n) * k && operands
}

/// Forward values that the backward makes again: large products, and elementwise values of their size
/// made of them. A root is in memory anyway.
fn again(ir: &Ir) -> Vec<bool> {
    let mut again: Vec<bool> = Vec::with_capacity(ir.nodes.len());
    let mut root = vec![false; ir.nodes.len()];
    ir.roots().for_each(|r| root[r] = true);
    for (id, node) in ir.nodes.iter().enumerate() {
        let follows = node.phase == Phase::Forward
            && node.is_elementwise()
            && node.inputs.iter().any(|(input, access)| {
                again[*input] && ir.nodes[*input].len() == node.len() && access.is_dense()
            });
        again.push(!root[id] && (follows || is_large(ir, node)));
    }
    again
}

struct Writer {
    old: Vec<Node>,
    again: Vec<bool>,
    new: Vec<Node>,
    /// New number of each old node.
    renamed: Vec<NodeId>,
    /// The backward's copy of each old node.
    copies: HashMap<NodeId, NodeId>,
}

impl Writer {
    fn copy(&mut self, id: NodeId) -> NodeId {
        if let Some(copy) = self.copies.get(&id) {
            return *copy;
        }
        let mut node = self.old[id].clone();
        node.phase = Phase::Backward;
        let inputs: Vec<(NodeId, Access)> = node
            .inputs
            .into_iter()
            .map(|(input, access)| {
                let input = match self.again[input] {
                    true => self.copy(input),
                    false => self.renamed[input],
                };
                (input, access)
            })
            .collect();
        self.new.push(Node { inputs, ..node });
        self.copies.insert(id, self.new.len() - 1);
        self.new.len() - 1
    }
}
