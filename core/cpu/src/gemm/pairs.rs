//! Products of bfloat16 operands with single-precision sums.
//!
//! Owns: rounding and packing operands as pairs of neighbouring summed positions, and the tile that
//! multiplies them (`vdpbf16ps`). Must not know: threads, programs.
//!
//! Operands are rounded to nearest, ties to even, when they are packed; products and sums are single
//! precision. A processor without AVX-512 BF16 computes the same sums with the rounded operands in
//! single precision: slower, and the sums are rounded in another order.

use super::pack::Block;
use crate::bf16::{self, round, widen};
use crate::vector::Isa;

/// Rows and columns of a register tile.
pub const TILE: [usize; 2] = [12, 32];

/// Summed positions, as pairs.
pub fn pairs(k: usize) -> usize {
    k.div_ceil(2)
}

/// Whether the processor multiplies bfloat16.
pub fn available(isa: Isa) -> bool {
    isa == Isa::Avx512 && bf16::available()
}

/// Packs a block into panels of `width`: `out[panel][pair][width]`, a pair in one word, the first
/// position in its lower half. What the block lacks is zero. `half` says that the block's numbers are
/// bfloat16 already.
///
/// # Safety
/// `start` is valid for everything that the strides reach, `out` for
/// `size.next_multiple_of(width) * pairs(k)` writes.
pub unsafe fn pack(isa: Isa, block: Block, half: bool, width: usize, out: *mut u32) {
    #[cfg(target_arch = "x86_64")]
    if available(isa) {
        // SAFETY: the caller's promise; the features were detected.
        unsafe {
            match (block.stride, block.step, half) {
                (1, _, false) => return x86::rows(block, width, out),
                (1, _, true) => return x86::rows_of_halves(block, width, out),
                (_, 1, false) => return x86::transpose(block, width, out),
                (_, 1, true) => return x86::transpose_halves(block, width, out),
                _ => {}
            }
        }
    }
    let _ = isa;
    let depth = pairs(block.k);
    for i in 0..block.size.next_multiple_of(width) {
        for pair in 0..depth {
            let number = |k: usize| {
                if i >= block.size || k >= block.k {
                    return 0;
                }
                let at = i as isize * block.stride + k as isize * block.step;
                // SAFETY: the caller's promise.
                u32::from(unsafe {
                    match half {
                        true => *block.start.cast::<u16>().offset(at),
                        false => round(*block.start.offset(at)),
                    }
                })
            };
            let word = number(2 * pair) | number(2 * pair + 1) << 16;
            // SAFETY: the caller's promise.
            unsafe { *out.add((i / width * depth + pair) * width + i % width) = word };
        }
    }
}

/// One tile of packed operands.
#[derive(Clone, Copy)]
pub struct Tile {
    /// Pairs of summed positions.
    pub pairs: usize,
    /// Left operand: packed, 12 words for each pair, or where it lies.
    pub a: *const u32,
    /// Bytes from row to row of a left operand that is read where it lies, its pairs being neighbours;
    /// zero for a packed one.
    pub a_row: usize,
    /// Right operand, 32 words for each pair.
    pub b: *const u32,
    /// Result: element `(row, col)` at `row * c_strides[0] + col * c_strides[1]`.
    pub c: *mut f32,
    /// The result is stored as bfloat16; nothing is added to what it holds then.
    pub half: bool,
    /// Elements from row to row and from column to column.
    pub c_strides: [isize; 2],
    /// Rows, at most 12.
    pub rows: usize,
    /// Columns, at most 32.
    pub cols: usize,
    /// Add to what the result holds.
    pub add: bool,
}

