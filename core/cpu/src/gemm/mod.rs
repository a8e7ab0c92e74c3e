//! Matrix products on one thread: blocks that fit the caches, packed, then register tiles.
//!
//! Owns: the blocking, and when an operand is packed. Must not know: programs, threads, who asks.
//!
//! The structure is that of Goto and van de Geijn, "Anatomy of high-performance matrix
//! multiplication", ACM TOMS 34(3), 2008. The left operand is read where it lies when its summed
//! positions are neighbours, because a broadcast costs the same from anywhere in the first-level cache.
//!
//! The sum of an element is cut at the same summed positions whatever part of the result is asked for,
//! so its bits depend neither on the cut into blocks nor on the number of threads.

mod micro;
pub mod pack;
pub mod pairs;
pub mod planes;
pub mod split;
pub mod tiles;
pub mod triple;

use crate::vector::Isa;
use micro::{Micro, Tile};
use pack::{pack, Block};

/// Most summed positions of a block: a panel of the right operand then stays in the second-level cache.
const DEPTH: usize = 768;
/// Elements of the packed right operand: half of a second-level cache of a megabyte.
const RIGHT: usize = 1 << 19;
/// Rows of the packed left operand; a multiple of every tile's rows.
const ROWS: usize = 96;

/// Summed positions at most this far apart are read where they lie, if the rows are neighbours.
const NEAR: usize = 256;

/// Elements of scratch memory that [`Product::run`] needs.
pub const SCRATCH: usize = RIGHT + ROWS * DEPTH;

/// An operand: element `(i, k)` at `i * stride + k * step`, where `i` is a row of the left operand or a
/// column of the right one.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// Element `(0, 0)`.
    pub start: *const f32,
    /// Elements from one row or column to the next.
    pub stride: isize,
    /// Elements from one summed position to the next.
    pub step: isize,
}

impl Operand {
    fn at(&self, i: usize, k: usize) -> *const f32 {
        self.start
            .wrapping_offset(i as isize * self.stride + k as isize * self.step)
    }
}

/// `c[row, col] (+)= sum over k of a[row, k] * b[col, k]`
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// Rows, columns, summed positions.
    pub size: [usize; 3],
    /// Left operand.
    pub a: Operand,
    /// Right operand.
    pub b: Operand,
    /// Element `(0, 0)` of the result.
    pub c: *mut f32,
    /// Elements from row to row and from column to column.
    pub c_strides: [isize; 2],
    /// Add to what the result holds.
    pub add: bool,
}

/// Columns of a block for sums of `k` positions.
fn block_columns(cols: usize, k: usize) -> usize {
    (RIGHT / depth(k) / cols * cols).max(cols)
}

/// Rows and columns of a register tile.
pub fn tile(isa: Isa) -> [usize; 2] {
    let micro = Micro::of(isa);
    [micro.rows, micro.cols]
}

/// Cycles that a product of this `size` takes one core, roughly: what is multiplied, and what is packed.
/// `steps` are the distances of neighbouring summed positions in the operands. Only for comparing ways
/// to cut a product.
pub fn cycles(isa: Isa, size: [usize; 3], strides: [isize; 2], steps: [isize; 2]) -> f64 {
    /// Copying an element, and copying it transposed, mostly from beyond the second-level cache.
    const COPY: [f64; 2] = [0.8, 1.0];
    let micro = Micro::of(isa);
    let [m, n, k] = size;
    let copy = |step: isize| COPY[usize::from(step == 1)];
    let rest = match m % micro.rows {
        0 => 0,
        // Too few sums to hide the latency of a multiply-add.
        rows => rows.max(3),
    };
    let rows = (m / micro.rows * micro.rows + rest) as f64;
    let sums = rows * n.div_ceil(micro.cols) as f64 * 2.0;
    let left = if direct(strides[0], steps[0], micro.rows) {
        0.0
    } else {
        let blocks = n.div_ceil(block_columns(micro.cols, k));
        (m * blocks) as f64 * copy(steps[0])
    };
    let right = n.next_multiple_of(micro.cols) as f64 * copy(steps[1]);
    k as f64 * (sums + left + right)
}

/// Whether the left operand is read where it lies.
fn direct(stride: isize, step: isize, rows: usize) -> bool {
    (stride == 1 && step.unsigned_abs() <= NEAR)
        || (step == 1 && !collides(stride, rows, size_of::<f32>()))
}

/// Summed positions of a block: equal parts of at most [`DEPTH`].
fn depth(k: usize) -> usize {
    let parts = k.div_ceil(DEPTH);
    k.div_ceil(parts).next_multiple_of(16).min(k)
}

