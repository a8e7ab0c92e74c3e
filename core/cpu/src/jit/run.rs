//! Calling the code of a row kernel, row by row.
//!
//! Owns: where pointers point and numbers stand when a row begins. Must not know: how the code works.

use super::assembler::Assembler;
use super::code::Function;
use super::emit;
use super::schedule::{Pointer, Schedule};
use crate::bf16::{element, Element};
use crate::plan::RowPlan;
use crate::row::{fold_partials, Context};
use crate::strided;
use crate::vector::greater;
use ablate_compiler::ir::Reduction;
use ablate_compiler::program::{Accumulate, Instr, TileAccess};
use ablate_random::Stream;

/// Columns of a flat kernel that one call handles.
const BLOCK: usize = 2048;

/// A row kernel with its code.
#[derive(Debug)]
pub struct Compiled {
    schedule: Schedule,
    /// First byte of the function.
    at: usize,
    function: Option<Function>,
    /// Elements of a row of scratch memory.
    width: usize,
    /// Rows that random numbers are drawn for at a time.
    drawn: usize,
}

impl Compiled {
    /// Appends the code of a kernel, or leaves it to the interpreter.
    pub fn new(plan: &RowPlan, code: &mut Vec<u8>) -> Option<Compiled> {
        let schedule = Schedule::new(plan)?;
        let mut asm = Assembler::default();
        emit::function(&plan.kernel, &schedule, &mut asm)?;
        let at = code.len();
        code.extend(asm.finish());
        let width = match schedule.flat {
            true => BLOCK,
            false => plan.kernel.cols.next_multiple_of(64),
        };
        let drawn = match schedule.flat {
            true => 1,
            false => (BLOCK / plan.kernel.cols).max(1),
        };
        Some(Compiled {
            schedule,
            at,
            function: None,
            width,
            drawn,
        })
    }

    /// Says where the code is.
    ///
    /// # Safety
    /// The code is that which [`Compiled::new`] appended to, and it lives as long as `self` is used.
    pub unsafe fn link(&mut self, code: &super::Code) {
        // SAFETY: the caller's promise.
        self.function = Some(unsafe { code.function(self.at) });
    }

    fn numbers_len(&self) -> usize {
        (self.schedule.number.len() + emit::CONSTANTS.len()).next_multiple_of(16)
    }

    /// Pointers, and the keys of random streams.
    fn pointers_len(&self) -> usize {
        (4 * self.schedule.pointers.len()).next_multiple_of(16)
    }

    /// Elements of scratch memory behind a pointer.
    fn scratch_of(&self, pointer: &Pointer) -> usize {
        match pointer {
            Pointer::Uniform { .. } => self.width * self.drawn,
            Pointer::Copied { .. } | Pointer::Kept => self.width,
            _ => 0,
        }
    }

    /// Elements of scratch memory that a thread needs.
    pub fn scratch(&self) -> usize {
        let rows = self.schedule.pointers.iter().map(|p| self.scratch_of(p));
        self.numbers_len() + self.pointers_len() + rows.sum::<usize>()
    }
}

/// Runs a row kernel.
///
/// # Safety
/// As [`crate::row::run`]; scratch memory holds [`Compiled::scratch`] elements, and the code is linked.
pub unsafe fn run(plan: &RowPlan, compiled: &Compiled, cx: &Context) {
    let Some(function) = compiled.function else {
        return;
    };
    cx.pool.each(plan.chunks.len(), |chunk| {
        let call = Call::new(plan, compiled, cx, chunk, plan.chunks[chunk]);
        // SAFETY: the caller's promise; chunks write disjoint rows and partial results.
        unsafe { call.chunk(function) };
    });
    // SAFETY: the partial results were written above.
    unsafe { fold_partials(plan, cx) };
}

/// Runs some rows of a row kernel without accumulations, on this thread.
///
/// # Safety
/// As [`run`].
pub unsafe fn run_rows(plan: &RowPlan, compiled: &Compiled, cx: &Context, range: (usize, usize)) {
    if let Some(function) = compiled.function {
        // SAFETY: the caller's promise.
        unsafe { Call::new(plan, compiled, cx, 0, range).chunk(function) };
    }
}