/// Computes a tile.
///
/// # Safety
/// The pointers are valid for everything that the tile reaches.
pub unsafe fn tile(isa: Isa, tile: &Tile) {
    #[cfg(target_arch = "x86_64")]
    if available(isa) && tile.c_strides[1] == 1 {
        // SAFETY: the caller's promise; the features were detected.
        return unsafe { x86::tile(tile) };
    }
    let _ = isa;
    let number = |half: u32| widen(half as u16);
    for row in 0..tile.rows {
        let mut sums = [0.0f32; TILE[1]];
        for pair in 0..tile.pairs {
            // SAFETY: the caller's promise.
            let a = unsafe {
                match tile.a_row {
                    0 => *tile.a.add(pair * TILE[0] + row),
                    bytes => tile.a.byte_add(row * bytes).add(pair).read_unaligned(),
                }
            };
            for (col, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                let b = unsafe { *tile.b.add(pair * TILE[1] + col) };
                *sum += number(a & 0xffff) * number(b & 0xffff);
                *sum += number(a >> 16) * number(b >> 16);
            }
        }
        for (col, sum) in sums.iter().enumerate().take(tile.cols) {
            let at = row as isize * tile.c_strides[0] + col as isize * tile.c_strides[1];
            // SAFETY: the caller's promise.
            unsafe {
                if tile.half {
                    *tile.c.cast::<u16>().offset(at) = round(*sum);
                    continue;
                }
                let c = tile.c.offset(at);
                *c = if tile.add { *c + sum } else { *sum };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{pairs, Block, Tile};
    use crate::bf16::element;
    use crate::gemm::pack::x86::{ones, transpose_16};
    use std::arch::x86_64::*;

    /// Sixteen pairs from two vectors of neighbouring positions.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn join(first: __m512, second: __m512) -> __m512i {
        let wide = |x: __m512| {
            // SAFETY: both types are 256 bits without invalid values.
            let half: __m256i = unsafe { std::mem::transmute(_mm512_cvtneps_pbh(x)) };
            _mm512_cvtepu16_epi32(half)
        };
        _mm512_or_si512(wide(first), _mm512_slli_epi32::<16>(wide(second)))
    }

    /// The elements of a summed position lie side by side.
    ///
    /// # Safety
    /// As [`super::pack`]; the processor has AVX-512 BF16.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub unsafe fn rows(block: Block, width: usize, out: *mut u32) {
        let depth = pairs(block.k);
        for pair in 0..depth {
            let from = block.start.wrapping_offset(2 * pair as isize * block.step);
            let next = from.wrapping_offset(block.step);
            let both = 2 * pair + 1 < block.k;
            for first in (0..block.size).step_by(width) {
                for part in (0..width).step_by(16) {
                    let at = first + part;
                    let have = ones(block.size.saturating_sub(at));
                    let to = out.wrapping_add(first * depth + pair * width + part);
                    // SAFETY: masks keep every access inside what the caller promises; the prefetch is a
                    // hint.
                    unsafe {
                        let ahead = from.wrapping_offset(8 * block.step).wrapping_add(at);
                        _mm_prefetch(ahead.cast(), _MM_HINT_T0);
                        _mm_prefetch(ahead.wrapping_offset(block.step).cast(), _MM_HINT_T0);
                        let x = _mm512_maskz_loadu_ps(have, from.wrapping_add(at));
                        let there = if both { have } else { 0 };
                        let y = _mm512_maskz_loadu_ps(there, next.wrapping_add(at));
                        _mm512_mask_storeu_epi32(to.cast(), ones(width - part), join(x, y));
                    }
                }
            }
        }
    }

    /// The summed positions of a row or column lie side by side.
    ///
    /// # Safety
    /// As [`super::pack`]; the processor has AVX-512 BF16.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub unsafe fn transpose(block: Block, width: usize, out: *mut u32) {
        let depth = pairs(block.k);
        for panel in (0..block.size).step_by(width) {
            for part in (0..width).step_by(16) {
                let (first, wide) = (panel + part, (width - part).min(16));
                let have = block.size.saturating_sub(first).min(wide);
                for pair in (0..depth).step_by(16) {
                    let left = block.k - 2 * pair;
                    let mut x = [_mm512_setzero_ps(); 16];
                    for (i, x) in x.iter_mut().enumerate().take(have) {
                        let from = (first + i) as isize * block.stride + 2 * pair as isize;
                        let from = block.start.wrapping_offset(from);
                        // SAFETY: masks keep every access inside the block; the prefetch is a hint.
                        *x = unsafe {
                            _mm_prefetch(from.wrapping_add(64).cast(), _MM_HINT_T0);
                            let low = _mm512_maskz_loadu_ps(ones(left), from);
                            let high = ones(left.saturating_sub(16));
                            let high = _mm512_maskz_loadu_ps(high, from.wrapping_add(16));
                            std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low))
                        };
                    }
                    let x = transpose_16(x);
                    for (i, x) in x.iter().enumerate().take(depth - pair) {
                        let to = panel * depth + (pair + i) * width + part;
                        // SAFETY: inside the panel.
                        unsafe {
                            _mm512_mask_storeu_ps(out.wrapping_add(to).cast(), ones(wide), *x);
                        }
                    }
                }
            }
        }
    }

    /// As [`rows`], of numbers that are bfloat16 already.
    ///
    /// # Safety
    /// As [`super::pack`]; the processor has AVX-512 BF16.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub unsafe fn rows_of_halves(block: Block, width: usize, out: *mut u32) {
        let depth = pairs(block.k);
        let start = block.start.cast::<i16>();
        for pair in 0..depth {
            let from = start.wrapping_offset(2 * pair as isize * block.step);
            let next = from.wrapping_offset(block.step);
            let both = 2 * pair + 1 < block.k;
            for first in (0..block.size).step_by(width) {
                for part in (0..width).step_by(16) {
                    let at = first + part;
                    let have = ones(block.size.saturating_sub(at));
                    let to = out.wrapping_add(first * depth + pair * width + part);
                    // SAFETY: masks keep every access inside what the caller promises; the prefetch is a
                    // hint.
                    unsafe {
                        let ahead = from.wrapping_offset(8 * block.step).wrapping_add(at);
                        _mm_prefetch(ahead.cast(), _MM_HINT_T0);
                        _mm_prefetch(ahead.wrapping_offset(block.step).cast(), _MM_HINT_T0);
                        let x = _mm256_maskz_loadu_epi16(have, from.wrapping_add(at));
                        let there = if both { have } else { 0 };
                        let y = _mm256_maskz_loadu_epi16(there, next.wrapping_add(at));
                        let y = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(y));
                        let words = _mm512_or_si512(_mm512_cvtepu16_epi32(x), y);
                        _mm512_mask_storeu_epi32(to.cast(), ones(width - part), words);
                    }
                }
            }
        }
    }

    /// As [`transpose`], of numbers that are bfloat16 already: neighbours are pairs as they lie.
    ///
    /// # Safety
    /// As [`super::pack`]; the processor has AVX-512 BF16.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub unsafe fn transpose_halves(block: Block, width: usize, out: *mut u32) {
        let depth = pairs(block.k);
        let start = block.start.cast::<i16>();
        for panel in (0..block.size).step_by(width) {
            for part in (0..width).step_by(16) {
                let (first, wide) = (panel + part, (width - part).min(16));
                let have = block.size.saturating_sub(first).min(wide);
                for pair in (0..depth).step_by(16) {
                    let left = block.k - 2 * pair;
                    let there = ((1u64 << left.min(32)) - 1) as __mmask32;
                    let mut x = [_mm512_setzero_ps(); 16];
                    for (i, x) in x.iter_mut().enumerate().take(have) {
                        let from = (first + i) as isize * block.stride + 2 * pair as isize;
                        let from = start.wrapping_offset(from);
                        // SAFETY: the mask keeps every access inside the block; the prefetch is a hint.
                        *x = unsafe {
                            _mm_prefetch(from.wrapping_add(64).cast(), _MM_HINT_T0);
                            _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(there, from))
                        };
                    }
                    let x = transpose_16(x);
                    for (i, x) in x.iter().enumerate().take(depth - pair) {
                        let to = panel * depth + (pair + i) * width + part;
                        // SAFETY: inside the panel.
                        unsafe {
                            _mm512_mask_storeu_ps(out.wrapping_add(to).cast(), ones(wide), *x);
                        }
                    }
                }
            }
        }
    }

    /// # Safety
    /// As [`super::tile`]; the processor has AVX-512 BF16, and columns are neighbours.
    pub unsafe fn tile(tile: &Tile) {
        macro_rules! by_rows {
            ($($rows:literal)*) => {
                match tile.rows {
                    $($rows => unsafe {
                        match tile.a_row {
                            0 => rows_of::<$rows, false>(tile),
                            _ => rows_of::<$rows, true>(tile),
                        }
                    },)*
                    _ => {}
                }
            };
        }
        // SAFETY: the caller's promise.
        by_rows!(1 2 3 4 5 6 7 8 9 10 11 12)
    }

    /// # Safety
    /// As [`tile`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn rows_of<const ROWS: usize, const DIRECT: bool>(tile: &Tile) {
        // SAFETY: the caller's promise, everywhere below; the vector types hold any bits.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
            let mut b = tile.b;
            // Every third row has a pointer; the others are one or two strides from it.
            let mut a = [0, 3, 6, 9].map(|row| tile.a.wrapping_byte_add(row * tile.a_row));
            for i in 0..ROWS {
                let c = element(tile.c, tile.half, i as isize * tile.c_strides[0]);
                _mm_prefetch(c.cast(), _MM_HINT_T0);
            }
            let pair = |x: __m512i| std::mem::transmute::<__m512i, __m512bh>(x);
            for _ in 0..tile.pairs {
                let b0 = pair(_mm512_loadu_si512(b.cast()));
                let b1 = pair(_mm512_loadu_si512(b.add(16).cast()));
                for (i, sum) in sums.iter_mut().enumerate() {
                    let from = match DIRECT {
                        true => a[i / 3].wrapping_byte_add(i % 3 * tile.a_row),
                        false => a[0].add(i),
                    };
                    let x = pair(_mm512_set1_epi32(from.cast::<i32>().read_unaligned()));
                    sum[0] = _mm512_dpbf16_ps(sum[0], x, b0);
                    sum[1] = _mm512_dpbf16_ps(sum[1], x, b1);
                }
                match DIRECT {
                    true => a = a.map(|a| a.wrapping_add(1)),
                    false => a[0] = a[0].add(super::TILE[0]),
                }
                b = b.add(super::TILE[1]);
            }
            let masks = [ones(tile.cols), ones(tile.cols.saturating_sub(16))];
            if tile.half {
                for (i, sum) in sums.iter().enumerate() {
                    let c = element(tile.c, true, i as isize * tile.c_strides[0]).cast::<i16>();
                    for (half, mask) in masks.into_iter().enumerate() {
                        let x = _mm512_cvtneps_pbh(sum[half]);
                        let x = std::mem::transmute::<__m256bh, __m256i>(x);
                        _mm256_mask_storeu_epi16(c.wrapping_add(16 * half), mask, x);
                    }
                }
                return;
            }
            for (i, sum) in sums.iter().enumerate() {
                let c = tile.c.wrapping_offset(i as isize * tile.c_strides[0]);
                for (half, mask) in masks.into_iter().enumerate() {
                    let c = c.wrapping_add(16 * half);
                    let mut x = sum[half];
                    if tile.add {
                        x = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, c), x);
                    }
                    _mm512_mask_storeu_ps(c, mask, x);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_pack_gives_the_same_pairs() {
        for (size, k, width) in [
            (12usize, 32, 12usize),
            (40, 33, 32),
            (5, 1, 12),
            (70, 95, 32),
        ] {
            for (stride, step) in [(1, size as isize), (k as isize, 1)] {
                let source: Vec<f32> = (0..size * k).map(|i| (i as f32 * 0.37).sin()).collect();
                let halves: Vec<u16> = source.iter().map(|x| round(*x)).collect();
                let run = |isa, half: bool| {
                    let start = match half {
                        true => halves.as_ptr().cast(),
                        false => source.as_ptr(),
                    };
                    let block = Block {
                        start,
                        stride,
                        step,
                        size,
                        k,
                    };
                    let mut out = vec![7u32; size.next_multiple_of(width) * pairs(k)];
                    // SAFETY: the vectors are as long as the strides reach.
                    unsafe { pack(isa, block, half, width, out.as_mut_ptr()) };
                    out
                };
                let expected = run(Isa::Portable, false);
                for (isa, half) in [
                    (Isa::Portable, true),
                    (Isa::detect(), false),
                    (Isa::detect(), true),
                ] {
                    assert_eq!(
                        run(isa, half),
                        expected,
                        "{size} {k} {width} {isa:?} {half}"
                    );
                }
            }
        }
    }
}
