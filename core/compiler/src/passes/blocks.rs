//! Pass `blocks`: which steps can run block by block, so that what they hand to each other stays in cache.
//!
//! Attention multiplies queries with keys, makes probabilities of the scores, and multiplies those with the
//! values, for every head of every example by itself. Done head after head, scores and probabilities are
//! needed for one head at a time: they become local to the block and have no place in memory. Found by
//! strides alone: a batched product, and whatever reads or writes its result batch by batch.
//!
//! The steps stay what they are, in an order in which a group's steps are neighbours
//! ([`Group`]); row kernels of one grid in a group are joined, so that the backward makes probabilities once.

use super::merge::join_rows;
use crate::access::Access;
use crate::ir::{Gemm, Level};
use crate::program::{
    BufferId, Group, Instr, Kernel, Local, Place, Program, RowKernel, Step, TileAccess,
};
use std::collections::{BTreeSet, HashMap};

/// Runs the pass. Locals get their places from pass `buffers`.
pub fn run(program: &mut Program) {
    let mut taken = vec![false; program.steps.len()];
    let mut found: Vec<Found> = vec![];
    for seed in 0..program.steps.len() {
        if taken[seed] {
            continue;
        }
        if let Some(group) = Search::new(program, &taken, seed).and_then(Search::run) {
            group.steps.iter().for_each(|s| taken[*s] = true);
            found.push(group);
        }
    }
    let mut needs = needs(program);
    for group in &mut found {
        join_rows(program, group, &mut needs);
    }
    reorder(program, &found, &needs);
}

/// A group in the making.
pub struct Found {
    /// Steps in order.
    pub steps: BTreeSet<usize>,
    /// Number of blocks.
    pub blocks: usize,
    /// Buffers that are local to a block.
    pub locals: BTreeSet<BufferId>,
}

/// True when the kernel's rows and columns are read in the order in which they lie in memory.
pub fn same_position(kernel: &RowKernel, access: &TileAccess, full: bool) -> bool {
    let axes = access.rows.iter().chain(&access.cols).copied().collect();
    let access = Access {
        axes,
        offset: access.offset,
    };
    let len = match full {
        true => kernel.rows * kernel.cols,
        false => kernel.rows,
    };
    access.is_dense() && access.len() == len
}

/// True when batch `i` of an operand lies in part `i` of the buffer's `blocks` equal parts.
fn batch_by_batch(gemm: &Gemm, operand: usize, len: usize, blocks: usize) -> bool {
    let stride = |l: &Level| [l.a, l.b, l.c][operand];
    let mut expected = (len / blocks) as isize;
    for level in gemm.batch.iter().rev() {
        if level.size > 1 && stride(level) != expected {
            return false;
        }
        expected *= level.size as isize;
    }
    let start = gemm.offset.get(operand).copied().unwrap_or(0);
    let (mut low, mut high) = (start, start);
    for level in [&gemm.m, &gemm.n, &gemm.k] {
        let reach = stride(level) * (level.size as isize - 1);
        (low, high) = (low + reach.min(0), high + reach.max(0));
    }
    len.is_multiple_of(blocks) && low >= 0 && high < (len / blocks) as isize
}

/// True when block `i` of the step touches part `i` of the buffer only.
fn aligned(step: &Step, buffer: BufferId, len: usize, blocks: usize) -> bool {
    if !len.is_multiple_of(blocks) {
        return false;
    }
    match &step.kernel {
        Kernel::Gemm { gemm, a, b, c, .. } => [*a, *b, *c]
            .iter()
            .enumerate()
            .all(|(i, x)| *x != buffer || batch_by_batch(gemm, i, len, blocks)),
        Kernel::Row(kernel) => kernel.instrs.iter().all(|instr| match instr {
            Instr::Load { buffer: b, access } if *b == buffer => {
                same_position(kernel, access, len == kernel.rows * kernel.cols)
            }
            _ => true,
        }),
        _ => false,
    }
}

/// What orders steps: a buffer of the arena, or a state, which several buffers name.
fn resource(program: &Program, buffer: BufferId) -> Result<BufferId, &str> {
    match &program.buffers[buffer].place {
        Place::State(name) => Err(name),
        _ => Ok(buffer),
    }
}

