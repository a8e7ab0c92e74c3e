//! Matrix products on the thread pool: which thread computes which part of the result.
//!
//! Batched products (attention) are split by batch; others by blocks of columns, so that no thread
//! packs what another one packs too, and by rows where there are few blocks.

use crate::gemm::{block_columns, tile_rows, Operand, Product};
use crate::memory::Shared;
use crate::pool::Pool;
use crate::vector::Isa;
use ablate_compiler::ir::{Gemm, Level};

/// Multiply-adds below which a second thread costs more than it saves.
const SERIAL: usize = 1 << 16;
/// Multiply-adds of a part that is worth handing out.
const PART: usize = 1 << 20;
/// Parts for each thread: a thread that was held up has others take its share.
const PARTS: usize = 4;

/// Runs a product.
///
/// # Safety
/// The pointers are valid for everything that the strides reach, `c` overlaps neither operand, and
/// each thread's scratch memory holds [`crate::gemm::SCRATCH`] elements.
pub unsafe fn run(pool: &Pool, isa: Isa, scratch: &[Shared], gemm: &Gemm, [a, b, c]: [Shared; 3]) {
    let batches: usize = gemm.batch.iter().map(|l| l.size).product();
    let [m, n, k] = [gemm.m.size, gemm.n.size, gemm.k.size];
    let threads = match batches * m * n * k {
        work if work < SERIAL => 1,
        _ => pool.threads(),
    };
    let one = |batch: usize, rows: (usize, usize), cols: (usize, usize)| {
        let product = part(gemm, batch, [a, b, c], rows, cols);
        // SAFETY: the caller's promise; parts are disjoint.
        unsafe { product.run(isa, scratch[pool.index()].0) };
    };
    if threads == 1 || batches >= threads * PARTS {
        let chunks = match threads {
            1 => 1,
            _ => (batches * m * n * k / PART).clamp(threads * PARTS, batches),
        };
        pool.each(chunks, |chunk| {
            for batch in batches * chunk / chunks..batches * (chunk + 1) / chunks {
                one(batch, (0, m), (0, n));
            }
        });
        return;
    }
    let wanted = (m * n * k / PART)
        .clamp(threads, threads * PARTS)
        .div_ceil(batches);
    let by_cols = n.div_ceil(block_columns(isa, k)).max(1);
    let by_rows = wanted
        .div_ceil(by_cols)
        .clamp(1, m.div_ceil(tile_rows(isa)));
    // Equal parts, each a multiple of the register tile.
    let height = m.div_ceil(by_rows).next_multiple_of(tile_rows(isa));
    let width = n.div_ceil(by_cols).next_multiple_of(16);
    let (by_rows, by_cols) = (m.div_ceil(height), n.div_ceil(width));
    pool.each(batches * by_rows * by_cols, |chunk| {
        let (batch, rest) = (chunk / (by_rows * by_cols), chunk % (by_rows * by_cols));
        let (col, row) = (rest / by_rows * width, rest % by_rows * height);
        one(batch, (row, m.min(row + height)), (col, n.min(col + width)));
    });
}

/// Offsets of batch number `batch`.
fn offsets(levels: &[Level], batch: usize) -> [isize; 3] {
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
