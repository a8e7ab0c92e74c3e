//! Groups of steps, block by block.
//!
//! Owns: where a thread's pointers point while it works on a block, and the time that each step takes
//! of a group's. Must not know: why steps are a group.
//!
//! Every thread takes whole blocks and runs the steps one after the other on each, with the kernels that
//! run them otherwise. A local buffer is one block long and lies in the thread's own memory; its pointer
//! is moved back by what the blocks before would take, so that kernels count rows and batches as ever.

use crate::backend::{Loaded, Plan};
use crate::bf16::element;
use crate::memory::{Memory, Shared};
use crate::row::Context;
use crate::{bias, jit, matmul, matmul_bf16, matmul_packed, row};
use ablate_compiler::program::{Group, Kernel, Storage};
use ablate_compiler::{KernelTime, Program};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What a program's groups need.
pub struct Blocks {
    /// A table of buffers for each thread, one after the other.
    tables: Vec<Shared>,
    /// Buffers of the program.
    width: usize,
    /// Time of each step in all threads, in nanoseconds.
    nanoseconds: Vec<AtomicU64>,
}

#[derive(Clone, Copy)]
struct Tables(*mut Shared);

// SAFETY: each thread uses its own table.
unsafe impl Send for Tables {}
// SAFETY: as above.
unsafe impl Sync for Tables {}

impl Tables {
    fn of(self, thread: usize, width: usize) -> *mut Shared {
        self.0.wrapping_add(thread * width)
    }
}

impl Blocks {
    /// Ready to run a program's groups; `None` if they cannot all keep the threads busy, or some
    /// step needs several threads.
    pub fn new(program: &Program, plans: &[Plan], threads: usize) -> Option<Blocks> {
        let alone = |plan: &Plan| match plan {
            Plan::Row(..) | Plan::Gemm(_) => true,
            Plan::GemmBf16(cut, _) => cut.divisible(),
            Plan::GemmPacked(cut, _) => cut.divisible(),
            Plan::None => false,
        };
        let fits = |group: &Group| {
            let enough = threads == 1 || group.blocks >= 2 * threads;
            enough && plans[group.steps.clone()].iter().all(alone)
        };
        program.groups.iter().all(fits).then(|| Blocks {
            tables: vec![Shared(std::ptr::null_mut()); threads * program.buffers.len()],
            width: program.buffers.len(),
            nanoseconds: program.steps.iter().map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// Takes over the buffers of a run.
    pub fn begin(&mut self, pointers: &[Shared]) {
        for table in self.tables.chunks_exact_mut(self.width.max(1)) {
            table.copy_from_slice(pointers);
        }
    }

    /// Where the tables are while a run writes to them.
    pub fn tables(&mut self) -> Shared {
        Shared(self.tables.as_mut_ptr().cast())
    }
}

/// 32-bit words of local memory that a thread needs for a program.
pub fn local_len(program: &Program) -> usize {
    program
        .groups
        .iter()
        .map(|g| g.local_len)
        .max()
        .unwrap_or(0)
}

/// Local memory of each thread.
pub fn memory(threads: usize) -> Vec<Memory> {
    (0..threads).map(|_| Memory::new(0)).collect()
}

/// What a group runs with.
pub struct Run<'a> {
    /// The program.
    pub loaded: &'a Loaded,
    /// Of [`Blocks::tables`].
    pub tables: Shared,
    /// Local memory of each thread.
    pub locals: &'a [Shared],
}

impl Run<'_> {
    /// Runs a group.
    ///
    /// # Safety
    /// As for the steps one by one; local memory of each thread is [`local_len`] long.
    pub unsafe fn group(&self, group: &Group, cx: &Context, times: Option<&mut [KernelTime]>) {
        let Some(blocks) = &self.loaded.blocks else {
            return;
        };
        let start = times.is_some().then(Instant::now);
        let timed = start.is_some();
        let tables = Tables(self.tables.0.cast());
        let program = &self.loaded.program;
        cx.pool.each(group.blocks, |block| {
            let thread = cx.pool.index();
            let table = tables.of(thread, blocks.width);
            let memory = self.locals[thread].0;
            for local in &group.locals {
                let start = memory.wrapping_add(local.offset);
                let half = program.buffers[local.buffer].storage == Storage::Bf16;
                let before = (block * local.len) as isize;
                let moved = Shared(element(start, half, -before));
                // SAFETY: the thread's own table, as long as the program has buffers.
                unsafe { *table.wrapping_add(local.buffer) = moved };
            }
            // SAFETY: as above; nothing writes to the table until the block is done.
            let buffers = unsafe { std::slice::from_raw_parts(table, blocks.width) };
            let own = Context { buffers, ..*cx };
            for step in group.steps.clone() {
                let start = timed.then(Instant::now);
                // SAFETY: the caller's promise; the compiler verified that blocks are independent.
                unsafe { self.step(step, block, group.blocks, &own) };
                if let Some(start) = start {
                    let time = start.elapsed().as_nanos() as u64;
                    blocks.nanoseconds[step].fetch_add(time, Ordering::Relaxed);
                }
            }
        });
        let (Some(times), Some(start)) = (times, start) else {
            return;
        };
        // The threads' time, shared out as they spent it.
        let wall = start.elapsed().as_secs_f64();
        let take = |s: usize| blocks.nanoseconds[s].swap(0, Ordering::Relaxed) as f64;
        let first = group.steps.start;
        let mut sum = 0.0;
        for step in group.steps.clone() {
            sum += blocks.nanoseconds[step].load(Ordering::Relaxed) as f64;
        }
        for (i, time) in times[group.steps.clone()].iter_mut().enumerate() {
            time.calls += 1;
            time.seconds += wall * take(first + i) / sum.max(1.0);
        }
    }

    /// # Safety
    /// As [`Run::group`].
    unsafe fn step(&self, step: usize, block: usize, blocks: usize, cx: &Context) {
        let kernel = &self.loaded.program.steps[step].kernel;
        let scratch = cx.scratch[cx.pool.index()];
        let at = |id: usize| cx.buffers[id];
        // SAFETY: the caller's promise.
        unsafe {
            match (kernel, &self.loaded.plans[step]) {
                (Kernel::Row(kernel), Plan::Row(plan, compiled)) => {
                    let rows = kernel.rows / blocks;
                    let rows = (block * rows, (block + 1) * rows);
                    match compiled {
                        Some(compiled) => jit::run_rows(plan, compiled, cx, rows),
                        None => row::run_rows(plan, cx, rows),
                    }
                }
                (
                    Kernel::Gemm {
                        gemm,
                        a,
                        b,
                        c,
                        bias: added,
                        ..
                    },
                    plan,
                ) => {
                    match plan {
                        Plan::Gemm(_) => {
                            let buffers = [at(*a), at(*b), at(*c)];
                            matmul::batch(cx.isa, scratch, gemm, block, buffers);
                        }
                        Plan::GemmBf16(cut, exchanged) => {
                            let buffers =
                                self.loaded.operands([*a, *b, *c], *exchanged, cx.buffers);
                            matmul_bf16::batch(cx.isa, scratch, cut, block, buffers);
                        }
                        Plan::GemmPacked(cut, exchanged) => {
                            let buffers =
                                self.loaded.operands([*a, *b, *c], *exchanged, cx.buffers);
                            matmul_packed::batch(cx.isa, scratch, cut, block, buffers);
                        }
                        _ => {}
                    }
                    if let Some(added) = added {
                        bias::batch(gemm, block, at(*c), at(*added));
                    }
                }
                // `Blocks::new` lets no other step pass.
                _ => {}
            }
        }
    }
}
