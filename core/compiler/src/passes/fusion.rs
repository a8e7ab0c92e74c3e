//! Pass `fusion`: which fusible nodes share a kernel, and the order of the kernels.
//!
//! Every node gets a level: one more than that of any operand that must be in memory first, the same
//! as that of operands it can take from a register. Nodes of one level and grid that feed each other,
//! or read the same value, share a kernel. Edges between kernels go to a higher level, so that no
//! circle can arise. Backward nodes wait until the level of their first user, or they would attach
//! themselves to forward kernels and make those write what only the backward needs; so do values made
//! of nothing but leaves, such as dropout masks, which then never reach memory.

use super::domain::{joins, Member};
use crate::ir::{Ir, NodeId};
use ablate_graph::ir::Phase;

/// Nodes by kernel: `group[node]` is the number of the node's group, `None` for leaves.
pub struct Groups {
    /// Group of each node.
    pub of: Vec<Option<usize>>,
    /// Nodes of each group, in topological order.
    pub nodes: Vec<Vec<NodeId>>,
}

/// Below this many elements, reading the same value is no reason to share a kernel.
const SMALL: usize = 64;

/// Runs the pass.
pub fn run(ir: &Ir, members: &[Option<Member>]) -> Groups {
    let count = ir.nodes.len();
    let users = ir.users();
    let level = levels(ir, members, &users);
    let mut sets = Sets((0..count).collect());
    for (id, node) in ir.nodes.iter().enumerate() {
        for (input, access) in &node.inputs {
            if level[*input] == level[id] && joins(ir, members, *input, access, id) {
                sets.join(*input, id);
            }
        }
        if node.len() <= SMALL {
            continue;
        }
        let mut first: Vec<NodeId> = vec![];
        for &user in &users[id] {
            let Some(member) = members[user] else {
                continue;
            };
            let same = first.iter().find(|f| {
                level[**f] == level[user] && members[**f].is_some_and(|m| m.domain == member.domain)
            });
            match same {
                Some(f) => sets.join(*f, user),
                None => first.push(user),
            }
        }
    }
    let mut groups = Groups {
        of: vec![None; count],
        nodes: vec![],
    };
    let mut number = vec![None; count];
    for id in 0..count {
        if ir.nodes[id].is_leaf() {
            continue;
        }
        let root = sets.root(id);
        let group = *number[root].get_or_insert_with(|| {
            groups.nodes.push(vec![]);
            groups.nodes.len() - 1
        });
        groups.of[id] = Some(group);
        groups.nodes[group].push(id);
    }
    groups
}

fn levels(ir: &Ir, members: &[Option<Member>], users: &[Vec<NodeId>]) -> Vec<usize> {
    let cost = |input: NodeId, access: &crate::access::Access, user: NodeId| {
        usize::from(!joins(ir, members, input, access, user))
    };
    let mut level = vec![0usize; ir.nodes.len()];
    for (id, node) in ir.nodes.iter().enumerate() {
        level[id] = node
            .inputs
            .iter()
            .filter(|(input, _)| !ir.nodes[*input].is_leaf())
            .map(|(input, access)| level[*input] + cost(*input, access, id))
            .max()
            .unwrap_or(0);
    }
    let mut of_leaves: Vec<bool> = Vec::with_capacity(ir.nodes.len());
    for node in &ir.nodes {
        let leaves = node.inputs.iter().all(|(i, _)| of_leaves[*i]);
        of_leaves.push(node.is_leaf() || node.is_elementwise() && leaves);
    }
    let mut pinned = vec![false; ir.nodes.len()];
    ir.roots().for_each(|r| pinned[r] = true);
    for id in (0..ir.nodes.len()).rev() {
        let node = &ir.nodes[id];
        let late = node.phase == Phase::Backward || of_leaves[id];
        if node.is_leaf() || !late || users[id].is_empty() || pinned[id] {
            continue;
        }
        let latest = users[id]
            .iter()
            .flat_map(|&user| {
                let reads = ir.nodes[user]
                    .inputs
                    .iter()
                    .filter(move |(input, _)| *input == id);
                let level = &level;
                reads.map(move |(_, access)| level[user].saturating_sub(cost(id, access, user)))
            })
            .min();
        level[id] = level[id].max(latest.unwrap_or(0));
    }
    level
}

struct Sets(Vec<usize>);

impl Sets {
    fn root(&mut self, mut i: usize) -> usize {
        while self.0[i] != i {
            self.0[i] = self.0[self.0[i]];
            i = self.0[i];
        }
        i
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a] = b;
    }
}

/// An order of the groups in which every group comes after those that it needs; among ready ones,
/// that whose last node was made first.
///
/// `needs[g]` lists the groups that group `g` reads. Groups left out of `used` are skipped.
pub fn order(groups: &Groups, needs: &[Vec<usize>], used: &[bool]) -> Vec<usize> {
    let count = groups.nodes.len();
    let mut waiting = vec![0usize; count];
    let mut followers: Vec<Vec<usize>> = vec![vec![]; count];
    for (group, list) in needs.iter().enumerate() {
        if !used[group] {
            continue;
        }
        waiting[group] = list.len();
        for need in list {
            followers[*need].push(group);
        }
    }
    let key = |g: usize| (groups.nodes[g].last().copied().unwrap_or(0), g);
    let mut ready: std::collections::BTreeSet<(NodeId, usize)> = (0..count)
        .filter(|&g| used[g] && waiting[g] == 0)
        .map(key)
        .collect();
    let mut order = vec![];
    while let Some((_, group)) = ready.pop_first() {
        order.push(group);
        for &follower in &followers[group] {
            waiting[follower] -= 1;
            if waiting[follower] == 0 {
                ready.insert(key(follower));
            }
        }
    }
    order
}