struct Call<'a> {
    plan: &'a RowPlan,
    compiled: &'a Compiled,
    cx: &'a Context<'a>,
    chunk: usize,
    /// First and one past the last row.
    range: (usize, usize),
    numbers: *mut f32,
    pointers: *mut *mut f32,
    rows: *mut f32,
}

impl<'a> Call<'a> {
    fn new(
        plan: &'a RowPlan,
        compiled: &'a Compiled,
        cx: &'a Context<'a>,
        chunk: usize,
        range: (usize, usize),
    ) -> Self {
        let numbers = cx.scratch[cx.pool.index()].0;
        let pointers = numbers.wrapping_add(compiled.numbers_len());
        Call {
            plan,
            compiled,
            cx,
            chunk,
            range,
            numbers,
            pointers: pointers.cast(),
            rows: pointers.wrapping_add(compiled.pointers_len()),
        }
    }

    /// # Safety
    /// As [`run`].
    unsafe fn chunk(&self, function: Function) {
        let (plan, schedule) = (self.plan, &self.compiled.schedule);
        let kernel = &plan.kernel;
        let (from, to) = self.range;
        // SAFETY: the caller's promise, everywhere below.
        unsafe {
            let constants = self.numbers.add(kernel.instrs.len());
            std::slice::from_raw_parts_mut(constants, emit::CONSTANTS.len())
                .copy_from_slice(&emit::CONSTANTS);
            *constants.add(emit::COLUMNS) = kernel.cols as f32;
            for (id, instr) in kernel.instrs.iter().enumerate() {
                if let Instr::Constant(value) = instr {
                    *self.numbers.add(id) = *value;
                }
            }
            for (acc, at) in kernel.accumulates.iter().zip(&plan.partials) {
                let width = if acc.full { kernel.cols } else { 1 };
                let start = match acc.op {
                    Reduction::Sum => 0.0,
                    Reduction::Max => f32::NEG_INFINITY,
                };
                std::slice::from_raw_parts_mut(self.partial(*at, width), width).fill(start);
            }
            if schedule.flat {
                for row in (from..to).step_by(BLOCK) {
                    let count = (to - row).min(BLOCK);
                    self.begin(row, count, row == from);
                    function(self.pointers, self.numbers, 2 * count);
                }
            } else {
                for row in from..to {
                    self.begin(row, kernel.cols, row == from);
                    function(self.pointers, self.numbers, 2 * kernel.cols);
                    self.end(row);
                }
            }
        }
    }

    fn partial(&self, at: usize, width: usize) -> *mut f32 {
        let stride = width.next_multiple_of(16);
        self.cx.partials.0.wrapping_add(at + self.chunk * stride)
    }

    fn buffer(&self, buffer: usize) -> *mut f32 {
        self.cx.buffers[buffer].0
    }

    /// Pointers and numbers of a row; `first` for the first of a chunk.
    ///
    /// # Safety
    /// As [`run`].
    unsafe fn begin(&self, row: usize, count: usize, first: bool) {
        let schedule = &self.compiled.schedule;
        let kernel = &self.plan.kernel;
        let mut scratch = self.rows;
        // SAFETY: the caller's promise, everywhere below.
        unsafe {
            for &id in &schedule.loads {
                let Instr::Load { buffer, access } = &kernel.instrs[id] else {
                    continue;
                };
                *self.numbers.add(id) = self.number(*buffer, access, row, first, id);
            }
            for (number, pointer) in schedule.pointers.iter().enumerate() {
                let to = match pointer {
                    Pointer::Direct {
                        buffer,
                        half,
                        offset,
                        stride,
                    } => {
                        let start = offset + (row * stride) as isize;
                        element(self.buffer(*buffer), *half, start)
                    }
                    Pointer::Rows {
                        buffer,
                        half,
                        access,
                    } => {
                        // Only rows that read zeros have no start; those are copied.
                        let start = strided::row_start(access, row).unwrap_or(access.offset);
                        element(self.buffer(*buffer), *half, start)
                    }
                    Pointer::Store { buffer, half } => {
                        let width = if schedule.flat { 1 } else { kernel.cols };
                        element(self.buffer(*buffer), *half, (row * width) as isize)
                    }
                    Pointer::Partial { accumulate } => {
                        self.partial(self.plan.partials[*accumulate], kernel.cols)
                    }
                    Pointer::Copied { .. } | Pointer::Uniform { .. } | Pointer::Kept => {
                        let mut own = scratch;
                        scratch = scratch.add(self.compiled.scratch_of(pointer));
                        match pointer {
                            Pointer::Copied {
                                buffer,
                                half,
                                access,
                            } => {
                                let still =
                                    access.rows.iter().all(|a| a.stride == 0 && !a.is_guarded());
                                let source = self.buffer(*buffer).cast_const();
                                match (first || !still, half) {
                                    (false, _) => {}
                                    (true, false) => {
                                        strided::tile(source, access, row, 1, kernel.cols, own);
                                    }
                                    (true, true) => {
                                        let source = source.cast::<u16>();
                                        strided::tile(source, access, row, 1, kernel.cols, own);
                                    }
                                }
                            }
                            Pointer::Uniform { stream } => {
                                let key = self.key(number);
                                if first {
                                    *key = Stream::new(self.cx.key.seed, stream).key();
                                }
                                own = self.draw(Stream::from_key(*key), row, count, own);
                            }
                            _ => {}
                        }
                        own
                    }
                };
                *self.pointers.add(number) = to;
            }
        }
    }

