//! Matrix products: the `gemm` crate on one thread a block, blocks cut by us.
//!
//! Batched products (attention) are split by batch; single large ones by rows or columns, at
//! multiples of the kernel's own blocks, so that the sums of an element do not depend on the split.

use crate::memory::Shared;
use crate::pool::Pool;
use ablate_compiler::ir::{Gemm, Level};

/// Multiply-adds below which a second thread costs more than it saves.
const SERIAL: usize = 1 << 17;
/// Rows or columns of a block are a multiple of this.
const BLOCK: usize = 96;

/// Runs a product.
///
/// # Safety
/// The pointers are valid for everything that the strides reach, and `c` overlaps neither operand.
pub unsafe fn run(pool: &Pool, gemm: &Gemm, a: Shared, b: Shared, c: Shared) {
    let batches: usize = gemm.batch.iter().map(|l| l.size).product();
    let work = batches * gemm.m.size * gemm.n.size * gemm.k.size;
    let threads = if work < SERIAL { 1 } else { pool.threads() };
    if batches >= threads {
        let chunks = if threads == 1 {
            1
        } else {
            batches.min(threads * 4)
        };
        pool.each(chunks, |chunk| {
            for batch in batches * chunk / chunks..batches * (chunk + 1) / chunks {
                // SAFETY: the caller's promise; batches have their own part of the result.
                unsafe { one(gemm, batch, a, b, c, (0, gemm.m.size), (0, gemm.n.size)) };
            }
        });
        return;
    }
    // Fewer batches than threads: cut the longer side of the result.
    let by_rows = gemm.m.size >= gemm.n.size;
    let side = if by_rows { gemm.m.size } else { gemm.n.size };
    let each = side.div_ceil(threads).next_multiple_of(BLOCK).min(side);
    let blocks = side.div_ceil(each);
    pool.each(batches * blocks, |chunk| {
        let (batch, block) = (chunk / blocks, chunk % blocks);
        let part = (block * each, ((block + 1) * each).min(side));
        let (rows, cols) = if by_rows {
            (part, (0, gemm.n.size))
        } else {
            ((0, gemm.m.size), part)
        };
        // SAFETY: the caller's promise; blocks are disjoint.
        unsafe { one(gemm, batch, a, b, c, rows, cols) };
    });
}

/// Offsets of batch number `batch`.
fn offsets(levels: &[Level], batch: usize) -> (isize, isize, isize) {
    let mut rest = batch;
    levels.iter().rev().fold((0, 0, 0), |(a, b, c), level| {
        let i = (rest % level.size) as isize;
        rest /= level.size;
        (a + i * level.a, b + i * level.b, c + i * level.c)
    })
}

/// Rows `m.0..m.1` and columns `n.0..n.1` of one batch.
///
/// # Safety
/// As [`run`].
unsafe fn one(
    gemm: &Gemm,
    batch: usize,
    a: Shared,
    b: Shared,
    c: Shared,
    m: (usize, usize),
    n: (usize, usize),
) {
    let (oa, ob, oc) = offsets(&gemm.batch, batch);
    let (m0, n0) = (m.0 as isize, n.0 as isize);
    // SAFETY: the caller's promise.
    unsafe {
        gemm::gemm(
            m.1 - m.0,
            n.1 - n.0,
            gemm.k.size,
            c.add(oc + m0 * gemm.m.c + n0 * gemm.n.c),
            gemm.n.c,
            gemm.m.c,
            false,
            a.add(gemm.offset[0] + oa + m0 * gemm.m.a).cast_const(),
            gemm.k.a,
            gemm.m.a,
            b.add(gemm.offset[1] + ob + n0 * gemm.n.b).cast_const(),
            gemm.n.b,
            gemm.k.b,
            0.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
