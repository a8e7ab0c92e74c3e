//! Products of split operands by pairs: `vdpbf16ps`, or the same arithmetic in vectors of single precision.
//!
//! Owns: the register tile that makes three products of bfloat16 pairs. Must not know: how operands are
//! packed ([`super::planes`]), threads.
//!
//! An element is two chains of sums over the pairs, the second position of a pair before the first, as
//! `vdpbf16ps` adds them: one of the products of high parts, one of `high * low` and then `low * high`. The
//! second, smaller chain is added last ([`total`]). A product of two bfloat16 numbers has sixteen bits, so
//! single precision rounds only when it adds: every instruction set gives the same bits. The exception
//! is the far end of the range: `vdpbf16ps` takes numbers and results below `2^-126` for zero and does not
//! round products beyond single precision's range before it adds them.

use super::planes::{GROUP, PANEL};
use crate::vector::Isa;

/// Rows of a register tile.
pub const ROWS: usize = 6;

/// What is multiplied: packed rows and columns of one block of the sum.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    /// Left operand, from a group's first row on.
    pub left: *const u32,
    /// Right operand, from a panel's first column on.
    pub right: *const u32,
    /// Pairs of summed positions that are not all padding.
    pub pairs: usize,
    /// Pairs that operands are laid out for.
    pub depth: usize,
    /// Result: element `(row, col)` at `row * c_strides[0] + col * c_strides[1]`.
    pub c: *mut f32,
    /// The result is stored as bfloat16; nothing is added to what it holds then. Tile registers only.
    pub half: bool,
    /// Elements from row to row and from column to column.
    pub c_strides: [isize; 2],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Add to what the result holds.
    pub add: bool,
}

/// The sum of both chains. Where the large products are infinite or NaN, so is the result, as it would be
/// of whole numbers; the small ones would make NaN of it (`infinity * 0`, `infinity - infinity`).
#[inline(always)]
pub fn total(main: f32, cross: f32) -> f32 {
    if main.is_finite() {
        main + cross
    } else {
        main
    }
}

/// Whether pairs are multiplied by the processor.
pub fn native(isa: Isa) -> bool {
    super::pairs::available(isa)
}

/// Computes an area, of operands in two planes.
///
/// # Safety
/// The pointers are valid for everything that the area reaches.
pub unsafe fn run(isa: Isa, area: &Area) {
    // SAFETY: the caller's promise; the features were detected.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            _ if native(isa) && area.c_strides[1] == 1 => x86::run(area),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => x86::plain_512(area),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::plain_256(area),
            _ => plain(area),
        }
    }
}