    /// Where the key of a random stream is kept.
    fn key(&self, pointer: usize) -> *mut u64 {
        let keys = self
            .pointers
            .wrapping_add(self.compiled.schedule.pointers.len());
        keys.wrapping_add(pointer).cast()
    }

    /// Draws the uniform numbers of a row, and of the rows after it, into `block`; where the row's are.
    ///
    /// # Safety
    /// As [`run`]; `block` is the stream's scratch memory.
    unsafe fn draw(&self, stream: Stream, row: usize, count: usize, block: *mut f32) -> *mut f32 {
        let (from, to) = self.range;
        let step = self.cx.key.step;
        // SAFETY: the caller's promise, everywhere below.
        unsafe {
            if self.compiled.schedule.flat {
                stream.fill_uniform(
                    step,
                    row as u64,
                    std::slice::from_raw_parts_mut(block, count),
                );
                return block;
            }
            let (drawn, cols) = (self.compiled.drawn, self.plan.kernel.cols);
            let at = (row - from) % drawn;
            if at == 0 {
                let rows = drawn.min(to - row);
                let out = std::slice::from_raw_parts_mut(block, rows * cols);
                stream.fill_uniform(step, (row * cols) as u64, out);
            }
            block.add(at * cols)
        }
    }

    /// A number that is loaded when a row begins.
    ///
    /// # Safety
    /// As [`run`].
    unsafe fn number(
        &self,
        buffer: usize,
        access: &TileAccess,
        row: usize,
        first: bool,
        id: usize,
    ) -> f32 {
        let half = self.plan.is_half(buffer);
        let read = |index: isize| {
            let from = element(self.buffer(buffer), half, index).cast_const();
            // SAFETY: the caller's promise; the map stays inside the buffer.
            unsafe {
                match half {
                    true => (*from.cast::<u16>()).wide(),
                    false => *from,
                }
            }
        };
        let moves = access.rows.iter().any(|a| a.stride != 0 || a.is_guarded());
        // SAFETY: the caller's promise; the map stays inside the buffer.
        unsafe {
            if !moves {
                return match first {
                    true => read(access.offset),
                    false => *self.numbers.add(id),
                };
            }
            match strided::row_start(access, row) {
                Some(start) => read(start),
                None => 0.0,
            }
        }
    }

    /// Numbers that a row leaves behind.
    ///
    /// # Safety
    /// As [`run`].
    unsafe fn end(&self, row: usize) {
        let kernel = &self.plan.kernel;
        // SAFETY: the caller's promise, everywhere below.
        unsafe {
            for store in kernel.stores.iter().filter(|s| !s.full) {
                *self.buffer(store.buffer).wrapping_add(row) = *self.numbers.add(store.value);
            }
            for (acc, at) in kernel.accumulates.iter().zip(&self.plan.partials) {
                let Accumulate {
                    value, op, full, ..
                } = *acc;
                if !full {
                    let (sum, x) = (self.partial(*at, 1), *self.numbers.add(value));
                    *sum = match op {
                        Reduction::Sum => *sum + x,
                        Reduction::Max => greater(*sum, x),
                    };
                }
            }
        }
    }
}
