//! What a program's kernels cost: how often they ran, how long, and how much they compute and move.
//!
//! Owns: the record [`KernelTime`] that every backend fills, the bytes that a kernel must move, and
//! the memory that a session holds. Must not know: any device, how time is measured.

use crate::access::Axis;
use crate::program::{Buffer, BufferId, Instr, Kernel, Place, Program, Step, TileAccess};
use ablate_graph::ir::Phase;
use std::collections::BTreeMap;
use std::sync::Arc;

const F32_BYTES: u64 = size_of::<f32>() as u64;

/// One kernel of a program and the time it took while profiling was on.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// Kind of the kernel, as [`Kernel::kind`].
    pub kind: &'static str,
    /// Size of its work: `8x512x64x512` for a batch of 8 products of m 512, n 64, k 512, else rows and
    /// columns; with `NT` after products whose operands are not (N) or are (T) transposed in memory.
    pub shape: String,
    /// Place in the model that it came from: `encoder/layer.0/attention/self`.
    pub scope: Arc<str>,
    /// Forward, backward or update.
    pub phase: Phase,
    /// Times that it ran.
    pub calls: u64,
    /// Time of all calls together.
    pub seconds: f64,
    /// Floating-point operations of the matrix products of one call (two per multiply-add).
    pub flops: f64,
    /// Bytes of the operands and results of one call, each counted once: what must be moved when
    /// nothing is in cache.
    pub bytes: u64,
    /// Bytes of this kernel's results that lie in the arena when most of it is in use: mostly values
    /// of the forward pass that wait for the backward pass.
    pub held_bytes: u64,
}

/// Memory that a session holds for its programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionMemory {
    /// Values that live inside a run, shared by all programs.
    pub arena_bytes: u64,
    /// Parameters, gradients, optimizer slots.
    pub state_bytes: u64,
    /// Fed inputs and constant index tables.
    pub input_bytes: u64,
    /// Tiles and partial results of the threads, packed operands.
    pub scratch_bytes: u64,
}

impl SessionMemory {
    /// All of it.
    pub fn total_bytes(&self) -> u64 {
        self.arena_bytes + self.state_bytes + self.input_bytes + self.scratch_bytes
    }
}

impl Program {
    /// One entry a kernel, in the order of execution, that has not run yet.
    pub fn kernel_times(&self) -> Vec<KernelTime> {
        let held = held(self);
        let entry = |(step, held): (&Step, u64)| KernelTime {
            kind: step.kernel.kind(),
            shape: shape(&step.kernel, &self.buffers),
            scope: step.scope.clone(),
            phase: step.phase,
            calls: 0,
            seconds: 0.0,
            flops: match &step.kernel {
                Kernel::Gemm { gemm, .. } => gemm.flops(),
                _ => 0.0,
            },
            bytes: bytes(&step.kernel, &self.buffers),
            held_bytes: held,
        };
        self.steps.iter().zip(held).map(entry).collect()
    }
}

/// For each step the bytes of its results in the arena during the step with the most of them.
fn held(program: &Program) -> Vec<u64> {
    // What is local to a block is never whole in memory.
    let local = crate::passes::blocks::locals(program);
    let in_arena =
        |b: BufferId| matches!(program.buffers[b].place, Place::Arena { .. }) && !local[b];
    // First writer and last user of each buffer.
    let mut lives: BTreeMap<BufferId, (usize, usize)> = BTreeMap::new();
    for (at, step) in program.steps.iter().enumerate() {
        let used = step.kernel.writes().into_iter().chain(step.kernel.reads());
        for buffer in used.filter(|b| in_arena(*b)) {
            lives.entry(buffer).or_insert((at, at)).1 = at;
        }
    }
    for (_, buffer) in &program.outputs {
        if let Some(life) = lives.get_mut(buffer) {
            life.1 = program.steps.len();
        }
    }
    let bytes = |b: BufferId| program.buffers[b].words() as u64 * F32_BYTES;
    // What each step adds to the bytes in use, and what is gone after it.
    let mut change = vec![0i64; program.steps.len() + 2];
    for (buffer, (first, last)) in &lives {
        change[*first] += bytes(*buffer) as i64;
        change[*last + 1] -= bytes(*buffer) as i64;
    }
    let (mut in_use, mut most, mut at) = (0, 0, 0);
    for (step, change) in change.iter().enumerate() {
        in_use += change;
        if in_use > most {
            (most, at) = (in_use, step);
        }
    }
    let mut held = vec![0; program.steps.len()];
    for (buffer, (first, last)) in &lives {
        if (*first..=*last).contains(&at) {
            held[*first] += bytes(*buffer);
        }
    }
    held
}

fn shape(kernel: &Kernel, buffers: &[Buffer]) -> String {
    match kernel {
        Kernel::Row(row) => format!("{}x{}", row.rows, row.cols),
        Kernel::Gemm { gemm, .. } => {
            let batch: String = gemm.batch.iter().map(|l| format!("{}x", l.size)).collect();
            let order = |inner: isize| if inner == 1 { 'N' } else { 'T' };
            let (m, n, k) = (gemm.m.size, gemm.n.size, gemm.k.size);
            format!("{batch}{m}x{n}x{k} {}{}", order(gemm.k.a), order(gemm.n.b))
        }
        other => {
            let written = other.writes();
            written
                .iter()
                .map(|b| buffers[*b].len.to_string())
                .collect()
        }
    }
}