/// A row of a panel at a time, in plain Rust.
///
/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn plain(area: &Area) {
    let lower = |word: u32| f32::from_bits(word << 16);
    let upper = |word: u32| f32::from_bits(word & 0xffff_0000);
    for panel in (0..area.cols).step_by(PANEL) {
        let right = area.right.wrapping_add(2 * panel * area.depth);
        for row in 0..area.rows {
            let group = area
                .left
                .wrapping_add(2 * (row / GROUP) * GROUP * area.depth);
            let (mut main, mut cross) = ([0.0f32; PANEL], [0.0f32; PANEL]);
            for pair in 0..area.pairs {
                let at = pair / GROUP * GROUP * GROUP + row % GROUP * GROUP + pair % GROUP;
                // SAFETY: the caller's promise.
                let (high, low, right, right_low) = unsafe {
                    (
                        *group.add(at),
                        *group.add(at + GROUP * area.depth),
                        std::slice::from_raw_parts(right.add(pair * PANEL), PANEL),
                        std::slice::from_raw_parts(right.add((area.depth + pair) * PANEL), PANEL),
                    )
                };
                for col in 0..PANEL {
                    let (b, b_low) = (right[col], right_low[col]);
                    main[col] += upper(high) * upper(b);
                    main[col] += lower(high) * lower(b);
                    cross[col] += upper(high) * upper(b_low);
                    cross[col] += lower(high) * lower(b_low);
                    cross[col] += upper(low) * upper(b);
                    cross[col] += lower(low) * lower(b);
                }
            }
            for col in 0..PANEL.min(area.cols - panel) {
                let at = row as isize * area.c_strides[0];
                let at = at + (panel + col) as isize * area.c_strides[1];
                let x = total(main[col], cross[col]);
                // SAFETY: the caller's promise.
                unsafe {
                    let c = area.c.offset(at);
                    *c = if area.add { *c + x } else { x };
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::{Area, GROUP, PANEL, ROWS};
    use crate::gemm::pack::x86::ones;
    use std::arch::x86_64::*;

    /// # Safety
    /// As [`super::run`]; the processor has AVX-512 F, BW, DQ and VL.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub unsafe fn plain_512(area: &Area) {
        // SAFETY: the caller's promise.
        unsafe { super::plain(area) }
    }

    /// # Safety
    /// As [`super::run`]; the processor has AVX2.
    #[target_feature(enable = "avx2")]
    pub unsafe fn plain_256(area: &Area) {
        // SAFETY: the caller's promise.
        unsafe { super::plain(area) }
    }

    /// # Safety
    /// As [`super::run`]; the processor has AVX-512 BF16, and columns are neighbours.
    pub unsafe fn run(area: &Area) {
        macro_rules! by_rows {
            ($rows:expr, $panel:expr, $first:expr, $($count:literal)*) => {
                match $rows {
                    $($count => unsafe { tile::<$count>(area, $panel, $first) },)*
                    _ => {}
                }
            };
        }
        for panel in (0..area.cols).step_by(PANEL) {
            for first in (0..area.rows).step_by(ROWS) {
                // SAFETY: the caller's promise.
                by_rows!((area.rows - first).min(ROWS), panel, first, 1 2 3 4 5 6)
            }
        }
    }

    /// # Safety
    /// As [`run`].
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn tile<const COUNT: usize>(area: &Area, panel: usize, first: usize) {
        let mut rows = [area.left; COUNT];
        for (i, row) in rows.iter_mut().enumerate() {
            let (group, place) = ((first + i) / GROUP, (first + i) % GROUP);
            *row = row.wrapping_add(2 * group * GROUP * area.depth + place * GROUP);
        }
        let right = area.right.wrapping_add(2 * panel * area.depth);
        let c = area.c.wrapping_offset(first as isize * area.c_strides[0]);
        let c = c.wrapping_add(panel);
        // SAFETY: the caller's promise, everywhere below; the vector types hold any bits.
        unsafe {
            let pair = |x: __m512i| std::mem::transmute::<__m512i, __m512bh>(x);
            let load = |from: *const u32| pair(_mm512_loadu_si512(from.cast()));
            let splat = |from: *const u32| pair(_mm512_set1_epi32(*from as i32));
            let (low, right_low) = (GROUP * area.depth, PANEL * area.depth);
            let mut main = [[_mm512_setzero_ps(); 2]; COUNT];
            let mut cross = main;
            for i in 0..COUNT {
                let c = c.wrapping_offset(i as isize * area.c_strides[0]);
                _mm_prefetch(c.cast(), _MM_HINT_T0);
            }
            for start in (0..area.pairs).step_by(GROUP) {
                for at in 0..GROUP.min(area.pairs - start) {
                    let from = right.add((start + at) * PANEL);
                    let high = [load(from), load(from.add(16))];
                    let from = from.add(right_low);
                    let small = [load(from), load(from.add(16))];
                    for i in 0..COUNT {
                        let from = rows[i].add(start * GROUP + at);
                        let (a, a_low) = (splat(from), splat(from.add(low)));
                        for half in 0..2 {
                            main[i][half] = _mm512_dpbf16_ps(main[i][half], a, high[half]);
                            let x = _mm512_dpbf16_ps(cross[i][half], a, small[half]);
                            cross[i][half] = _mm512_dpbf16_ps(x, a_low, high[half]);
                        }
                    }
                }
            }
            let left = area.cols - panel;
            let masks = [ones(left), ones(left.saturating_sub(16))];
            for i in 0..COUNT {
                let c = c.wrapping_offset(i as isize * area.c_strides[0]);
                for (half, mask) in masks.into_iter().enumerate() {
                    let c = c.wrapping_add(16 * half);
                    let sum = total(main[i][half], cross[i][half]);
                    let old = _mm512_maskz_loadu_ps(mask, c);
                    let sum = if area.add {
                        _mm512_add_ps(old, sum)
                    } else {
                        sum
                    };
                    _mm512_mask_storeu_ps(c, mask, sum);
                }
            }
        }
    }

    /// [`super::total`] of sixteen elements.
    #[target_feature(enable = "avx512f")]
    pub fn total(main: __m512, cross: __m512) -> __m512 {
        let infinity = _mm512_set1_ps(f32::INFINITY);
        let finite = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(_mm512_abs_ps(main), infinity);
        _mm512_mask_add_ps(main, finite, main, cross)
    }
}
