//! A compiled program: kernels in order, and where their buffers lie.
//!
//! Owns: the kernel descriptions that every backend reads. Must not know: how a device runs them.
//! A program is plain data; the same one is interpreted by the CPU backend and can be printed as
//! source for a GPU.

use crate::access::Axis;
use crate::ir::{Binary, Gemm, Reduction, Unary};
use ablate_graph::ir::Phase;
use std::sync::Arc;

/// Index into [`Program::buffers`].
pub type BufferId = usize;
/// Index into [`RowKernel::instrs`].
pub type ValueId = usize;

/// Where a buffer lies.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// In the program's arena, which holds nothing between runs.
    Arena {
        /// First 32-bit word.
        offset: usize,
    },
    /// In the session, under this name; lives between runs.
    State(String),
    /// Fed for each run, under this name.
    Input {
        /// Name of the feed.
        name: String,
        /// For indices: every element must be a whole number below this.
        index_bound: Option<usize>,
    },
    /// `0, 1, 2, ..`: the same in every run.
    Iota,
}

/// How a buffer's numbers are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Storage {
    /// Single precision.
    #[default]
    F32,
    /// bfloat16, the upper half of single precision: rounded to nearest, ties to even, when written;
    /// read as the number it is.
    Bf16,
}

impl Storage {
    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Storage::F32 => 4,
            Storage::Bf16 => 2,
        }
    }
}

/// Positions of the longest sum whose product may be stored as bfloat16: a backend has the whole sum before
/// it rounds.
pub const LONGEST_ROUNDED_SUM: usize = 1536;

/// A dense buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Number of elements.
    pub len: usize,
    /// Where it lies.
    pub place: Place,
    /// How its numbers are stored; anything but single precision only in the arena, and only where
    /// [`crate::compile_with`] was asked for it.
    pub storage: Storage,
}

impl Buffer {
    /// A buffer of single precision.
    pub fn single(len: usize, place: Place) -> Self {
        Buffer {
            len,
            place,
            storage: Storage::F32,
        }
    }

    /// 32-bit words that it takes: the unit of the arena.
    pub fn words(&self) -> usize {
        (self.len * self.storage.bytes()).div_ceil(4)
    }
}

/// How a row kernel reads a buffer: axes that make up the row number, axes that make up the column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TileAccess {
    /// Row axes, outermost first; their sizes multiply to the rows of the kernel.
    pub rows: Vec<Axis>,
    /// Column axes, outermost first; their sizes multiply to the columns, or to one for a value that
    /// is one number a row.
    pub cols: Vec<Axis>,
    /// Element that row zero, column zero reads.
    pub offset: isize,
}

/// How much of the tile a value covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Span {
    /// One number for the whole kernel.
    Scalar,
    /// One number a column, the same in every row.
    Column,
    /// One number a row.
    Row,
    /// One number a row and column.
    Full,
}

impl Span {
    /// The span of a result of two operands.
    pub fn join(self, other: Span) -> Span {
        match (self, other) {
            (Span::Row, Span::Column) | (Span::Column, Span::Row) => Span::Full,
            (a, b) => a.max(b),
        }
    }
}

/// One instruction of a row kernel; its index is the value it makes.
#[derive(Clone, Debug, PartialEq)]
pub enum Instr {
    /// Reads a buffer.
    Load {
        /// The buffer.
        buffer: BufferId,
        /// How.
        access: TileAccess,
    },
    /// A number.
    Constant(f32),
    /// Uniform random numbers of a named stream: element `row * cols + col` at the run's step.
    Uniform {
        /// Name of the stream.
        stream: String,
    },
    /// Elementwise.
    Unary(Unary, ValueId),
    /// Elementwise.
    Binary(Binary, ValueId, ValueId),
    /// Along the columns of each row: one number a row.
    Reduce(Reduction, ValueId),
}

/// A value that a row kernel writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store {
    /// The value.
    pub value: ValueId,
    /// The buffer: `rows * cols` elements if `full`, else `rows`.
    pub buffer: BufferId,
    /// One number a row and column, or one a row.
    pub full: bool,
    /// The buffer is also read by this kernel: write after the tile's last read.
    pub in_place: bool,
}

