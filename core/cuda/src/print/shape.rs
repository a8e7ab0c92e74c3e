//! How the threads of a kernel share its grid of rows and columns.
//!
//! Owns: teams, vectors, loops, partial results. Must not know: the text of a kernel.

use super::analysis::{is_element, Analysis};
use super::About;
use ablate_compiler::program::{BufferId, Instr, RowKernel, Span, Storage, TileAccess};

/// Threads of a block where nothing asks for another number.
const BLOCK: usize = 256;
/// Elements that a thread keeps of one value between loops at most.
const MOST_HELD: usize = 16;
/// Partial results of a reduction over the rows: enough teams to fill a large device.
const ACCUMULATED: usize = 1 << 19;
/// Teams that reduce over the rows at most.
const MOST_TEAMS: usize = 1024;
/// A row from this length on is cut into segments, if there are few rows and the kernel allows it.
const LONG: usize = 1 << 14;

/// How threads share a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Threads that work on one row together.
    pub lanes: usize,
    /// Threads of a block; a multiple of `lanes`.
    pub threads: usize,
    /// Neighbouring columns that a thread loads at once.
    pub vector: usize,
    /// Vectors of a thread in one segment, if values are kept in registers from loop to loop.
    pub items: Option<usize>,
    /// Columns of a segment.
    pub segment: usize,
    /// Segments of a row; each has teams of its own.
    pub segments: usize,
    /// Rows that a team works on, one after another.
    pub rows_per_team: usize,
    /// Teams side by side in the direction of the rows.
    pub row_teams: usize,
}

impl Shape {
    /// Teams of a block.
    pub fn teams(&self) -> usize {
        self.threads / self.lanes
    }

    /// Blocks.
    pub fn blocks(&self) -> usize {
        self.row_teams.div_ceil(self.teams()) * self.segments
    }
}

/// True when `vector` neighbouring columns lie together and are aligned to their size.
pub fn is_vector(access: &TileAccess, cols: usize, vector: usize) -> bool {
    let whole = |stride: isize| stride % vector as isize == 0;
    matches!(&access.cols[..], [axis] if axis.stride == 1 && axis.size == cols && !axis.is_guarded())
        && cols.is_multiple_of(vector)
        && whole(access.offset)
        && access.rows.iter().all(|a| a.size == 1 || whole(a.stride))
}

/// Neighbouring columns that a thread takes at once: eight where all that is one number a row and column
/// is stored in half a word, at most four where some of it is not.
fn vector(kernel: &RowKernel, about: &About) -> usize {
    let loads = || {
        let instrs = kernel.instrs.iter().enumerate();
        instrs.filter_map(|(id, i)| match i {
            Instr::Load { access, buffer } if is_element(kernel, id) => Some((id, access, *buffer)),
            _ => None,
        })
    };
    let stores = kernel.stores.iter().any(|s| s.full);
    let fits = |v: &usize| {
        kernel.cols.is_multiple_of(*v)
            && (loads().any(|(_, a, _)| is_vector(a, kernel.cols, *v))
                || loads().next().is_none() && stores)
    };
    let single = |b: BufferId| about.storage(b) == Storage::F32;
    let whole = loads().filter(|(id, ..)| kernel.spans[*id] == Span::Full);
    let read = whole.map(|(_, _, buffer)| buffer);
    let written = kernel.stores.iter().filter(|s| s.full).map(|s| s.buffer);
    let mut touched = read.chain(written).peekable();
    let halves = touched.peek().is_some() && !touched.any(single);
    let most = if halves { 8 } else { 4 };
    let widths = [8, 4, 2].into_iter().filter(|v| *v <= most);
    widths.into_iter().find(fits).unwrap_or(1)
}

/// True for a kernel whose rows can be cut: it reduces what depends on no other reduction, and then
/// makes no more than one number a row.
pub fn can_cut(kernel: &RowKernel, analysis: &Analysis) -> bool {
    analysis.loops == 1
        && kernel.rows <= 64
        && kernel.cols >= LONG
        && kernel.accumulates.is_empty()
        && kernel.stores.iter().all(|s| !s.full)
        && kernel.instrs.iter().any(|i| matches!(i, Instr::Reduce(..)))
}

