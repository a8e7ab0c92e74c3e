//! Operands laid out for the register tiles.
//!
//! Owns: copying a block of a strided matrix into panels. Must not know: products.
//!
//! A panel holds `width` rows (or columns) of the block, side by side for each summed position:
//! `out[panel][k][width]`. What the block lacks of a last panel is zero.

use crate::vector::Isa;

/// A block of a strided matrix: `size` rows or columns, `k` summed positions.
#[derive(Clone, Copy)]
pub struct Block {
    /// Element `(i, k)` at `i * stride + k * step`.
    pub start: *const f32,
    /// Elements from one row or column to the next.
    pub stride: isize,
    /// Elements from one summed position to the next.
    pub step: isize,
    /// Rows or columns.
    pub size: usize,
    /// Summed positions.
    pub k: usize,
}

/// Packs a block into panels of `width`.
///
/// # Safety
/// `start` is valid for everything that the strides reach, `out` for
/// `size.next_multiple_of(width) * k` writes.
pub unsafe fn pack(isa: Isa, block: Block, width: usize, out: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        match (block.stride, block.step, isa) {
            #[cfg(target_arch = "x86_64")]
            (1, _, Isa::Avx512) => x86::rows(block, width, out),
            (1, _, _) => rows(block, width, out),
            #[cfg(target_arch = "x86_64")]
            (_, 1, Isa::Avx512) => x86::transpose(block, width, out),
            _ => general(block, width, out),
        }
    }
}

/// The elements of a summed position lie side by side.
///
/// # Safety
/// As [`pack`].
unsafe fn rows(block: Block, width: usize, out: *mut f32) {
    for k in 0..block.k {
        for first in (0..block.size).step_by(width) {
            let size = (block.size - first).min(width);
            // SAFETY: the caller's promise.
            unsafe {
                let from = block.start.offset(k as isize * block.step).add(first);
                let to = out.add(first * block.k + k * width);
                let (head, tail) = std::slice::from_raw_parts_mut(to, width).split_at_mut(size);
                head.copy_from_slice(std::slice::from_raw_parts(from, size));
                tail.fill(0.0);
            }
        }
    }
}

