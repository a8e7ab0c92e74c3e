//! Register tiles: the innermost loop of a product, once for each instruction set.
//!
//! Owns: `c[rows, cols] (+)= sum over k of a[row, k] * b[k, col]` for one tile that fits the
//! registers. Must not know: how a large product is cut into tiles, or who packed the operands.
//!
//! Every element is one chain of multiply-adds in the order of `k`. The AVX-512 and the AVX2 tile
//! round once for each multiply-add, so both give the same bits; the portable tile rounds twice.

use crate::vector::Isa;

/// One tile.
#[derive(Clone, Copy)]
pub struct Tile {
    /// Summed positions.
    pub k: usize,
    /// Left operand: element `(row, k)` at `row * a_row + k * a_step`.
    pub a: *const f32,
    /// Elements from row to row.
    pub a_row: isize,
    /// Elements from one summed position to the next.
    pub a_step: isize,
    /// Right operand, packed: [`Micro::cols`] elements for each summed position.
    pub b: *const f32,
    /// Result: element `(row, col)` at `row * c_row + col`.
    pub c: *mut f32,
    /// Elements from row to row.
    pub c_row: isize,
    /// Rows of this tile, at most [`Micro::rows`].
    pub rows: usize,
    /// Columns of this tile, at most [`Micro::cols`].
    pub cols: usize,
    /// Add to what the result holds instead of overwriting it.
    pub add: bool,
}

/// A tile function and its size.
#[derive(Clone, Copy)]
pub struct Micro {
    /// Most rows of a tile.
    pub rows: usize,
    /// Most columns of a tile, and the width of a packed panel.
    pub cols: usize,
    /// Computes a tile.
    pub run: unsafe fn(&Tile),
}

impl Micro {
    /// The tile function for an instruction set.
    pub fn of(isa: Isa) -> Micro {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Micro {
                rows: x86::ROWS_512,
                cols: 32,
                run: x86::avx512,
            },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 if is_x86_feature_detected!("fma") => Micro {
                rows: x86::ROWS_256,
                cols: 16,
                run: x86::avx2,
            },
            _ => Micro {
                rows: 4,
                cols: 8,
                run: portable,
            },
        }
    }
}

