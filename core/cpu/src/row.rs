//! Row kernels: tile after tile, instruction after instruction.

use crate::bf16::{element, round, Element};
use crate::memory::Shared;
use crate::plan::{RowPlan, Slot};
use crate::pool::Pool;
use crate::strided;
use crate::vector::{self, Isa, Operand};
use ablate_compiler::ir::Reduction;
use ablate_compiler::program::{Instr, Span, TileAccess};
use ablate_random::Stream;

/// What a kernel runs with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Threads.
    pub pool: &'a Pool,
    /// Instruction set.
    pub isa: Isa,
    /// Pointers of the program's buffers.
    pub buffers: &'a [Shared],
    /// Scratch memory of each thread.
    pub scratch: &'a [Shared],
    /// Partial results of accumulations.
    pub partials: Shared,
    /// Packed operands of matrix products.
    pub packed: Shared,
    /// Random numbers: seed and step.
    pub key: ablate_graph::RandomKey,
}

/// Runs a row kernel.
///
/// # Safety
/// The buffers are those of the kernel's program, with the lengths it says; scratch memory and
/// partial results are as large as the plan says.
pub unsafe fn run(plan: &RowPlan, cx: &Context) {
    let work = |chunk: usize| {
        let scratch = cx.scratch[cx.pool.index()];
        // SAFETY: the caller's promise; chunks write disjoint rows and partial results.
        unsafe {
            Tile {
                plan,
                cx,
                scratch,
                first: 0,
                rows: 0,
                chunk,
            }
            .chunk(plan.chunks[chunk])
        };
    };
    cx.pool.each(plan.chunks.len(), work);
    // SAFETY: the partial results were written above.
    unsafe { fold_partials(plan, cx) };
}

/// Runs some rows of a row kernel without accumulations, on this thread.
///
/// # Safety
/// As [`run`].
pub unsafe fn run_rows(plan: &RowPlan, cx: &Context, rows: (usize, usize)) {
    let scratch = cx.scratch[cx.pool.index()];
    // SAFETY: the caller's promise.
    unsafe {
        Tile {
            plan,
            cx,
            scratch,
            first: 0,
            rows: 0,
            chunk: 0,
        }
        .chunk(rows)
    };
}

/// Folds the partial results of the chunks, in order.
///
/// # Safety
/// The partial results of every chunk were written.
pub unsafe fn fold_partials(plan: &RowPlan, cx: &Context) {
    for (acc, at) in plan.kernel.accumulates.iter().zip(&plan.partials) {
        let width = if acc.full { plan.kernel.cols } else { 1 };
        let stride = width.next_multiple_of(16);
        // SAFETY: the partial results were written above; the result buffer is `width` long.
        unsafe {
            let out = std::slice::from_raw_parts_mut(cx.buffers[acc.buffer].0, width);
            let first = cx.partials.0.add(*at);
            out.copy_from_slice(std::slice::from_raw_parts(first, width));
            for chunk in 1..plan.chunks.len() {
                let part = Operand {
                    start: first.add(chunk * stride),
                    row_stride: 0,
                    splat: false,
                };
                vector::accumulate(cx.isa, acc.op, out.as_mut_ptr(), part, 1, width);
            }
        }
    }
}

struct Tile<'a> {
    plan: &'a RowPlan,
    cx: &'a Context<'a>,
    scratch: Shared,
    /// First row of the tile.
    first: usize,
    /// Rows of the tile.
    rows: usize,
    chunk: usize,
}

