//! A number as the sum of two bfloat16 numbers.
//!
//! Owns: what the high and the low part of a number are. Must not know: who multiplies them.
//!
//! `x = high + low + rest`. `high` is `x` rounded to nearest even and `low` what that leaves, rounded
//! again: sixteen bits of mantissa, `|rest| <= 2^-17 |x|` and `|low| <= 2^-8 |x|`, unless `low` is below
//! bfloat16's normal numbers. A product of two numbers is `high * high + high * low + low * high`: the
//! scheme of XLA's `BF16_BF16_F32_X3` and oneMKL's `FLOAT_TO_BF16X2`. What it leaves out is at most
//! `2^-15` of the product.
//!
//! Numbers at the upper end, which would round to infinity, are cut instead of rounded in both parts, so
//! that they stay finite and their parts do not exceed them. The low part of infinities and NaN is zero.

/// From here on numbers round to infinity.
const ROUNDS_TO_INFINITY: u32 = 0x7f7f_8000;
/// Infinity's bits; above are NaN.
const INFINITY: u32 = 0x7f80_0000;
/// The bit that makes a NaN quiet; it is the upper half's, so that a NaN stays one without the lower.
const QUIET: u32 = 0x0040_0000;
/// The bits of a number that are its bfloat16's.
const UPPER: u32 = 0xffff_0000;

/// The nearest bfloat16, ties to even, as its upper bits; NaN stays NaN. Other than [`crate::bf16::round`]
/// it keeps subnormal numbers, which whoever multiplies takes for zero.
pub fn nearest(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | (QUIET >> 16) as u16;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The upper bits of the high and of the low part.
pub fn parts(x: f32) -> [u16; 2] {
    let bits = x.to_bits();
    let upper = (bits >> 16) as u16;
    match bits & 0x7fff_ffff {
        INFINITY.. if x.is_nan() => [upper | (QUIET >> 16) as u16, 0],
        INFINITY.. => [upper, 0],
        ROUNDS_TO_INFINITY.. => {
            let low = x - f32::from_bits(bits & UPPER);
            [upper, (low.to_bits() >> 16) as u16]
        }
        _ => {
            let high = nearest(x);
            let low = x - f32::from_bits(u32::from(high) << 16);
            [high, nearest(low)]
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::{INFINITY, QUIET, ROUNDS_TO_INFINITY, UPPER};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    fn all(bits: u32) -> __m512i {
        _mm512_set1_epi32(bits as i32)
    }

    /// To the nearest upper half, ties to even, of numbers that are not NaN.
    #[target_feature(enable = "avx512f")]
    fn nearest(bits: __m512i) -> __m512i {
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), all(1));
        let up = _mm512_add_epi32(_mm512_add_epi32(bits, all(0x7fff)), odd);
        _mm512_and_si512(up, all(UPPER))
    }

    /// [`super::nearest`] of sixteen numbers, in the upper halves.
    #[target_feature(enable = "avx512f")]
    pub fn round(x: __m512) -> __m512i {
        let bits = _mm512_castps_si512(x);
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        let cut = _mm512_or_si512(_mm512_and_si512(bits, all(UPPER)), all(QUIET));
        _mm512_mask_mov_epi32(nearest(bits), nan, cut)
    }

    /// [`super::parts`] of sixteen numbers, in the upper halves.
    #[target_feature(enable = "avx512f")]
    pub fn parts(x: __m512) -> [__m512i; 2] {
        let bits = _mm512_castps_si512(x);
        let size = _mm512_and_si512(bits, all(0x7fff_ffff));
        let large = _mm512_cmpge_epu32_mask(size, all(ROUNDS_TO_INFINITY));
        let finite = _mm512_cmplt_epu32_mask(size, all(INFINITY));
        let nan = _mm512_cmpgt_epu32_mask(size, all(INFINITY));
        let high = _mm512_mask_and_epi32(nearest(bits), large, bits, all(UPPER));
        let high = _mm512_mask_or_epi32(high, nan, high, all(QUIET));
        let low = _mm512_maskz_sub_ps(finite, x, _mm512_castsi512_ps(high));
        let low = _mm512_castps_si512(low);
        let low = _mm512_mask_and_epi32(nearest(low), large, low, all(UPPER));
        [high, low]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(half: u16) -> f64 {
        f64::from(f32::from_bits(u32::from(half) << 16))
    }

    /// Numbers of every sign and exponent, and the ends of every range.
    fn numbers() -> Vec<f32> {
        let mut random = ablate_random::Stream::new(3, "split").reader();
        let mut all: Vec<f32> = (0..100_000)
            .map(|_| f32::from_bits(random.next_u32()))
            .collect();
        for bits in [0, 1, 0x007f_ffff, 0x0080_0000, 0x3f80_0000, 0x3f80_8000] {
            all.extend([bits, bits + 1].map(f32::from_bits));
        }
        for bits in [0x7f7e_ffff, 0x7f7f_0000, 0x7f7f_7fff, 0x7f7f_8000] {
            all.extend([bits, bits + 1, 0x8000_0000 | bits].map(f32::from_bits));
        }
        all.extend([f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY]);
        all.extend([f32::NAN, f32::from_bits(0x7f80_0001), -0.0]);
        all
    }

    #[test]
    fn two_parts_make_sixteen_bits_of_the_number() {
        for x in numbers() {
            let [high, low] = parts(x).map(number);
            if x.is_nan() {
                assert!(high.is_nan() && low == 0.0, "{:x}", x.to_bits());
                continue;
            }
            let x = f64::from(x);
            if x.is_infinite() {
                assert!(high == x && low == 0.0);
                continue;
            }
            // What the smallest bfloat16 cannot express is left over.
            let smallest = 2f64.powi(-133);
            let bound = if x.abs() < f64::from(f32::from_bits(ROUNDS_TO_INFINITY)) {
                2f64.powi(-17)
            } else {
                2f64.powi(-16)
            };
            let rest = (x - high - low).abs();
            assert!(rest <= bound * x.abs() + smallest / 2.0, "{x:e}");
            let most = 2f64.powi(-8) * x.abs() + smallest / 2.0;
            assert!(low.abs() <= most.max(smallest), "{x:e} {low:e}");
            assert!((high + low).abs() <= f64::from(f32::MAX), "{x:e}");
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn sixteen_at_once_have_the_same_bits() {
        use std::arch::x86_64::*;
        #[target_feature(enable = "avx512f")]
        fn check(chunk: &[f32; 16]) {
            // SAFETY: both types are 512 bits without invalid values.
            let [x] = [unsafe { std::mem::transmute::<[f32; 16], __m512>(*chunk) }];
            let vectors = [x86::parts(x)[0], x86::parts(x)[1], x86::round(x)];
            for (i, x) in chunk.iter().enumerate() {
                let [high, low] = parts(*x);
                for (vector, expected) in vectors.iter().zip([high, low, nearest(*x)]) {
                    // SAFETY: as above.
                    let found = unsafe { std::mem::transmute::<__m512i, [u32; 16]>(*vector) }[i];
                    assert_eq!(found, u32::from(expected) << 16, "{:x}", x.to_bits());
                }
            }
        }
        if !is_x86_feature_detected!("avx512f") {
            return println!("skipped: this processor has no AVX-512");
        }
        for chunk in numbers().as_chunks::<16>().0 {
            // SAFETY: the feature was detected.
            unsafe { check(chunk) };
        }
    }
}