/// A value that a row kernel reduces over all rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accumulate {
    /// The value.
    pub value: ValueId,
    /// Sum or maximum.
    pub op: Reduction,
    /// The buffer: `cols` elements if `full`, else one.
    pub buffer: BufferId,
    /// One number a column, or one.
    pub full: bool,
}

/// Elementwise work and reductions over a grid of rows and columns, in one pass over memory.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RowKernel {
    /// Rows; independent of each other but for `accumulates`.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Instructions; operands come before their users.
    pub instrs: Vec<Instr>,
    /// Span of each instruction's value.
    pub spans: Vec<Span>,
    /// What is written.
    pub stores: Vec<Store>,
    /// What is reduced over the rows.
    pub accumulates: Vec<Accumulate>,
}

/// What one step of a program does.
#[derive(Clone, Debug, PartialEq)]
pub enum Kernel {
    /// A fused row kernel.
    Row(RowKernel),
    /// A (batched) matrix product.
    Gemm {
        /// Sizes and strides.
        gemm: Gemm,
        /// Left operand.
        a: BufferId,
        /// Right operand.
        b: BufferId,
        /// Result.
        c: BufferId,
        /// One number a column of the result, added to each sum when it is complete: `n` neighbouring elements.
        bias: Option<BufferId>,
        /// Gets the sum of each row of the left operand over the summed axis, `m` numbers: the gradient of a bias,
        /// beside that of its weight. Only where a backend asks for it ([`crate::Abilities`]).
        sums: Option<BufferId>,
    },
    /// `out[row, inner] = table[index[row], inner]`, zero for an index outside the classes.
    Gather {
        /// Rows of the table, read at `rows` + class * `class_stride` + `inner`.
        table: BufferId,
        /// How the table is read: `rows` axes without the class, `cols` the inner axes.
        table_access: TileAccess,
        /// Elements of the table between neighbouring classes.
        class_stride: isize,
        /// Number of classes.
        classes: usize,
        /// The indices.
        index: BufferId,
        /// How they are read; no columns.
        index_access: TileAccess,
        /// Result, dense.
        out: BufferId,
    },
    /// `out[class, inner] = sum over rows with index[row] == class of value[row, inner]`.
    ScatterAdd {
        /// The values.
        value: BufferId,
        /// How they are read.
        value_access: TileAccess,
        /// The indices.
        index: BufferId,
        /// How they are read; no columns.
        index_access: TileAccess,
        /// Number of classes.
        classes: usize,
        /// Result, dense.
        out: BufferId,
    },
    /// Fills a buffer with a stream's uniform numbers.
    Uniform {
        /// Name of the stream.
        stream: String,
        /// Result.
        out: BufferId,
    },
    /// Copies a buffer.
    Copy {
        /// Source.
        from: BufferId,
        /// Destination.
        to: BufferId,
    },
}

/// A kernel with the place in the model that it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What to do.
    pub kernel: Kernel,
    /// Label path of the kernel's last operation.
    pub scope: Arc<str>,
    /// Forward, backward or update.
    pub phase: Phase,
}

/// A buffer that only the steps of one [`Group`] touch, each block its own part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// The buffer.
    pub buffer: BufferId,
    /// Elements of a block: block `i` is elements `i * len..(i + 1) * len` of the buffer.
    pub len: usize,
    /// First 32-bit word in the memory of a block ([`Group::local_len`]).
    pub offset: usize,
}

impl Local {
    /// 32-bit words that a block's part takes.
    pub fn words(&self, buffers: &[Buffer]) -> usize {
        (self.len * buffers[self.buffer].storage.bytes()).div_ceil(4)
    }
}

