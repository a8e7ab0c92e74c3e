//! Pass `recompute`: forward values that are made again in the backward instead of kept for it.
//!
//! Owns the choice; `emit` writes the kernels. A value that a product of the backward reads must lie in
//! memory when it is read, but need not lie there from the forward on. Where a kernel of the backward
//! reads what the value is made of, that kernel can write the value once more, mostly into the place
//! of the operand that it reads last. The cost is one write; the gain is the value's memory over
//! the whole time between forward and backward. A GELU's result, dropped probabilities and the
//! results of layer norms are of this kind: their operands are kept for their own gradients.
//!
//! Source of the idea: Chen, Xu, Zhang and Guestrin, "Training deep nets with sublinear memory cost",
//! arXiv:1604.06174, 2016; here only values are chosen that cost no extra read.

use super::domain::{joins, Member, Role};
use super::emit::Repeatable;
use super::fusion::Groups;
use crate::ir::{Ir, NodeId};
use ablate_graph::ir::Phase;
use std::collections::{HashMap, HashSet};

/// Smaller values are not worth a second write.
const LARGE: usize = 1 << 12;

/// Index into [`Groups::nodes`].
pub type Group = usize;

/// What is made again, where, and who reads it.
#[derive(Default)]
pub struct Again {
    /// The values that a group makes again, in order.
    pub hosted: HashMap<Group, Vec<NodeId>>,
    /// Groups that read the value as it was made again.
    pub readers: HashSet<(Group, NodeId)>,
    /// A group and one that must run before it, for each reader.
    pub after: Vec<(Group, Group)>,
}

/// Runs the pass.
pub fn run(ir: &Ir, members: &[Option<Member>], groups: &Groups, repeat: &Repeatable) -> Again {
    let uses = uses(ir, members, groups, repeat);
    let mut order = Order::new(ir, groups);
    let mut again = Again::default();
    let mut fixed = vec![false; ir.nodes.len()];
    ir.roots().for_each(|r| fixed[r] = true);
    for (id, node) in ir.nodes.iter().enumerate() {
        let full = members[id].filter(|m| m.role == Role::Full);
        let (Some(member), Some(readers)) = (full, uses.get(&id)) else {
            continue;
        };
        if node.phase != Phase::Forward || !node.is_elementwise() || fixed[id] || node.len() < LARGE
        {
            continue;
        }
        let [operand] = repeat.operands(ir, members, id)[..] else {
            continue;
        };
        // The last kernel of the backward that reads the operand, so that the operand ends there.
        let host = uses
            .get(&operand)
            .into_iter()
            .flatten()
            .copied()
            .filter(|g| same_grid(members, groups, *g, member))
            .max_by_key(|g| order.place[*g]);
        let Some(host) = host else { continue };
        let others: Vec<Group> = readers.iter().copied().filter(|g| *g != host).collect();
        if others.is_empty() || !order.add(host, &others) {
            continue;
        }
        again.hosted.entry(host).or_default().push(id);
        for reader in others {
            again.readers.insert((reader, id));
            again.after.push((reader, host));
        }
    }
    again
}

/// Whether all of a group's nodes work on the grid of `member`.
fn same_grid(members: &[Option<Member>], groups: &Groups, group: Group, member: Member) -> bool {
    let fits = |id: &NodeId| members[*id].is_some_and(|m| m.domain == member.domain);
    groups.nodes[group].iter().all(fits)
}

/// For each forward value the groups of the backward that read it from memory, in order.
fn uses(
    ir: &Ir,
    members: &[Option<Member>],
    groups: &Groups,
    repeat: &Repeatable,
) -> HashMap<NodeId, Vec<Group>> {
    let mut uses: HashMap<NodeId, Vec<Group>> = HashMap::new();
    for (id, node) in ir.nodes.iter().enumerate() {
        let (Phase::Backward, Some(group)) = (node.phase, groups.of[id]) else {
            continue;
        };
        for (input, access) in &node.inputs {
            let again = repeat.0[*input] && joins(ir, members, *input, access, id);
            let read = if again {
                &repeat.1[*input][..]
            } else {
                std::slice::from_ref(input)
            };
            for value in read {
                let list = uses.entry(*value).or_default();
                if !list.contains(&group) {
                    list.push(group);
                }
            }
        }
    }
    uses
}

