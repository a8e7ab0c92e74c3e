//! The bias of a product: one number a column, added when the sums are complete.
//!
//! Owns: that addition, cut among threads. Must not know: how the product was made. Every element is one sum more, so
//! that no bit depends on the cut; a result stored as bfloat16 is read as the number it is and rounded again.

use crate::bf16;
use crate::matmul::offsets;
use crate::memory::Shared;
use crate::pool::Pool;
use ablate_compiler::ir::Gemm;

/// Elements of a part that is worth handing to another thread.
const PART: usize = 1 << 15;

/// Adds a bias to all results.
///
/// # Safety
/// `c` is the product's result, which holds bfloat16 if `half`; `bias` has a number for each column.
pub unsafe fn run(pool: &Pool, gemm: &Gemm, c: Shared, half: bool, bias: Shared) {
    let batches: usize = gemm.batch.iter().map(|l| l.size).product();
    let (m, n) = (gemm.m.size, gemm.n.size);
    let rows = batches * m;
    let each = PART.div_ceil(n);
    pool.each(rows.div_ceil(each), |part| {
        for row in part * each..rows.min((part + 1) * each) {
            // SAFETY: the caller's promise; parts are disjoint.
            unsafe { add(gemm, row / m, row % m, c, half, bias) };
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
        unsafe { add(gemm, batch, row, c, false, bias) };
    }
}

/// # Safety
/// As [`run`].
unsafe fn add(gemm: &Gemm, batch: usize, row: usize, c: Shared, half: bool, bias: Shared) {
    let [_, _, first] = offsets(&gemm.batch, batch);
    let first = first + row as isize * gemm.m.c;
    let n = gemm.n.size;
    // SAFETY: the caller's promise; the compiler gives a bias only to products whose columns are neighbours.
    unsafe {
        let bias = std::slice::from_raw_parts(bias.0, n);
        let start = bf16::element(c.0, half, first);
        if half {
            let row = std::slice::from_raw_parts_mut(start.cast::<u16>(), n);
            for (value, bias) in row.iter_mut().zip(bias) {
                *value = bf16::round(bf16::widen(*value) + bias);
            }
        } else {
            let row = std::slice::from_raw_parts_mut(start, n);
            for (value, bias) in row.iter_mut().zip(bias) {
                *value += bias;
            }
        }
    }
}
