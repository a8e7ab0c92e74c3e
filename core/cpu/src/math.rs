//! Base-2 exponential and logarithm as polynomials, written so that loops over them vectorise.
//!
//! Products and sums are rounded one by one (no fused multiply-add), so every instruction set gives
//! the same bits. Coefficients: weighted least squares driven to the minimax error by iterative
//! reweighting (Lawson 1961) on the reduced interval. Errors below are maxima against f64.

/// Fitted coefficients, some of which happen to round to known constants.
#[allow(clippy::approx_constant, clippy::excessive_precision)]
pub mod coefficients {
    /// `(2^f - 1) / f` on [-1/2, 1/2], highest power first.
    pub const EXP2: [f32; 6] = [
        1.535_336_2e-4,
        1.339_887_5e-3,
        9.618_437e-3,
        5.550_332_4e-2,
        2.402_264_8e-1,
        6.931_472e-1,
    ];
    /// `log2(1 + f) / f` on [sqrt(1/2) - 1, sqrt(2) - 1], highest power first.
    pub const LOG2: [f32; 10] = [
        -0.109_948_81,
        0.186_174_66,
        -0.191_062_93,
        0.204_600_68,
        -0.239_617_39,
        0.288_567_4,
        -0.360_696_64,
        0.480_898_23,
        -0.721_347_33,
        1.442_695,
    ];
}

/// Adding it, 1.5 * 2^23, rounds a small number to a whole one and leaves that in the low bits.
pub const MAGIC: f32 = 12_582_912.0;
/// The bits of the root of one half.
pub const ROOT_HALF: u32 = 0x3f35_04f3;

#[inline(always)]
fn polynomial<const N: usize>(coefficients: [f32; N], f: f32) -> f32 {
    coefficients[1..]
        .iter()
        .fold(coefficients[0], |p, c| p * f + c)
}

/// 2^x with a relative error below 2.0e-7; 0 below -150, infinite from 128 on, NaN for NaN.
#[inline(always)]
pub fn exp2(x: f32) -> f32 {
    // Comparisons rather than min/max: they keep a NaN.
    let x = if x > 128.0 { 128.0 } else { x };
    let x = if x < -151.0 { -151.0 } else { x };
    // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits.
    let shifted = x + MAGIC;
    let whole = (shifted.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
    let f = x - (shifted - MAGIC);
    let p = polynomial(coefficients::EXP2, f) * f + 1.0;
    // Two factors: 2^128 and subnormal results do not fit one.
    let half = whole >> 1;
    let scale = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    p * scale(half) * scale(whole.wrapping_sub(half))
}

/// log2(x) with an absolute error below 1.5e-7 near one and a relative error below 2.0e-7 elsewhere;
/// -inf for zero, NaN for negatives.
#[inline(always)]
pub fn log2(x: f32) -> f32 {
    // Subnormals are scaled up first.
    let small = x < f32::MIN_POSITIVE;
    let y = if small { x * 8_388_608.0 } else { x };
    let bias = if small { 23.0 } else { 0.0 };
    // The mantissa is brought into [sqrt(1/2), sqrt(2)).
    let bits = y.to_bits().wrapping_sub(ROOT_HALF);
    let exponent = (bits as i32) >> 23;
    let mantissa = f32::from_bits((bits & 0x007f_ffff).wrapping_add(ROOT_HALF));
    let f = mantissa - 1.0;
    let p = polynomial(coefficients::LOG2, f);
    let result = p * f + (exponent as f32 - bias);
    let result = if x == f32::INFINITY { x } else { result };
    let result = if x == 0.0 { f32::NEG_INFINITY } else { result };
    // Negative or NaN.
    if x >= 0.0 {
        result
    } else {
        f32::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp2_error_is_as_stated() {
        let mut worst = 0.0f64;
        for i in -1_260_000..1_279_999 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp2();
            worst = worst.max(((f64::from(exp2(x)) - exact) / exact).abs());
        }
        assert!(worst < 2.0e-7, "{worst:e}");
        assert_eq!(exp2(0.0), 1.0);
        assert_eq!(exp2(128.0), f32::INFINITY);
        assert_eq!(exp2(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp2(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp2(-200.0), 0.0);
        assert_eq!(exp2(-149.0), f32::from_bits(1));
        assert!(exp2(f32::NAN).is_nan());
    }

    #[test]
    fn log2_error_is_as_stated() {
        let (mut absolute, mut relative) = (0.0f64, 0.0f64);
        for i in 1..4_000_000u32 {
            let x = f32::from_bits(i * 532);
            if !x.is_normal() {
                continue;
            }
            let exact = f64::from(x).log2();
            let error = (f64::from(log2(x)) - exact).abs();
            if exact.abs() < 1.0 {
                absolute = absolute.max(error);
            } else {
                relative = relative.max(error / exact.abs());
            }
        }
        assert!(
            absolute < 1.5e-7 && relative < 2.0e-7,
            "{absolute:e} {relative:e}"
        );
        assert_eq!(log2(1.0), 0.0);
        assert_eq!(log2(8.0), 3.0);
        assert_eq!(log2(0.0), f32::NEG_INFINITY);
        assert_eq!(log2(f32::INFINITY), f32::INFINITY);
        assert!((log2(f32::from_bits(1)) + 149.0).abs() < 1e-4);
        assert!(log2(-1.0).is_nan() && log2(f32::NAN).is_nan());
    }
}