/// The order of groups, to which readers are added that wait for a host.
struct Order {
    /// Groups that read a group's results.
    followers: Vec<Vec<Group>>,
    /// Number of the last node that a group makes: later groups have later nodes, mostly.
    place: Vec<NodeId>,
}

impl Order {
    fn new(ir: &Ir, groups: &Groups) -> Self {
        let mut followers: Vec<Vec<Group>> = vec![vec![]; groups.nodes.len()];
        for (id, node) in ir.nodes.iter().enumerate() {
            let Some(group) = groups.of[id] else { continue };
            for (input, _) in &node.inputs {
                if let Some(source) = groups.of[*input].filter(|s| *s != group) {
                    if !followers[source].contains(&group) {
                        followers[source].push(group);
                    }
                }
            }
        }
        let last = |nodes: &Vec<NodeId>| nodes.last().copied().unwrap_or(0);
        Order {
            followers,
            place: groups.nodes.iter().map(last).collect(),
        }
    }

    /// Lets every reader wait for the host, unless the host waits for one of them.
    fn add(&mut self, host: Group, readers: &[Group]) -> bool {
        let mut seen: HashSet<Group> = readers.iter().copied().collect();
        let mut open: Vec<Group> = readers.to_vec();
        while let Some(group) = open.pop() {
            if group == host {
                return false;
            }
            let next = self.followers[group].iter().copied();
            open.extend(next.filter(|g| seen.insert(*g)));
        }
        self.followers[host].extend(readers);
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::program::{Place, Program};
    use ablate_graph::ir::Phase;
    use ablate_graph::Graph;

    /// Two products with a GELU between them and all gradients, as a program.
    fn program(rows: usize) -> Program {
        let mut g = Graph::new();
        let x = g.input("x", &[rows, 64]).expect("fits");
        let up = g.parameter("up", &[128, 64]).expect("fits");
        let down = g.parameter("down", &[32, 128]).expect("fits");
        let h = g.linear(&x, &up, None).expect("fits");
        let h = g.gelu(&h).expect("fits");
        let y = g.linear(&h, &down, None).expect("fits");
        let y = g.tanh(&y).expect("fits");
        let loss = g.sum_all(&y).expect("fits");
        let gradients = g.gradients(&loss, &[up, down]).expect("reached");
        for (name, gradient) in ["up", "down"].into_iter().zip(&gradients) {
            g.output(name, gradient).expect("new");
        }
        crate::compile(&g.lower().expect("lowers")).expect("compiles")
    }

    /// Results of elementwise kernels of the forward that the backward reads.
    fn kept(program: &Program, len: usize) -> usize {
        let forward = program
            .steps
            .iter()
            .filter(|s| s.phase == Phase::Forward && s.kernel.kind() == "elementwise");
        let made: Vec<usize> = forward.flat_map(|s| s.kernel.writes()).collect();
        let backward = program.steps.iter().filter(|s| s.phase == Phase::Backward);
        let read: Vec<usize> = backward.flat_map(|s| s.kernel.reads()).collect();
        let kept = made.iter().filter(|b| read.contains(b));
        kept.filter(|b| program.buffers[**b].len == len).count()
    }

    #[test]
    fn a_gelu_is_not_kept_for_the_product_that_reads_it_in_the_backward() {
        let program = program(64);
        assert_eq!(kept(&program, 64 * 128), 0, "{program}");
        // It is made again in the place of what it is made of: no more than the product's result, and
        // the gradient of the GELU or its result, are there at a time.
        let mut places: Vec<usize> = vec![];
        for buffer in program.buffers.iter().filter(|b| b.len == 64 * 128) {
            if let Place::Arena { offset } = buffer.place {
                places.push(offset);
            }
        }
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 2, "{program}");
    }

    #[test]
    fn small_values_are_kept() {
        assert_eq!(kept(&program(16), 16 * 128), 1, "{}", program(16));
    }
}