/// Any strides.
///
/// # Safety
/// As [`pack`].
unsafe fn general(block: Block, width: usize, out: *mut f32) {
    for first in (0..block.size).step_by(width) {
        // Eight summed positions at a time, so that a line of either side is used while it is in cache.
        for from in (0..block.k).step_by(8) {
            for i in 0..width {
                for k in from..(from + 8).min(block.k) {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let at = (first + i) as isize * block.stride + k as isize * block.step;
                        *out.add(first * block.k + k * width + i) = if first + i < block.size {
                            *block.start.offset(at)
                        } else {
                            0.0
                        };
                    }
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::Block;
    use std::arch::x86_64::*;

    /// Summed positions that are fetched ahead of the one that is copied.
    const AHEAD: isize = 8;

    pub fn ones(n: usize) -> __mmask16 {
        ((1u32 << n.min(16)) - 1) as __mmask16
    }

    /// The elements of a summed position lie side by side.
    ///
    /// # Safety
    /// As [`super::pack`]; the processor has AVX-512 F.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn rows(block: Block, width: usize, out: *mut f32) {
        let end = out.wrapping_add(block.size.next_multiple_of(width) * block.k);
        // Position by position: neighbouring positions may be pages apart.
        for k in 0..block.k {
            let from = block.start.wrapping_offset(k as isize * block.step);
            let ahead = from.wrapping_offset(AHEAD * block.step);
            for first in (0..block.size).step_by(width) {
                for part in (0..width).step_by(16) {
                    let at = first + part;
                    let have = ones(block.size.saturating_sub(at));
                    let to = out.wrapping_add(first * block.k + k * width + part);
                    // SAFETY: the mask keeps the read inside the block. Where a vector is wider than the
                    // panel, what is written beyond belongs to later positions or panels, which are
                    // written later, but at the very end, where the mask stops it. (Masked stores are
                    // slower.)
                    // The prefetch is a hint; an address outside of the matrix is ignored.
                    unsafe {
                        _mm_prefetch(ahead.wrapping_add(at).cast(), _MM_HINT_T0);
                        let x = _mm512_maskz_loadu_ps(have, from.wrapping_add(at));
                        if width - part < 16 && (k + 1 == block.k || to.wrapping_add(16) > end) {
                            _mm512_mask_storeu_ps(to, ones(width - part), x);
                        } else {
                            _mm512_storeu_ps(to, x);
                        }
                    }
                }
            }
        }
    }

    /// The summed positions of a row or column lie side by side: blocks of 16 x 16 are transposed in
    /// registers.
    ///
    /// # Safety
    /// As [`super::pack`]; the processor has AVX-512 F.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn transpose(block: Block, width: usize, out: *mut f32) {
        for panel in (0..block.size).step_by(width) {
            for part in (0..width).step_by(16) {
                let (first, wide) = (panel + part, (width - part).min(16));
                let have = block.size.saturating_sub(first).min(wide);
                for k in (0..block.k).step_by(16) {
                    let depth = (block.k - k).min(16);
                    let mut x = [_mm512_setzero_ps(); 16];
                    for (i, x) in x.iter_mut().enumerate().take(have) {
                        let from = (first + i) as isize * block.stride + k as isize;
                        let from = block.start.wrapping_offset(from);
                        // SAFETY: the mask keeps the read inside the block; the prefetch is a hint.
                        *x = unsafe {
                            _mm_prefetch(from.wrapping_add(32).cast(), _MM_HINT_T0);
                            _mm512_maskz_loadu_ps(ones(depth), from)
                        };
                    }
                    let x = transpose_16(x);
                    for (i, x) in x.iter().enumerate().take(depth) {
                        let to = panel * block.k + (k + i) * width + part;
                        // SAFETY: inside the panel.
                        unsafe { _mm512_mask_storeu_ps(out.wrapping_add(to), ones(wide), *x) };
                    }
                }
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    pub fn transpose_16(x: [__m512; 16]) -> [__m512; 16] {
        let zero = _mm512_setzero_ps();
        let (mut a, mut b) = ([zero; 16], [zero; 16]);
        // Pairs of rows, then pairs of pairs: 4 x 4 blocks inside each 128-bit lane.
        for i in 0..8 {
            a[2 * i] = _mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]);
            a[2 * i + 1] = _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]);
        }
        for i in 0..4 {
            let q = 4 * i;
            b[q] = _mm512_shuffle_ps::<0x44>(a[q], a[q + 2]);
            b[q + 1] = _mm512_shuffle_ps::<0xee>(a[q], a[q + 2]);
            b[q + 2] = _mm512_shuffle_ps::<0x44>(a[q + 1], a[q + 3]);
            b[q + 3] = _mm512_shuffle_ps::<0xee>(a[q + 1], a[q + 3]);
        }
        // Lanes: row group i, lane l -> column group l, lane i.
        for i in 0..4 {
            a[i] = _mm512_shuffle_f32x4::<0x88>(b[i], b[i + 4]);
            a[i + 4] = _mm512_shuffle_f32x4::<0xdd>(b[i], b[i + 4]);
            a[i + 8] = _mm512_shuffle_f32x4::<0x88>(b[i + 8], b[i + 12]);
            a[i + 12] = _mm512_shuffle_f32x4::<0xdd>(b[i + 8], b[i + 12]);
        }
        for i in 0..4 {
            b[i] = _mm512_shuffle_f32x4::<0x88>(a[i], a[i + 8]);
            b[i + 8] = _mm512_shuffle_f32x4::<0xdd>(a[i], a[i + 8]);
            b[i + 4] = _mm512_shuffle_f32x4::<0x88>(a[i + 4], a[i + 12]);
            b[i + 12] = _mm512_shuffle_f32x4::<0xdd>(a[i + 4], a[i + 12]);
        }
        b
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_hold_every_element_and_zeros() {
        for isa in Isa::available() {
            for (size, k, width) in [
                (1usize, 1, 4usize),
                (32, 48, 32),
                (33, 17, 32),
                (31, 5, 12),
                (24, 40, 12),
                (7, 33, 8),
            ] {
                for (stride, step) in [
                    (1, size as isize + 3),
                    (k as isize + 2, 1),
                    (2 * k as isize, 2),
                ] {
                    let source: Vec<f32> = (0..size * k * 4 + 64).map(|i| i as f32 + 1.0).collect();
                    let mut out = vec![f32::NAN; size.next_multiple_of(width) * k];
                    let block = Block {
                        start: source.as_ptr(),
                        stride,
                        step,
                        size,
                        k,
                    };
                    // SAFETY: the source is longer than the strides reach.
                    unsafe { pack(isa, block, width, out.as_mut_ptr()) };
                    for (at, found) in out.iter().enumerate() {
                        let (panel, rest) = (at / (width * k), at % (width * k));
                        let (p, i) = (rest / width, panel * width + rest % width);
                        let expected = if i < size {
                            source[(i as isize * stride + p as isize * step) as usize]
                        } else {
                            0.0
                        };
                        assert_eq!(*found, expected, "{isa:?} {size} {k} {width} {stride} {at}");
                    }
                }
            }
        }
    }
}