/// Neighbouring steps that may run block by block: all of them for block 0, then all for block 1, in
/// any order of the blocks and on any number of threads. Leave it unused, and the steps one after
/// the other give the same bits.
///
/// Block `i` of a product is batch `i`; block `i` of a row kernel is part `i` of its rows cut into
/// `blocks` equal parts. No block reads what another one writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The steps.
    pub steps: std::ops::Range<usize>,
    /// Number of blocks.
    pub blocks: usize,
    /// Buffers of which one block's part is needed at a time.
    pub locals: Vec<Local>,
    /// 32-bit words that hold the locals of one block.
    pub local_len: usize,
}

/// Kernels in order with one buffer plan.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Every buffer that a kernel names.
    pub buffers: Vec<Buffer>,
    /// Kernels in execution order.
    pub steps: Vec<Step>,
    /// Buffers that are read back.
    pub outputs: Vec<(String, BufferId)>,
    /// 32-bit words of the arena.
    pub arena_len: usize,
    /// What may run block by block, in order of the steps.
    pub groups: Vec<Group>,
    /// 32-bit words of the arena that are used when all groups run block by block with their locals
    /// elsewhere.
    pub arena_len_in_blocks: usize,
}

impl Kernel {
    /// Buffers that the kernel reads.
    pub fn reads(&self) -> Vec<BufferId> {
        match self {
            Kernel::Row(kernel) => kernel
                .instrs
                .iter()
                .filter_map(|i| match i {
                    Instr::Load { buffer, .. } => Some(*buffer),
                    _ => None,
                })
                .collect(),
            Kernel::Gemm { a, b, bias, .. } => [*a, *b].into_iter().chain(*bias).collect(),
            Kernel::Gather { table, index, .. } => vec![*table, *index],
            Kernel::ScatterAdd { value, index, .. } => vec![*value, *index],
            Kernel::Uniform { .. } => vec![],
            Kernel::Copy { from, .. } => vec![*from],
        }
    }

    /// Buffers that the kernel writes.
    pub fn writes(&self) -> Vec<BufferId> {
        match self {
            Kernel::Row(kernel) => {
                let stores = kernel.stores.iter().map(|s| s.buffer);
                stores
                    .chain(kernel.accumulates.iter().map(|a| a.buffer))
                    .collect()
            }
            Kernel::Gemm { c, sums, .. } => [*c].into_iter().chain(*sums).collect(),
            Kernel::Gather { out, .. }
            | Kernel::ScatterAdd { out, .. }
            | Kernel::Uniform { out, .. } => vec![*out],
            Kernel::Copy { to, .. } => vec![*to],
        }
    }

    /// The kernel's kind in one word, for tables and profiles.
    pub fn kind(&self) -> &'static str {
        match self {
            Kernel::Row(k) if k.instrs.iter().any(|i| matches!(i, Instr::Reduce(..))) => "row",
            Kernel::Row(k) if !k.accumulates.is_empty() => "column",
            Kernel::Row(_) => "elementwise",
            Kernel::Gemm { .. } => "gemm",
            Kernel::Gather { .. } => "gather",
            Kernel::ScatterAdd { .. } => "scatter",
            Kernel::Uniform { .. } => "uniform",
            Kernel::Copy { .. } => "copy",
        }
    }
}

impl Program {
    /// Floating-point operations of the matrix products of one run. A product that the backward makes
    /// again counts once: it is a way to save memory, not work that the model asks for.
    pub fn flops(&self) -> f64 {
        let mut products: Vec<(&Gemm, BufferId, BufferId)> = vec![];
        for step in &self.steps {
            if let Kernel::Gemm { gemm, a, b, .. } = &step.kernel {
                let product = (gemm, *a, *b);
                if !products.contains(&product) {
                    products.push(product);
                }
            }
        }
        products.iter().map(|(gemm, ..)| gemm.flops()).sum()
    }

    /// Number of kernels by phase and kind.
    pub fn counts(&self) -> std::collections::BTreeMap<(String, &'static str), usize> {
        let mut counts = std::collections::BTreeMap::new();
        for step in &self.steps {
            *counts
                .entry((
                    format!("{:?}", step.phase).to_lowercase(),
                    step.kernel.kind(),
                ))
                .or_default() += 1;
        }
        counts
    }
}