impl Tile<'_> {
    /// # Safety
    /// As [`run`].
    unsafe fn chunk(&mut self, (from, to): (usize, usize)) {
        let plan = self.plan;
        // What is the same in every row is made once.
        for id in 0..plan.kernel.instrs.len() {
            if matches!(plan.kernel.spans[id], Span::Scalar | Span::Column) {
                // SAFETY: the caller's promise.
                unsafe { self.instr(id) };
            }
        }
        for (acc, at) in plan.kernel.accumulates.iter().zip(&plan.partials) {
            let width = if acc.full { plan.kernel.cols } else { 1 };
            // SAFETY: partial results are as large as the plan says, and this chunk's are its own.
            let out = unsafe { std::slice::from_raw_parts_mut(self.partial(*at, width), width) };
            out.fill(match acc.op {
                Reduction::Sum => 0.0,
                Reduction::Max => f32::NEG_INFINITY,
            });
        }
        self.first = from;
        while self.first < to {
            self.rows = plan.tile_rows.min(to - self.first);
            for id in 0..plan.kernel.instrs.len() {
                if matches!(plan.kernel.spans[id], Span::Row | Span::Full) {
                    // SAFETY: the caller's promise.
                    unsafe { self.instr(id) };
                }
            }
            // SAFETY: the caller's promise.
            unsafe { self.finish() };
            self.first += self.rows;
        }
    }

    fn partial(&self, at: usize, width: usize) -> *mut f32 {
        let stride = width.next_multiple_of(16);
        self.cx.partials.0.wrapping_add(at + self.chunk * stride)
    }

    /// Grid of a value within the tile.
    fn extent(&self, span: Span) -> (usize, usize) {
        match span {
            Span::Full => (self.rows, self.plan.kernel.cols),
            // One number a row: a single vector over the rows.
            Span::Row => (1, self.rows),
            Span::Column => (1, self.plan.kernel.cols),
            Span::Scalar => (1, 1),
        }
    }

    fn pointer(&self, id: usize) -> *mut f32 {
        match self.plan.slots[id] {
            Slot::Scratch(at) => self.scratch.0.wrapping_add(at),
            Slot::Source {
                buffer,
                offset,
                row_stride,
            } => {
                let start = self.cx.buffers[buffer].0.wrapping_offset(offset);
                start.wrapping_add(self.first * row_stride)
            }
            Slot::Stored(store) => {
                let store = &self.plan.kernel.stores[store];
                let width = if store.full { self.plan.kernel.cols } else { 1 };
                self.cx.buffers[store.buffer]
                    .0
                    .wrapping_add(self.first * width)
            }
        }
    }

    /// Value `id` as an operand of an instruction whose result has span `span`.
    fn operand(&self, id: usize, span: Span) -> Operand {
        let own = self.plan.kernel.spans[id];
        let start = self.pointer(id).cast_const();
        let (row_stride, splat) = match (own, span) {
            (Span::Scalar, _) => (0, true),
            (Span::Row, Span::Full) => (1, true),
            (Span::Full, _) => (self.plan.kernel.cols, false),
            (Span::Row | Span::Column, _) => (0, false),
        };
        Operand {
            start,
            row_stride,
            splat,
        }
    }

    /// # Safety
    /// As [`run`]; operands were made before.
    unsafe fn instr(&self, id: usize) {
        let span = self.plan.kernel.spans[id];
        let (mut rows, mut cols) = self.extent(span);
        let slot = self.plan.slots[id];
        if matches!(slot, Slot::Source { .. }) {
            return;
        }
        let out = self.pointer(id);
        // Without an operand that is one number a row, or the same in every row, the tile is one vector.
        let flat = |x: &Operand, cols: usize| {
            x.splat && x.row_stride == 0 || !x.splat && x.row_stride == cols
        };
        match &self.plan.kernel.instrs[id] {
            Instr::Constant(value) => {
                // SAFETY: a scalar register.
                unsafe { *out = *value };
            }
            Instr::Uniform { .. } => {
                let n = rows * cols;
                let width = if span == Span::Full { cols } else { 1 };
                let stream = self.stream(id);
                // SAFETY: the register covers the tile.
                let out = unsafe { std::slice::from_raw_parts_mut(out, n) };
                stream.fill_uniform(self.cx.key.step, (self.first * width) as u64, out);
            }
            Instr::Load { buffer, access } => {
                let source = self.cx.buffers[*buffer].0.cast_const();
                // SAFETY: the map stays inside the buffer, which the compiler verified.
                unsafe {
                    match self.plan.is_half(*buffer) {
                        false => self.load(source, access, span, out),
                        true => self.load(source.cast::<u16>(), access, span, out),
                    }
                }
            }
            Instr::Unary(op, x) => {
                let x = self.operand(*x, span);
                if rows > 1 && flat(&x, cols) {
                    (rows, cols) = (1, rows * cols);
                }
                // SAFETY: registers cover the tile and do not overlap.
                unsafe { vector::unary(self.cx.isa, *op, out, x, rows, cols) };
            }
            Instr::Binary(op, x, y) => {
                let (x, y) = (self.operand(*x, span), self.operand(*y, span));
                if rows > 1 && flat(&x, cols) && flat(&y, cols) {
                    (rows, cols) = (1, rows * cols);
                }
                // SAFETY: registers cover the tile and do not overlap.
                unsafe { vector::binary(self.cx.isa, *op, out, x, y, rows, cols) };
            }
            Instr::Reduce(op, x) => {
                let x = self.operand(*x, Span::Full);
                let cols = self.plan.kernel.cols;
                // SAFETY: registers cover the tile and do not overlap.
                unsafe { vector::reduce(self.cx.isa, *op, out, x, self.rows, cols) };
            }
        }
    }

    /// # Safety
    /// `source` is valid for everything that the map reaches, `out` for the extent of the span.
    unsafe fn load<T: Element>(
        &self,
        source: *const T,
        access: &TileAccess,
        span: Span,
        out: *mut f32,
    ) {
        let (rows, cols) = self.extent(span);
        // SAFETY: the caller's promise.
        unsafe {
            match span {
                Span::Full => strided::tile(source, access, self.first, rows, cols, out),
                Span::Row => {
                    for row in 0..self.rows {
                        *out.add(row) = match strided::row_start(access, self.first + row) {
                            Some(start) => (*source.wrapping_offset(start)).wide(),
                            None => 0.0,
                        };
                    }
                }
                Span::Column => strided::tile(source, access, 0, 1, cols, out),
                Span::Scalar => *out = (*source.offset(access.offset)).wide(),
            }
        }
    }

    fn stream(&self, id: usize) -> Stream {
        let name = self.plan.streams[id].as_deref().unwrap_or_default();
        Stream::new(self.cx.key.seed, name)
    }

    /// Stores and accumulations of the tile.
    ///
    /// # Safety
    /// As [`run`].
    unsafe fn finish(&self) {
        let plan = self.plan;
        let isa = self.cx.isa;
        for (acc, at) in plan.kernel.accumulates.iter().zip(&plan.partials) {
            let width = if acc.full { plan.kernel.cols } else { 1 };
            let x = if acc.full {
                self.operand(acc.value, Span::Full)
            } else {
                // One number a row: each row is a vector of one.
                let x = self.operand(acc.value, Span::Row);
                Operand {
                    row_stride: usize::from(!x.splat),
                    ..x
                }
            };
            // SAFETY: the partial results are this chunk's own.
            unsafe {
                vector::accumulate(isa, acc.op, self.partial(*at, width), x, self.rows, width)
            };
        }
        for (number, store) in plan.kernel.stores.iter().enumerate() {
            if plan.slots[store.value] == Slot::Stored(number) {
                continue;
            }
            let width = if store.full { plan.kernel.cols } else { 1 };
            let half = plan.is_half(store.buffer);
            let start = self.cx.buffers[store.buffer].0;
            let out = element(start, half, (self.first * width) as isize);
            let span = if store.full { Span::Full } else { Span::Row };
            let x = self.operand(store.value, span);
            let (rows, cols) = self.extent(span);
            // SAFETY: the buffer is `rows * width` long; in place, all reads of the tile are done.
            unsafe {
                match half {
                    false => copy(out, x, rows, cols),
                    true => round_all(out.cast(), x, rows, cols),
                }
            }
        }
    }
}

/// # Safety
/// `out` is valid for `rows * cols` writes, `x` for its reads.
unsafe fn copy(out: *mut f32, x: Operand, rows: usize, cols: usize) {
    for row in 0..rows {
        let from = x.start.wrapping_add(row * x.row_stride);
        // SAFETY: the caller's promise; a state copied onto itself overlaps exactly, hence `copy`.
        unsafe {
            let out = out.add(row * cols);
            if x.splat {
                std::slice::from_raw_parts_mut(out, cols).fill(*from);
            } else {
                std::ptr::copy(from, out, cols);
            }
        }
    }
}

/// # Safety
/// `out` is valid for `rows * cols` writes, `x` for its reads; they do not overlap.
unsafe fn round_all(out: *mut u16, x: Operand, rows: usize, cols: usize) {
    for row in 0..rows {
        let from = x.start.wrapping_add(row * x.row_stride);
        // SAFETY: the caller's promise.
        unsafe {
            let out = std::slice::from_raw_parts_mut(out.add(row * cols), cols);
            if x.splat {
                out.fill(round(*from));
            } else {
                let x = std::slice::from_raw_parts(from, cols);
                out.iter_mut().zip(x).for_each(|(o, x)| *o = round(*x));
            }
        }
    }
}
