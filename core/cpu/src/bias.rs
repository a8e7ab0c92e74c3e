//! The bias of a product: one number a column, added when the sums are complete.
//!
//! Owns: that addition, cut among threads. Must not know: how the product was made. Every element is one sum more, so
//! that no bit depends on the cut. Programs with rounded activations have no such products.

use crate::matmul::offsets;
use crate::memory::Shared;
use crate::pool::Pool;
use ablate_compiler::ir::Gemm;

/// Elements of a part that is worth handing to another thread.
const PART: usize = 1 << 15;

/// Adds a bias to all results.
///
/// # Safety
/// `c` is the product's result; `bias` has a number for each column.
pub unsafe fn run(pool: &Pool, gemm: &Gemm, c: Shared, bias: Shared) {
    let batches: usize = gemm.batch.iter().map(|l| l.size).product();
    let (m, n) = (gemm.m.size, gemm.n.size);
    let rows = batches * m;
    let each = PART.div_ceil(n);
    pool.each(rows.div_ceil(each), |part| {
        for row in part * each..rows.min((part + 1) * each) {
            // SAFETY: the caller's promise; parts are disjoint.
            unsafe { add(gemm, row / m, row % m, c, bias) };
        }
    });
}

/// Adds a bias to the results of one batch, on this thread.
///
/// # Safety
/// As [`run`].
pub unsafe fn batch(gemm: &Gemm, batch: usize, c: Shared, bias: Shared) {
    for row in 0..gemm.m.size {
        // SAFETY: the caller's promise.
        unsafe { add(gemm, batch, row, c, bias) };
    }
}

/// # Safety
/// As [`run`].
unsafe fn add(gemm: &Gemm, batch: usize, row: usize, c: Shared, bias: Shared) {
    let [_, _, first] = offsets(&gemm.batch, batch);
    let first = first + row as isize * gemm.m.c;
    let n = gemm.n.size;
    // SAFETY: the caller's promise; the compiler gives a bias only to products whose columns are neighbours.
    unsafe {
        let bias = std::slice::from_raw_parts(bias.0, n);
        let row = std::slice::from_raw_parts_mut(c.0.offset(first), n);
        for (value, bias) in row.iter_mut().zip(bias) {
            *value += bias;
        }
    }
}