impl Shape {
    /// The shape of a kernel whose rows are cut.
    pub fn cut(kernel: &RowKernel, about: &About) -> Shape {
        let vector = vector(kernel, about);
        let segments = kernel.cols.div_ceil(LONG / 2).min(1024);
        let segment = kernel.cols.div_ceil(segments).next_multiple_of(vector);
        Shape {
            lanes: BLOCK,
            threads: BLOCK,
            vector,
            items: None,
            segment,
            segments: kernel.cols.div_ceil(segment),
            rows_per_team: 1,
            row_teams: kernel.rows,
        }
    }

    /// The shape of a kernel.
    pub fn new(kernel: &RowKernel, analysis: &Analysis, about: &About) -> Shape {
        let reduces = kernel.instrs.iter().enumerate().any(|(id, i)| {
            matches!(i, Instr::Reduce(_, x) if is_element(kernel, *x)) && analysis.live[id]
        });
        let mut shape = match reduces {
            true => Shape::reducing(kernel, analysis, vector(kernel, about)),
            false => Shape::independent(kernel, vector(kernel, about)),
        };
        shape.row_teams = kernel.rows;
        if !kernel.accumulates.is_empty() {
            // A handful of rows is not worth a second kernel.
            let teams = match kernel.rows {
                0..=8 => 1,
                _ => ACCUMULATED.div_ceil(kernel.cols).clamp(1, MOST_TEAMS),
            };
            shape.rows_per_team = kernel.rows.div_ceil(teams.min(kernel.rows));
            shape.row_teams = kernel.rows.div_ceil(shape.rows_per_team);
        }
        // No more threads than the few teams of a small kernel have.
        let most = (shape.row_teams * shape.lanes).next_multiple_of(32);
        if shape.threads > most {
            shape.threads = most.next_multiple_of(shape.lanes);
        }
        shape
    }

    /// Threads of a row exchange nothing: rows can be cut anywhere.
    fn independent(kernel: &RowKernel, vector: usize) -> Shape {
        let vectors = kernel.cols.div_ceil(vector);
        let lanes = vectors.next_power_of_two().min(BLOCK);
        // One number a row must not be written by one segment while another still reads it.
        let whole = kernel.stores.iter().any(|s| !s.full);
        let items = vectors.div_ceil(lanes);
        let most = if kernel.accumulates.is_empty() { 4 } else { 2 };
        let items = if items > most && !whole { most } else { items };
        let segment = lanes * vector * items;
        Shape {
            lanes,
            threads: BLOCK,
            vector,
            items: (items <= MOST_HELD).then_some(items),
            segment: if whole { kernel.cols } else { segment },
            segments: if whole {
                1
            } else {
                kernel.cols.div_ceil(segment)
            },
            rows_per_team: 1,
            row_teams: 1,
        }
    }

    /// Threads of a row reduce together.
    fn reducing(kernel: &RowKernel, analysis: &Analysis, vector: usize) -> Shape {
        let vectors = kernel.cols.div_ceil(vector);
        let waiting = (0..kernel.instrs.len()).filter(|id| analysis.waits(*id));
        let held = waiting.count() + kernel.accumulates.iter().filter(|a| a.full).count();
        let shape = |lanes: usize, threads: usize, items: Option<usize>| Shape {
            lanes,
            threads,
            vector,
            items,
            segment: kernel.cols,
            segments: 1,
            rows_per_team: 1,
            row_teams: 1,
        };
        // A part of a warp, if its threads can hold what waits.
        let lanes = vectors.next_power_of_two().min(32);
        let items = vectors.div_ceil(lanes);
        if items * vector <= MOST_HELD && held * items * vector <= 64 {
            return shape(lanes, BLOCK, Some(items));
        }
        // A block. Of the 65536 registers of a multiprocessor some forty a thread are for the rest.
        for elements in [4, 8, MOST_HELD].into_iter().filter(|e| *e >= vector) {
            let items = elements / vector;
            let threads = vectors.div_ceil(items).next_multiple_of(32);
            let room = (65536 / threads.max(256)).saturating_sub(40).min(128);
            if threads <= 1024 && held * elements <= room {
                return shape(threads, threads, Some(vectors.div_ceil(threads)));
            }
        }
        let threads = vectors.next_multiple_of(32).min(512);
        shape(threads, threads, None)
    }
}
