//! From a block of sums to the result.
//!
//! Owns: adding both chains of a block, rounding if the result is stored so, and writing its elements where
//! they belong. Must not know: who made the sums.

use super::PANEL;
use crate::bf16;
use crate::gemm::triple::{total, Area};
use crate::vector::Isa;

/// Writes the rows and columns of `to`, or adds them to what the result holds.
///
/// # Safety
/// `to.c` is valid for everything that its strides reach; `main` and `cross` have `to.rows` rows.
pub unsafe fn write(isa: Isa, main: &[f32], cross: Option<&[f32; 1024]>, to: &Area) {
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512 && to.c_strides[1] == 1 {
        // SAFETY: the caller's promise; the features were detected.
        unsafe {
            if !to.half {
                return x86::write(main, cross, to);
            }
            if bf16::available() && cross.is_none() {
                return x86::write_rounded(main, to);
            }
        }
    }
    let _ = isa;
    for row in 0..to.rows {
        for col in 0..to.cols {
            let at = row * PANEL + col;
            let x = match cross {
                Some(cross) => total(main[at], cross[at]),
                None => main[at],
            };
            let at = row as isize * to.c_strides[0] + col as isize * to.c_strides[1];
            // SAFETY: the caller's promise.
            unsafe {
                if to.half {
                    *to.c.cast::<u16>().offset(at) = bf16::round(x);
                    continue;
                }
                let c = to.c.offset(at);
                *c = if to.add { *c + x } else { x };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Area, PANEL};
    use crate::gemm::pack::x86::ones;
    use crate::gemm::triple::x86::total;
    use std::arch::x86_64::*;

    /// # Safety
    /// As [`super::write`]; the processor has AVX-512 BF16, columns are neighbours, and the result is stored
    /// as bfloat16.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub unsafe fn write_rounded(main: &[f32], to: &Area) {
        let masks = [ones(to.cols), ones(to.cols.saturating_sub(16))];
        for row in 0..to.rows {
            let c = to.c.cast::<i16>();
            let c = c.wrapping_offset(row as isize * to.c_strides[0]);
            for (part, mask) in masks.into_iter().enumerate() {
                let at = row * PANEL + 16 * part;
                // SAFETY: the caller's promise; the mask keeps every access to `c` inside the result, and both
                // types are 256 bits without invalid values.
                unsafe {
                    let x = _mm512_cvtneps_pbh(_mm512_loadu_ps(main.as_ptr().add(at)));
                    let x = std::mem::transmute::<__m256bh, __m256i>(x);
                    _mm256_mask_storeu_epi16(c.wrapping_add(16 * part), mask, x);
                }
            }
        }
    }

    /// # Safety
    /// As [`super::write`]; the processor has AVX-512 F, and columns are neighbours.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn write(main: &[f32], cross: Option<&[f32; 1024]>, to: &Area) {
        let masks = [ones(to.cols), ones(to.cols.saturating_sub(16))];
        for row in 0..to.rows {
            let c = to.c.wrapping_offset(row as isize * to.c_strides[0]);
            for (half, mask) in masks.into_iter().enumerate() {
                let at = row * PANEL + 16 * half;
                let c = c.wrapping_add(16 * half);
                // SAFETY: the caller's promise; masks keep every access to `c` inside the result.
                unsafe {
                    let mut x = _mm512_loadu_ps(main.as_ptr().add(at));
                    if let Some(cross) = cross {
                        x = total(x, _mm512_loadu_ps(cross.as_ptr().add(at)));
                    }
                    if to.add {
                        x = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, c), x);
                    }
                    _mm512_mask_storeu_ps(c, mask, x);
                }
            }
        }
    }
}
