//! What is decided about a row kernel when it is loaded: tile height, registers, chunks.

use ablate_compiler::access::Axis;
use ablate_compiler::program::{Buffer, Instr, RowKernel, Span, Storage, TileAccess};

/// Numbers that one instruction works on at a time: small enough that a handful of registers stays in
/// the first-level cache, large enough that starting an instruction costs little.
const TILE: usize = 2048;
/// Numbers of a kernel's grid that one chunk covers at least.
const CHUNK: usize = 1 << 15;
/// Chunks of a kernel that reduces over its rows: fixed, as the order of the partial results is.
const MOST_CHUNKS: usize = 32;

/// Where a value is while its tile is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// In the scratch memory of the thread, at this element.
    Scratch(usize),
    /// In its source buffer: no copy is made. Holds the offset of row zero and the row stride.
    Source {
        /// Buffer read.
        buffer: usize,
        /// Element that row zero starts at.
        offset: isize,
        /// Elements from row to row.
        row_stride: usize,
    },
    /// Computed straight into the buffer that it is stored to: the number of the store.
    Stored(usize),
}

/// A row kernel ready to run.
#[derive(Debug)]
pub struct RowPlan {
    /// The kernel.
    pub kernel: RowKernel,
    /// Rows of a tile.
    pub tile_rows: usize,
    /// Where each value is.
    pub slots: Vec<Slot>,
    /// Elements of scratch memory that a thread needs.
    pub scratch: usize,
    /// First and one past the last row of each chunk.
    pub chunks: Vec<(usize, usize)>,
    /// First element of each accumulation's partial results, one after another for each chunk.
    pub partials: Vec<usize>,
    /// Elements of partial results.
    pub partial_len: usize,
    /// Keys of the random streams are made per run from the seed; the names are here by instruction.
    pub streams: Vec<Option<String>>,
    /// Buffers of the kernel that hold bfloat16.
    half: Vec<usize>,
}

/// Sums of strides and sizes that a dense run of memory has.
fn is_unit(axes: &[Axis], len: usize) -> bool {
    match axes {
        [] => len == 1,
        [axis] => axis.stride == 1 && axis.size == len && !axis.is_guarded(),
        _ => false,
    }
}

/// The stride from row to row if rows are evenly spaced and unguarded.
fn even_rows(access: &TileAccess) -> Option<usize> {
    match &access.rows[..] {
        [] => Some(0),
        [axis] if !axis.is_guarded() && axis.stride >= 0 => Some(axis.stride as usize),
        _ => None,
    }
}

impl RowPlan {
    /// Whether a buffer holds bfloat16.
    pub fn is_half(&self, buffer: usize) -> bool {
        self.half.contains(&buffer)
    }