/// For each step the earlier steps that must stay before it.
fn needs(program: &Program) -> Vec<Vec<usize>> {
    let mut writer: HashMap<Result<BufferId, &str>, usize> = HashMap::new();
    let mut readers: HashMap<Result<BufferId, &str>, Vec<usize>> = HashMap::new();
    let mut needs = Vec::with_capacity(program.steps.len());
    for (number, step) in program.steps.iter().enumerate() {
        let mut list = vec![];
        for buffer in step.kernel.reads() {
            let key = resource(program, buffer);
            list.extend(writer.get(&key));
            readers.entry(key).or_default().push(number);
        }
        for buffer in step.kernel.writes() {
            let key = resource(program, buffer);
            list.extend(writer.insert(key, number));
            list.extend(readers.remove(&key).unwrap_or_default());
        }
        list.retain(|n| *n != number);
        list.sort_unstable();
        list.dedup();
        needs.push(list);
    }
    needs
}

/// Grows a group from a batched product.
struct Search<'a> {
    program: &'a Program,
    taken: &'a [bool],
    seed: usize,
    blocks: usize,
    steps: BTreeSet<usize>,
    locals: BTreeSet<BufferId>,
}

impl<'a> Search<'a> {
    fn new(program: &'a Program, taken: &'a [bool], seed: usize) -> Option<Self> {
        let Kernel::Gemm { gemm, .. } = &program.steps[seed].kernel else {
            return None;
        };
        let blocks = gemm.batch.iter().map(|l| l.size).product();
        (blocks > 1).then(|| Search {
            program,
            taken,
            seed,
            blocks,
            steps: BTreeSet::new(),
            locals: BTreeSet::new(),
        })
    }

    fn in_arena(&self, buffer: BufferId) -> bool {
        matches!(self.program.buffers[buffer].place, Place::Arena { .. })
    }

    /// Whether a step can run block by block at all.
    fn divisible(&self, number: usize) -> bool {
        let step = &self.program.steps[number];
        let work = match &step.kernel {
            Kernel::Gemm { gemm, .. } => {
                gemm.batch.iter().map(|l| l.size).product::<usize>() == self.blocks
            }
            Kernel::Row(kernel) => {
                kernel.accumulates.is_empty() && kernel.rows.is_multiple_of(self.blocks)
            }
            _ => false,
        };
        let phase = step.phase == self.program.steps[self.seed].phase;
        let arena = step.kernel.writes().iter().all(|b| self.in_arena(*b));
        work && phase && arena && !self.taken[number]
    }

    /// The steps that touch a buffer, if all of them can run block by block and it is theirs alone.
    fn users(&self, buffer: BufferId) -> Option<Vec<usize>> {
        let output = self.program.outputs.iter().any(|(_, b)| *b == buffer);
        if !self.in_arena(buffer) || output {
            return None;
        }
        let len = self.program.buffers[buffer].len;
        let touches =
            |s: &Step| s.kernel.reads().contains(&buffer) || s.kernel.writes().contains(&buffer);
        let steps = self.program.steps.iter().enumerate();
        let users: Vec<usize> = steps.filter(|(_, s)| touches(s)).map(|(i, _)| i).collect();
        let fits = users.iter().all(|u| {
            self.divisible(*u) && aligned(&self.program.steps[*u], buffer, len, self.blocks)
        });
        (fits && users.len() > 1).then_some(users)
    }

    fn run(mut self) -> Option<Found> {
        let mut seen = BTreeSet::new();
        let mut open = self.program.steps[self.seed].kernel.writes();
        while let Some(buffer) = open.pop() {
            if !seen.insert(buffer) {
                continue;
            }
            let Some(users) = self.users(buffer) else {
                continue;
            };
            self.locals.insert(buffer);
            for user in users {
                if self.steps.insert(user) {
                    let kernel = &self.program.steps[user].kernel;
                    open.extend(kernel.reads().into_iter().chain(kernel.writes()));
                }
            }
        }
        (!self.locals.is_empty() && self.ordered() && self.convex()).then_some(Found {
            steps: self.steps,
            blocks: self.blocks,
            locals: self.locals,
        })
    }