/// True when rows `stride` elements of so many bytes apart fall on the same few sets of a first-level cache
/// (64 sets of 64-byte lines, 8 ways): broadcasts from there would evict each other.
pub fn collides(stride: isize, rows: usize, element: usize) -> bool {
    let bytes = stride.unsigned_abs() * element;
    if !bytes.is_multiple_of(64) {
        return false;
    }
    let lines = bytes / 64 % 64;
    let sets = (0..rows).fold(0u64, |sets, i| sets | 1 << (i * lines % 64));
    rows > sets.count_ones() as usize * 6
}

impl Product {
    /// The product with rows and columns exchanged.
    fn transposed(self) -> Product {
        let [m, n, k] = self.size;
        let [row, col] = self.c_strides;
        Product {
            size: [n, m, k],
            a: self.b,
            b: self.a,
            c_strides: [col, row],
            ..self
        }
    }

    /// Computes it.
    ///
    /// # Safety
    /// The pointers are valid for everything that the strides reach; `c` overlaps no operand;
    /// `scratch` is valid for [`SCRATCH`] elements and 64-byte aligned.
    pub unsafe fn run(self, isa: Isa, scratch: *mut f32) {
        // The stride of a single row or column does not matter.
        let c_strides = match (self.size, self.c_strides) {
            ([_, 1, _], [row, _]) => [row, 1],
            ([1, ..], [_, col]) if col != 1 => [1, col],
            (_, strides) => strides,
        };
        // SAFETY: the caller's promise.
        unsafe {
            match c_strides {
                [_, 1] => self.blocks(isa, scratch),
                [1, _] => Product { c_strides, ..self }
                    .transposed()
                    .blocks(isa, scratch),
                _ => self.scattered(),
            }
        }
    }

    /// # Safety
    /// As [`Product::run`]; columns of the result are neighbours.
    unsafe fn blocks(&self, isa: Isa, scratch: *mut f32) {
        let micro = Micro::of(isa);
        let [m, n, k] = self.size;
        let (deep, wide) = (depth(k), block_columns(micro.cols, k));
        let direct = direct(self.a.stride, self.a.step, micro.rows);
        let (right, left) = (scratch, scratch.wrapping_add(RIGHT));
        for col in (0..n).step_by(wide) {
            let cols = (n - col).min(wide);
            for from in (0..k).step_by(deep) {
                let part = (k - from).min(deep);
                let block = Block {
                    start: self.b.at(col, from),
                    stride: self.b.stride,
                    step: self.b.step,
                    size: cols,
                    k: part,
                };
                // SAFETY: the caller's promise; a block is at most `RIGHT` elements.
                unsafe { pack(isa, block, micro.cols, right) };
                for row in (0..m).step_by(ROWS) {
                    let rows = (m - row).min(ROWS);
                    if !direct {
                        let block = Block {
                            start: self.a.at(row, from),
                            stride: self.a.stride,
                            step: self.a.step,
                            size: rows,
                            k: part,
                        };
                        // SAFETY: as above.
                        unsafe { pack(isa, block, micro.rows, left) };
                    }
                    for first in (0..rows).step_by(micro.rows) {
                        let (a, a_row, a_step) = if direct {
                            (self.a.at(row + first, from), self.a.stride, self.a.step)
                        } else {
                            (
                                left.wrapping_add(first * part).cast_const(),
                                1,
                                micro.rows as isize,
                            )
                        };
                        let c = self.c.wrapping_offset(
                            (row + first) as isize * self.c_strides[0] + col as isize,
                        );
                        for panel in (0..cols).step_by(micro.cols) {
                            let tile = Tile {
                                k: part,
                                a,
                                a_row,
                                a_step,
                                b: right.wrapping_add(panel * part),
                                c: c.wrapping_add(panel),
                                c_row: self.c_strides[0],
                                rows: (rows - first).min(micro.rows),
                                cols: (cols - panel).min(micro.cols),
                                add: self.add || from > 0,
                            };
                            // SAFETY: the caller's promise.
                            unsafe { (micro.run)(&tile) };
                        }
                    }
                }
            }
        }
    }

    /// A result whose elements are neighbours in neither direction: rare and small.
    ///
    /// # Safety
    /// As [`Product::run`].
    unsafe fn scattered(&self) {
        let [m, n, k] = self.size;
        for row in 0..m {
            for col in 0..n {
                let mut sum = 0.0f32;
                for p in 0..k {
                    // SAFETY: the caller's promise.
                    sum += unsafe { *self.a.at(row, p) * *self.b.at(col, p) };
                }
                let at = row as isize * self.c_strides[0] + col as isize * self.c_strides[1];
                // SAFETY: the caller's promise.
                unsafe {
                    let c = self.c.offset(at);
                    *c = if self.add { *c + sum } else { sum };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
