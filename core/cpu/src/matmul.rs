//! Matrix products on the thread pool: which thread computes which part of the result.
//!
//! A plan is made when a program is loaded. Batched products (attention) are split by batch; others by
//! rows and columns of the result, never by the sum, so that the cut does not change a bit.

use crate::gemm::{self, Operand, Product};
use crate::memory::Shared;
use crate::pool::Pool;
use crate::vector::Isa;
use ablate_compiler::ir::{Gemm, Level};

/// Cycles of a part that is worth handing to another thread.
const PART: f64 = 2e4;
/// Most parts for each thread: a thread that was held up has others take its share.
const PARTS: usize = 4;

/// How a product is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Groups of whole batches.
    groups: usize,
    /// Rows of a part.
    rows: usize,
    /// Columns of a part.
    cols: usize,
}

impl Cut {
    /// The cut that lets `threads` finish first.
    pub fn new(gemm: &Gemm, isa: Isa, threads: usize) -> Cut {
        let batches: usize = gemm.batch.iter().map(|l| l.size).product();
        let [m, n, k] = [gemm.m.size, gemm.n.size, gemm.k.size];
        // A result whose rows are neighbours is computed transposed.
        let swapped = gemm.n.c != 1 && gemm.m.c == 1;
        let cycles = |rows, cols| {
            let [a, b] = [(gemm.m.a, gemm.k.a), (gemm.n.b, gemm.k.b)];
            if swapped {
                gemm::cycles(isa, [cols, rows, k], [b.0, a.0], [b.1, a.1])
            } else {
                gemm::cycles(isa, [rows, cols, k], [a.0, b.0], [a.1, b.1])
            }
        };
        let one = cycles(m, n);
        let total = one * batches as f64;
        let worth = ((total / PART) as usize).clamp(1, threads * PARTS);
        if threads == 1 || worth == 1 || batches >= worth {
            return Cut {
                groups: worth.min(batches),
                rows: m,
                cols: n,
            };
        }
        let mut tile = gemm::tile(isa);
        if swapped {
            tile.reverse();
        }
        let mut best = (f64::INFINITY, m, n);
        for by_rows in 1..=worth {
            for by_cols in 1..=worth / by_rows {
                let rows = m.div_ceil(by_rows).next_multiple_of(tile[0]).min(m);
                let cols = n.div_ceil(by_cols).next_multiple_of(tile[1]).min(n);
                let parts = batches * m.div_ceil(rows) * n.div_ceil(cols);
                // Many parts can be dealt out evenly; few are as slow as the last.
                let rounds = if parts >= 2 * threads {
                    parts as f64 / threads as f64 * (1.0 + 0.1 / (parts / threads) as f64)
                } else {
                    parts.div_ceil(threads) as f64 * 1.1
                };
                let time = rounds * cycles(rows, cols);
                if time < best.0 {
                    best = (time, rows, cols);
                }
            }
        }
        Cut {
            groups: batches,
            rows: best.1,
            cols: best.2,
        }
    }
}

/// Runs a product.
///
/// # Safety
/// The pointers are valid for everything that the strides reach, `c` overlaps neither operand, and
/// each thread's scratch memory holds [`gemm::SCRATCH`] elements.
pub unsafe fn run(
    pool: &Pool,
    isa: Isa,
    scratch: &[Shared],
    (gemm, cut): (&Gemm, Cut),
    buffers: [Shared; 3],
) {
    let batches: usize = gemm.batch.iter().map(|l| l.size).product();
    let (by_rows, by_cols) = (
        gemm.m.size.div_ceil(cut.rows),
        gemm.n.size.div_ceil(cut.cols),
    );
    let each = by_rows * by_cols;
    pool.each(cut.groups * each, |chunk| {
        let (group, rest) = (chunk / each, chunk % each);
        let (row, col) = (rest % by_rows * cut.rows, rest / by_rows * cut.cols);
        let rows = (row, gemm.m.size.min(row + cut.rows));
        let cols = (col, gemm.n.size.min(col + cut.cols));
        for batch in batches * group / cut.groups..batches * (group + 1) / cut.groups {
            let product = part(gemm, batch, buffers, rows, cols);
            // SAFETY: the caller's promise; parts are disjoint.
            unsafe { product.run(isa, scratch[pool.index()].0) };
        }
    });
}

/// One batch of a product, on this thread.
///
/// # Safety
/// As [`run`].
pub unsafe fn batch(isa: Isa, scratch: Shared, gemm: &Gemm, batch: usize, buffers: [Shared; 3]) {
    let product = part(gemm, batch, buffers, (0, gemm.m.size), (0, gemm.n.size));
    // SAFETY: the caller's promise.
    unsafe { product.run(isa, scratch.0) };
}

/// Offsets of batch number `batch`.
pub fn offsets(levels: &[Level], batch: usize) -> [isize; 3] {
    let mut rest = batch;
    levels.iter().rev().fold([0; 3], |[a, b, c], level| {
        let i = (rest % level.size) as isize;
        rest /= level.size;
        [a + i * level.a, b + i * level.b, c + i * level.c]
    })
}

/// Rows `rows.0..rows.1` and columns `cols.0..cols.1` of one batch.
fn part(
    gemm: &Gemm,
    batch: usize,
    [a, b, c]: [Shared; 3],
    rows: (usize, usize),
    cols: (usize, usize),
) -> Product {
    let [oa, ob, oc] = offsets(&gemm.batch, batch);
    let (row, col) = (rows.0 as isize, cols.0 as isize);
    Product {
        size: [rows.1 - rows.0, cols.1 - cols.0, gemm.k.size],
        a: Operand {
            start: a.0.wrapping_offset(gemm.offset[0] + oa + row * gemm.m.a),
            stride: gemm.m.a,
            step: gemm.k.a,
        },
        b: Operand {
            start: b.0.wrapping_offset(gemm.offset[1] + ob + col * gemm.n.b),
            stride: gemm.n.b,
            step: gemm.k.b,
        },
        c: c.0.wrapping_offset(oc + row * gemm.m.c + col * gemm.n.c),
        c_strides: [gemm.m.c, gemm.n.c],
        add: false,
    }
}