impl TileAccess {
    /// Elements that it touches: axes of stride zero read the same one again.
    pub fn touched(&self) -> usize {
        let sizes = |axes: &[Axis]| -> usize {
            let moving = axes.iter().filter(|a| a.stride != 0);
            moving.map(|a| a.size).product()
        };
        sizes(&self.rows) * sizes(&self.cols)
    }
}

/// Bytes of a kernel's operands and results, each buffer once.
fn bytes(kernel: &Kernel, buffers: &[Buffer]) -> u64 {
    // A buffer may be larger than what the kernel reads of it (a slice, the rows of a table).
    let mut read: BTreeMap<BufferId, usize> = BTreeMap::new();
    let mut reads =
        |buffer: BufferId, elements: usize| *read.entry(buffer).or_default() += elements;
    match kernel {
        Kernel::Row(row) => {
            for instr in &row.instrs {
                if let Instr::Load { buffer, access } = instr {
                    reads(*buffer, access.touched());
                }
            }
        }
        Kernel::Gather {
            table, index, out, ..
        } => {
            reads(*table, buffers[*out].len);
            reads(*index, buffers[*index].len);
        }
        other => other
            .reads()
            .iter()
            .for_each(|b| reads(*b, buffers[*b].len)),
    }
    let number = |b: BufferId| buffers[b].storage.bytes();
    let read = read
        .iter()
        .map(|(b, n)| (*n).min(buffers[*b].len) * number(*b));
    let written = kernel.writes().into_iter();
    let written = written.map(|b| buffers[b].len * number(b));
    (read.sum::<usize>() + written.sum::<usize>()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use ablate_graph::Graph;

    #[test]
    fn a_product_moves_its_operands_and_result_once() {
        let mut g = Graph::new();
        let a = g.input("a", &[3, 5]).unwrap();
        let b = g.input("b", &[5, 7]).unwrap();
        let c = g.matmul(&a, &b).unwrap();
        g.output("c", &c).unwrap();
        let program = crate::compile(&g.lower().unwrap()).unwrap();
        let times = program.kernel_times();
        let gemm: Vec<_> = times.iter().filter(|t| t.kind == "gemm").collect();
        assert_eq!(gemm.len(), 1, "{program}");
        assert_eq!(gemm[0].flops, 2.0 * 3.0 * 5.0 * 7.0);
        assert_eq!(gemm[0].bytes, 4 * (15 + 35 + 21));
        assert_eq!(gemm[0].shape, "3x7x5 NN");
        assert_eq!((gemm[0].calls, gemm[0].seconds), (0, 0.0));
    }

    #[test]
    fn what_waits_for_its_reader_is_held() {
        // `first` waits while the chain of products runs; of the chain two values live at a time.
        let mut g = Graph::new();
        let x = g.input("x", &[4, 4]).unwrap();
        let first = g.scoped("first", |g| g.matmul(&x, &x)).unwrap();
        let mut y = x;
        for _ in 0..3 {
            y = g.scoped("chain", |g| g.matmul(&y, &first)).unwrap();
        }
        let z = g.scoped("last", |g| g.matmul(&y, &first)).unwrap();
        g.output("z", &z).unwrap();
        let program = crate::compile(&g.lower().unwrap()).unwrap();
        let times = program.kernel_times();
        let held = |scope: &str| -> u64 {
            let of = times.iter().filter(|t| &*t.scope == scope);
            of.map(|t| t.held_bytes).sum()
        };
        let all: u64 = times.iter().map(|t| t.held_bytes).sum();
        assert_eq!(held("first"), 64, "{program}");
        assert_eq!(all, 3 * 64, "{program}");
        assert!(all <= 4 * program.arena_len as u64);
    }

    #[test]
    fn a_broadcast_operand_and_a_looked_up_row_count_once() {
        let mut g = Graph::new();
        let x = g.input("x", &[6, 8]).unwrap();
        let bias = g.input("bias", &[8]).unwrap();
        let bias = g.expand(&bias, &[6, 8]).unwrap();
        let sum = g.add(&x, &bias).unwrap();
        g.output("sum", &sum).unwrap();
        let table = g.input("table", &[100, 8]).unwrap();
        let index = g.index_input("index", &[6], 100).unwrap();
        let rows = g.gather(&table, &index).unwrap();
        g.output("rows", &rows).unwrap();
        let program = crate::compile(&g.lower().unwrap()).unwrap();
        let bytes: BTreeMap<_, _> = program
            .kernel_times()
            .into_iter()
            .map(|t| (t.kind, t.bytes))
            .collect();
        assert_eq!(bytes["elementwise"], 4 * (48 + 8 + 48), "{program}");
        assert_eq!(bytes["gather"], 4 * (48 + 6 + 48), "{program}");
    }
}
