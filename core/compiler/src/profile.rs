//! What a program's kernels cost: how often they ran, how long, and how much they compute and move.
//!
//! Owns: the record [`KernelTime`] that every backend fills, the bytes that a kernel must move, and
//! the memory that a session holds. Must not know: any device, how time is measured.

use crate::access::Axis;
use crate::program::{Buffer, BufferId, Instr, Kernel, Program, TileAccess};
use ablate_graph::ir::Phase;
use std::collections::BTreeMap;
use std::sync::Arc;

const F32_BYTES: u64 = size_of::<f32>() as u64;

/// One kernel of a program and the time it took while profiling was on.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// Kind of the kernel, as [`Kernel::kind`].
    pub kind: &'static str,
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
        let entry = |step: &crate::program::Step| KernelTime {
            kind: step.kernel.kind(),
            scope: step.scope.clone(),
            phase: step.phase,
            calls: 0,
            seconds: 0.0,
            flops: match &step.kernel {
                Kernel::Gemm { gemm, .. } => gemm.flops(),
                _ => 0.0,
            },
            bytes: bytes(&step.kernel, &self.buffers),
        };
        self.steps.iter().map(entry).collect()
    }
}

/// Elements that an access touches: axes of stride zero read the same one again.
fn touched(access: &TileAccess) -> usize {
    let sizes = |axes: &[Axis]| -> usize {
        let moving = axes.iter().filter(|a| a.stride != 0);
        moving.map(|a| a.size).product()
    };
    sizes(&access.rows) * sizes(&access.cols)
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
                    reads(*buffer, touched(access));
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
    let read: usize = read.iter().map(|(b, n)| (*n).min(buffers[*b].len)).sum();
    let written: usize = kernel.writes().iter().map(|b| buffers[*b].len).sum();
    (read + written) as u64 * F32_BYTES
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
        assert_eq!((gemm[0].calls, gemm[0].seconds), (0, 0.0));
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