    /// What one step of the group writes and another touches is touched block by block.
    fn ordered(&self) -> bool {
        let steps = || self.steps.iter().map(|s| &self.program.steps[*s]);
        let mut written = steps().flat_map(|s| s.kernel.writes());
        written.all(|buffer| {
            let len = self.program.buffers[buffer].len;
            let touch = |s: &&Step| {
                s.kernel.reads().contains(&buffer) || s.kernel.writes().contains(&buffer)
            };
            steps().filter(touch).count() == 1
                || steps().all(|s| aligned(s, buffer, len, self.blocks))
        })
    }

    /// No step outside waits for one inside while another inside waits for it.
    fn convex(&self) -> bool {
        let mut after = vec![false; self.program.steps.len()];
        for (number, needs) in needs(self.program).iter().enumerate() {
            let inside = self.steps.contains(&number);
            if inside && needs.iter().any(|n| after[*n]) {
                return false;
            }
            after[number] = !inside && needs.iter().any(|n| after[*n] || self.steps.contains(n));
        }
        true
    }
}

/// Puts the steps in an order in which those of a group are neighbours.
fn reorder(program: &mut Program, found: &[Found], needs: &[Vec<usize>]) {
    let count = program.steps.len();
    let mut unit: Vec<usize> = (0..count).collect();
    for group in found {
        // The number of its last step is the group's.
        let last = group.steps.last().copied().unwrap_or_default();
        group.steps.iter().for_each(|s| unit[*s] = last);
    }
    // Everything that a unit waits for, then its own steps.
    let mut order: Vec<usize> = Vec::with_capacity(count);
    let mut done = vec![false; count];
    for step in 0..count {
        visit(unit[step], needs, &unit, &mut done, &mut order);
    }
    let mut old: Vec<Option<Step>> = std::mem::take(&mut program.steps)
        .into_iter()
        .map(Some)
        .collect();
    let mut place = vec![None; count];
    for number in order {
        let empty = |s: &Step| matches!(&s.kernel, Kernel::Row(k) if k.instrs.is_empty());
        if let Some(step) = old[number].take().filter(|s| !empty(s)) {
            place[number] = Some(program.steps.len());
            program.steps.push(step);
        }
    }
    for group in found {
        let places: Vec<usize> = group.steps.iter().filter_map(|s| place[*s]).collect();
        let (Some(first), Some(last)) = (places.iter().min(), places.iter().max()) else {
            continue;
        };
        let locals = group.locals.iter().map(|buffer| Local {
            buffer: *buffer,
            len: program.buffers[*buffer].len / group.blocks,
            offset: 0,
        });
        program.groups.push(Group {
            steps: *first..*last + 1,
            blocks: group.blocks,
            locals: locals.collect(),
            local_len: 0,
        });
    }
    program.groups.sort_by_key(|g| g.steps.start);
}

fn visit(
    of: usize,
    needs: &[Vec<usize>],
    unit: &[usize],
    done: &mut [bool],
    order: &mut Vec<usize>,
) {
    if done[of] {
        return;
    }
    done[of] = true;
    let own: Vec<usize> = (0..=of).filter(|s| unit[*s] == of).collect();
    for step in &own {
        for need in needs[*step].iter().filter(|n| unit[**n] != of) {
            visit(unit[*need], needs, unit, done, order);
        }
    }
    // The group's own steps, those that need others of it after them.
    let mut inside: BTreeSet<usize> = own.iter().copied().collect();
    while let Some(next) = inside
        .iter()
        .copied()
        .find(|s| !needs[*s].iter().any(|n| inside.contains(n)))
    {
        inside.remove(&next);
        order.push(next);
    }
}

/// Whether a buffer is local to a group, by buffer.
pub fn locals(program: &Program) -> Vec<bool> {
    let mut local = vec![false; program.buffers.len()];
    for group in &program.groups {
        group.locals.iter().for_each(|l| local[l.buffer] = true);
    }
    local
}
