//! bfloat16: the upper half of single precision.
//!
//! Owns: what rounding means here, number by number, and numbers that can be widened. Must not know: who
//! rounds. Rounding is that of the processor's own instruction (`vcvtneps2bf16`, Intel 64 and IA-32
//! Architectures Software Developer's Manual, volume 2), so that every path gives the same bits: to
//! nearest, ties to even; NaN stays NaN; subnormal numbers become zero.

/// The nearest bfloat16 of a number, as its upper bits.
#[inline(always)]
pub fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    if bits & 0x7f80_0000 == 0 {
        return (bits >> 16) as u16 & 0x8000;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The number with these upper bits.
#[inline(always)]
pub fn widen(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// A stored number.
pub trait Element: Copy {
    /// In single precision.
    fn wide(self) -> f32;
}

impl Element for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }
}

/// The bits of a bfloat16.
impl Element for u16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        widen(self)
    }
}

/// The element `index` of a buffer that starts at `start` and holds bfloat16 if `half`.
#[inline(always)]
pub fn element(start: *mut f32, half: bool, index: isize) -> *mut f32 {
    match half {
        true => start.cast::<u16>().wrapping_offset(index).cast(),
        false => start.wrapping_offset(index),
    }
}

/// Whether the processor rounds and multiplies bfloat16 itself.
pub fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_even() {
        for (x, expected) in [
            (1.0f32, 0x3f80),
            (1.0 + 1.0 / 256.0, 0x3f80),
            (1.0 + 3.0 / 256.0, 0x3f82),
            (1.0 + 1.0 / 255.0, 0x3f81),
            (-2.5, 0xc020),
            (f32::INFINITY, 0x7f80),
            (f32::MAX, 0x7f80),
            (0.0, 0),
            (-0.0, 0x8000),
            (1e-40, 0),
            (-1e-40, 0x8000),
            (f32::MIN_POSITIVE, 0x0080),
        ] {
            assert_eq!(round(x), expected, "{x:e}");
        }
        assert!(widen(round(f32::NAN)).is_nan());
    }

    #[test]
    fn what_was_rounded_is_widened_to_itself() {
        for half in (0..=u16::MAX).filter(|h| h & 0x7f80 != 0) {
            let x = widen(half);
            assert!(x.is_nan() || round(x) == half, "{half:#x}");
        }
    }
}