    /// Plans a kernel of a program with these buffers.
    pub fn new(kernel: &RowKernel, buffers: &[Buffer]) -> Self {
        let loads = kernel.instrs.iter().filter_map(|i| match i {
            Instr::Load { buffer, .. } => Some(*buffer),
            _ => None,
        });
        let mut half: Vec<usize> = loads
            .chain(kernel.stores.iter().map(|s| s.buffer))
            .filter(|b| buffers[*b].storage == Storage::Bf16)
            .collect();
        half.sort_unstable();
        half.dedup();
        let (rows, cols) = (kernel.rows, kernel.cols);
        let tile_rows = (TILE / cols).clamp(1, rows.max(1));
        let last_use = last_uses(kernel);
        let mut scratch = 0;
        let mut take = |n: usize| {
            let at = scratch;
            scratch += n.next_multiple_of(16);
            at
        };
        // Full-size registers are shared between values that do not live at the same time; the small
        // ones are not worth it.
        let mut free: Vec<usize> = vec![];
        let mut held: Vec<Option<usize>> = vec![None; kernel.instrs.len()];
        let mut slots = Vec::with_capacity(kernel.instrs.len());
        for (id, instr) in kernel.instrs.iter().enumerate() {
            let span = kernel.spans[id];
            let slot = match instr {
                Instr::Load { buffer, access } if !half.contains(buffer) => {
                    source(*buffer, access, span, cols)
                }
                _ => None,
            };
            let direct = kernel.stores.iter().position(|s| {
                s.value == id
                    && !s.in_place
                    && !half.contains(&s.buffer)
                    && s.full == (span == Span::Full)
                    && matches!(span, Span::Full | Span::Row)
            });
            let slot = match (slot, direct, span) {
                (Some(slot), _, _) => slot,
                (None, Some(store), _) if !matches!(instr, Instr::Load { .. }) => {
                    Slot::Stored(store)
                }
                (None, _, Span::Full) => {
                    let at = free.pop().unwrap_or_else(|| take(tile_rows * cols));
                    held[id] = Some(at);
                    Slot::Scratch(at)
                }
                (None, _, Span::Row) => Slot::Scratch(take(tile_rows)),
                (None, _, Span::Column) => Slot::Scratch(take(cols)),
                (None, _, Span::Scalar) => Slot::Scratch(take(1)),
            };
            slots.push(slot);
            // Registers whose last reader this was; the result itself must not overlap an operand, so
            // they become free only for the next instruction.
            for (value, at) in held.iter_mut().enumerate() {
                if at.is_some() && last_use[value] <= id {
                    free.extend(at.take());
                }
            }
        }
        let count = if kernel.accumulates.is_empty() {
            (rows * cols).div_ceil(CHUNK).min(256)
        } else {
            (rows * cols).div_ceil(CHUNK).min(MOST_CHUNKS)
        };
        let tiles = rows.div_ceil(tile_rows);
        let each = tiles.div_ceil(count.clamp(1, tiles)) * tile_rows;
        let chunks: Vec<(usize, usize)> = (0..rows)
            .step_by(each)
            .map(|r| (r, (r + each).min(rows)))
            .collect();
        let mut partial_len = 0;
        let partials = kernel
            .accumulates
            .iter()
            .map(|a| {
                let at = partial_len;
                let width = if a.full { cols } else { 1 };
                partial_len += width.next_multiple_of(16) * chunks.len();
                at
            })
            .collect();
        let streams = kernel
            .instrs
            .iter()
            .map(|i| match i {
                Instr::Uniform { stream } => Some(stream.clone()),
                _ => None,
            })
            .collect();
        RowPlan {
            kernel: kernel.clone(),
            tile_rows,
            slots,
            scratch,
            chunks,
            partials,
            partial_len,
            streams,
            half,
        }
    }
}

/// A load that can be used where it lies.
fn source(buffer: usize, access: &TileAccess, span: Span, cols: usize) -> Option<Slot> {
    let row_stride = even_rows(access)?;
    let flat = |row_stride| {
        Some(Slot::Source {
            buffer,
            offset: access.offset,
            row_stride,
        })
    };
    let still = access.cols.iter().all(|a| a.stride == 0 && !a.is_guarded());
    match span {
        Span::Scalar if still && row_stride == 0 => flat(0),
        Span::Column if is_unit(&access.cols, cols) => flat(0),
        Span::Row if still && row_stride == 1 => flat(1),
        Span::Full if is_unit(&access.cols, cols) && row_stride == cols => flat(row_stride),
        _ => None,
    }
}

fn last_uses(kernel: &RowKernel) -> Vec<usize> {
    let end = kernel.instrs.len();
    let mut last: Vec<usize> = (0..end).collect();
    for (id, instr) in kernel.instrs.iter().enumerate() {
        match instr {
            Instr::Unary(_, x) | Instr::Reduce(_, x) => last[*x] = id,
            Instr::Binary(_, x, y) => (last[*x], last[*y]) = (id, id),
            _ => {}
        }
    }
    for store in &kernel.stores {
        last[store.value] = end;
    }
    for acc in &kernel.accumulates {
        last[acc.value] = end;
    }
    last
}
