//! Pass `spread`: a value that is larger than all it is made of is made where it is read.
//!
//! The graph computes what two operands share once and broadcasts the result. That is right for results
//! that cost something. A comparison of every query's number with every key's is larger than its operands
//! and costs less than its own load: written once for all heads and layers, it would be a kernel, a
//! buffer and a read for each of them. So where an elementwise node reads such a value through a
//! broadcast, the value is written anew at the size of the reader, whose kernel can then take it
//! from a register; `emit` sees to it that it is never stored.

use crate::access::Access;
use crate::ir::{Ir, Node, NodeId};
use std::collections::HashMap;

/// Which values are free to make again: elementwise over constants, leaves smaller than themselves,
/// and other such values, none of them padded.
pub fn free(ir: &Ir) -> Vec<bool> {
    let mut free: Vec<bool> = Vec::with_capacity(ir.nodes.len());
    for node in &ir.nodes {
        let cheap = |(input, access): &(NodeId, Access)| {
            let source = &ir.nodes[*input];
            !access.is_guarded() && (source.is_leaf() && source.len() < node.len() || free[*input])
        };
        free.push(node.is_elementwise() && node.inputs.iter().all(cheap));
    }
    free
}

/// Runs the pass.
pub fn run(ir: &mut Ir) {
    let free = free(ir);
    let mut spread = Spread {
        old: std::mem::take(&mut ir.nodes),
        free,
        new: vec![],
        renamed: vec![],
        known: HashMap::new(),
    };
    for id in 0..spread.old.len() {
        let mut node = spread.old[id].clone();
        let reader = node.is_elementwise() && !spread.free[id];
        for (input, access) in &mut node.inputs {
            let broadcast = access.len() > spread.old[*input].len() && !access.is_guarded();
            let at_size = (reader && broadcast && spread.free[*input])
                .then(|| spread.at_size(*input, access))
                .flatten();
            match at_size {
                Some(made) => (*input, *access) = (made, Access::dense(&node.shape)),
                None => *input = spread.renamed[*input],
            }
        }
        spread.renamed.push(spread.new.len());
        spread.new.push(node);
    }
    let renamed = &spread.renamed;
    let roots = ir.outputs.iter_mut().chain(&mut ir.assigns);
    roots.for_each(|(_, id)| *id = renamed[*id]);
    ir.nodes = spread.new;
    ir.remove_dead();
}

struct Spread {
    old: Vec<Node>,
    free: Vec<bool>,
    new: Vec<Node>,
    /// New number of each old node.
    renamed: Vec<NodeId>,
    /// What has been made at another size, by the old node and the map through which it was read:
    /// readers of one size share it.
    known: HashMap<(NodeId, Access), NodeId>,
}

impl Spread {
    /// The free value `id`, read through `access`, as a dense value; `None` when the maps of its
    /// operands do not compose.
    fn at_size(&mut self, id: NodeId, access: &Access) -> Option<NodeId> {
        let key = (id, access.clone());
        if let Some(made) = self.known.get(&key) {
            return Some(*made);
        }
        let old = self.old[id].clone();
        let shape = access.shape();
        let mut inputs = Vec::with_capacity(old.inputs.len());
        for (input, inner) in &old.inputs {
            let through = access.compose(&old.shape, inner)?;
            inputs.push(if self.free[*input] {
                (self.at_size(*input, &through)?, Access::dense(&shape))
            } else {
                (self.renamed[*input], through)
            });
        }
        self.new.push(Node {
            inputs,
            shape,
            ..old
        });
        self.known.insert(key, self.new.len() - 1);
        Some(self.new.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use crate::ir::Kind;
    use ablate_graph::Graph;

    /// The sizes of the values that are made of `rows` and `columns` alone.
    fn comparisons(g: &Graph) -> Vec<Vec<usize>> {
        let mut ir = super::super::import::run(&g.lower().expect("lowers"));
        ir = super::super::canonicalize::run(ir);
        super::run(&mut ir);
        ir.verify("spread").expect("sound");
        let equal = |kind: &Kind| matches!(kind, Kind::Binary(crate::ir::Binary::Equal));
        let nodes = ir.nodes.iter().filter(|n| equal(&n.kind));
        nodes.map(|n| n.shape.clone()).collect()
    }

    #[test]
    fn a_comparison_is_made_at_the_size_of_its_reader() {
        let mut g = Graph::new();
        let x = g.input("x", &[4, 3, 5]).expect("fits");
        let rows = g.input("rows", &[3, 1]).expect("fits");
        let columns = g.input("columns", &[5]).expect("fits");
        let same = g.equal(&rows, &columns).expect("fits");
        let scaled = g.mul_scalar(&same, 7.0).expect("fits");
        let read = g.add(&x, &scaled).expect("fits");
        g.output("read", &read).expect("new");
        assert_eq!(comparisons(&g), [vec![4, 3, 5]]);
        // A reader of its own size keeps it; both readers together need both.
        let own = g.sin(&scaled).expect("fits");
        g.output("own", &own).expect("new");
        assert_eq!(comparisons(&g), [vec![3, 5], vec![4, 3, 5]]);
    }

    #[test]
    fn what_is_no_larger_than_its_operands_stays() {
        let mut g = Graph::new();
        let x = g.input("x", &[4, 3, 5]).expect("fits");
        let a = g.input("a", &[3, 5]).expect("fits");
        let b = g.input("b", &[3, 5]).expect("fits");
        let same = g.equal(&a, &b).expect("fits");
        let read = g.add(&x, &same).expect("fits");
        g.output("read", &read).expect("new");
        assert_eq!(comparisons(&g), [vec![3, 5]]);
    }
}