/// The tile in plain Rust.
///
/// # Safety
/// The pointers are valid for everything that the tile's strides reach.
unsafe fn portable(tile: &Tile) {
    let mut sums = [[0.0f32; 8]; 4];
    for k in 0..tile.k {
        for (row, sum) in sums.iter_mut().enumerate().take(tile.rows) {
            // SAFETY: the caller's promise.
            unsafe {
                let a = *tile
                    .a
                    .offset(row as isize * tile.a_row + k as isize * tile.a_step);
                for (col, s) in sum.iter_mut().enumerate() {
                    *s += a * *tile.b.add(k * 8 + col);
                }
            }
        }
    }
    for (row, sum) in sums.iter().enumerate().take(tile.rows) {
        // SAFETY: the caller's promise.
        let out = unsafe {
            std::slice::from_raw_parts_mut(tile.c.offset(row as isize * tile.c_row), tile.cols)
        };
        for (o, s) in out.iter_mut().zip(sum) {
            *o = if tile.add { *o + s } else { *s };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Tile;
    use std::arch::x86_64::*;

    /// Twelve rows of two vectors: 24 accumulators, two vectors of `b`, room for a broadcast.
    pub const ROWS_512: usize = 12;
    /// Six rows of two vectors: 12 accumulators of the 16 registers.
    pub const ROWS_256: usize = 6;

    /// # Safety
    /// As [`super::portable`]; the processor has AVX-512 F.
    pub unsafe fn avx512(tile: &Tile) {
        macro_rules! by_rows {
            ($($rows:literal)*) => {
                match (tile.rows, tile.a_row) {
                    // Packed rows lie side by side: their distances are known to the compiler.
                    $(($rows, 1) => unsafe { tile_512::<$rows, true>(tile) },
                      ($rows, _) => unsafe { tile_512::<$rows, false>(tile) },)*
                    _ => {}
                }
            };
        }
        // SAFETY: the caller's promise.
        by_rows!(1 2 3 4 5 6 7 8 9 10 11 12)
    }

    /// # Safety
    /// As [`avx512`].
    #[target_feature(enable = "avx512f")]
    unsafe fn tile_512<const ROWS: usize, const PACKED: bool>(tile: &Tile) {
        // SAFETY: the caller's promise, everywhere below.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
            let (mut a, mut b) = (tile.a, tile.b);
            let row = if PACKED { 1 } else { tile.a_row };
            for i in 0..ROWS {
                _mm_prefetch(tile.c.offset(i as isize * tile.c_row).cast(), _MM_HINT_T0);
            }
            for _ in 0..tile.k {
                let b0 = _mm512_loadu_ps(b);
                let b1 = _mm512_loadu_ps(b.add(16));
                for (i, sum) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*a.offset(i as isize * row));
                    sum[0] = _mm512_fmadd_ps(x, b0, sum[0]);
                    sum[1] = _mm512_fmadd_ps(x, b1, sum[1]);
                }
                a = a.offset(tile.a_step);
                b = b.add(32);
            }
            let mask = |from: usize| -> __mmask16 {
                let left = tile.cols.saturating_sub(from).min(16);
                ((1u32 << left) - 1) as __mmask16
            };
            let (m0, m1) = (mask(0), mask(16));
            for (i, sum) in sums.iter().enumerate() {
                let c = tile.c.offset(i as isize * tile.c_row);
                if tile.add {
                    let old0 = _mm512_maskz_loadu_ps(m0, c);
                    let old1 = _mm512_maskz_loadu_ps(m1, c.wrapping_add(16));
                    _mm512_mask_storeu_ps(c, m0, _mm512_add_ps(old0, sum[0]));
                    _mm512_mask_storeu_ps(c.wrapping_add(16), m1, _mm512_add_ps(old1, sum[1]));
                } else {
                    _mm512_mask_storeu_ps(c, m0, sum[0]);
                    _mm512_mask_storeu_ps(c.wrapping_add(16), m1, sum[1]);
                }
            }
        }
    }

    /// # Safety
    /// As [`super::portable`]; the processor has AVX2 and FMA.
    pub unsafe fn avx2(tile: &Tile) {
        macro_rules! by_rows {
            ($($rows:literal)*) => {
                match (tile.rows, tile.a_row) {
                    $(($rows, 1) => unsafe { tile_256::<$rows, true>(tile) },
                      ($rows, _) => unsafe { tile_256::<$rows, false>(tile) },)*
                    _ => {}
                }
            };
        }
        // SAFETY: the caller's promise.
        by_rows!(1 2 3 4 5 6)
    }

    /// # Safety
    /// As [`avx2`].
    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile_256<const ROWS: usize, const PACKED: bool>(tile: &Tile) {
        // SAFETY: the caller's promise, everywhere below.
        unsafe {
            let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
            let (mut a, mut b) = (tile.a, tile.b);
            let row = if PACKED { 1 } else { tile.a_row };
            for _ in 0..tile.k {
                let b0 = _mm256_loadu_ps(b);
                let b1 = _mm256_loadu_ps(b.add(8));
                for (i, sum) in sums.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(*a.offset(i as isize * row));
                    sum[0] = _mm256_fmadd_ps(x, b0, sum[0]);
                    sum[1] = _mm256_fmadd_ps(x, b1, sum[1]);
                }
                a = a.offset(tile.a_step);
                b = b.add(16);
            }
            for (i, sum) in sums.iter().enumerate() {
                let c = tile.c.offset(i as isize * tile.c_row);
                if tile.cols == 16 {
                    let (mut s0, mut s1) = (sum[0], sum[1]);
                    if tile.add {
                        s0 = _mm256_add_ps(_mm256_loadu_ps(c), s0);
                        s1 = _mm256_add_ps(_mm256_loadu_ps(c.add(8)), s1);
                    }
                    _mm256_storeu_ps(c, s0);
                    _mm256_storeu_ps(c.add(8), s1);
                } else {
                    let mut row = [0.0f32; 16];
                    _mm256_storeu_ps(row.as_mut_ptr(), sum[0]);
                    _mm256_storeu_ps(row.as_mut_ptr().add(8), sum[1]);
                    let out = std::slice::from_raw_parts_mut(c, tile.cols);
                    for (o, s) in out.iter_mut().zip(&row) {
                        *o = if tile.add { *o + s } else { *s };
                    }
                }
            }
        }
    }
}
