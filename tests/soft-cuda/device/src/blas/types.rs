//! Element types of matrices, and the precision in which products are computed.

/// A `cudaDataType` that the device computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Type {
    F32,
    F16,
    Bf16,
}

impl Type {
    /// From the number in the headers.
    pub fn new(number: u32) -> Option<Self> {
        match number {
            0 => Some(Type::F32),
            2 => Some(Type::F16),
            14 => Some(Type::Bf16),
            _ => None,
        }
    }

    /// Bytes of an element.
    pub fn bytes(self) -> u64 {
        match self {
            Type::F32 => 4,
            Type::F16 | Type::Bf16 => 2,
        }
    }

    /// Reads an element.
    ///
    /// # Safety
    /// The address holds one.
    pub unsafe fn load(self, address: u64) -> f32 {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Type::F32 => (address as *const f32).read(),
                Type::F16 => half_to_f32((address as *const u16).read()),
                Type::Bf16 => bf16_to_f32((address as *const u16).read()),
            }
        }
    }

    /// Writes an element, rounded to nearest, ties to even.
    ///
    /// # Safety
    /// The address may be written to.
    pub unsafe fn store(self, address: u64, value: f32) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Type::F32 => (address as *mut f32).write(value),
                Type::F16 => (address as *mut u16).write(f32_to_half(value)),
                Type::Bf16 => (address as *mut u16).write(f32_to_bf16(value)),
            }
        }
    }
}

/// How products are computed: what inputs are rounded to first. Sums are in f32 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compute {
    /// As they are.
    F32,
    /// 10 bits of fraction, ties away from zero.
    Tf32,
    /// bfloat16.
    Bf16,
    /// half.
    F16,
}

impl Compute {
    /// Rounds an input.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Compute::F32 => value,
            Compute::Tf32 if value.is_finite() => {
                f32::from_bits(value.to_bits().wrapping_add(0x1000) & !0x1fff)
            }
            Compute::Tf32 => value,
            Compute::Bf16 => bf16_to_f32(f32_to_bf16(value)),
            Compute::F16 => half_to_f32(f32_to_half(value)),
        }
    }
}

/// To bfloat16, ties to even; a NaN becomes the canonical one.
pub fn f32_to_bf16(value: f32) -> u16 {
    if value.is_nan() {
        return 0x7fff;
    }
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// From bfloat16.
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// To half, ties to even; a NaN becomes the canonical one.
pub fn f32_to_half(value: f32) -> u16 {
    let bits = value.to_bits();
    let (sign, magnitude) = ((bits >> 16 & 0x8000) as u16, bits & 0x7fff_ffff);
    match magnitude {
        0x7f80_0001.. => 0x7fff,
        // Rounds to 2^16 or beyond.
        0x477f_f000.. => sign | 0x7c00,
        0x3880_0000.. => {
            let rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
            sign | ((rounded - 0x3800_0000) >> 13) as u16
        }
        // Subnormal: adding one half leaves the fraction rounded in the lowest bits.
        _ => {
            let shifted = f32::from_bits(magnitude) + 0.5;
            sign | (shifted.to_bits() - 0x3f00_0000) as u16
        }
    }
}

/// From half.
pub fn half_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(bits >> 10 & 31), u32::from(bits & 1023));
    match exponent {
        0 => {
            let value = fraction as f32 / 16_777_216.0;
            f32::from_bits(value.to_bits() | sign)
        }
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_and_bfloat16_comes_back() {
        for bits in 0..=u16::MAX {
            let (half, bf16) = (half_to_f32(bits), bf16_to_f32(bits));
            if !half.is_nan() {
                assert_eq!(f32_to_half(half), bits);
            }
            if !bf16.is_nan() {
                assert_eq!(f32_to_bf16(bf16), bits);
            }
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_and_to_even() {
        // One third of the way, two thirds, and the middle between neighbours, for normal numbers and
        // for the smallest.
        for bits in [0x3c00u16, 0x3c01, 0x0001, 0x0002, 0x0400, 0x7bfe] {
            let (low, high) = (half_to_f32(bits), half_to_f32(bits + 1));
            assert_eq!(f32_to_half(low + (high - low) * 0.3), bits);
            assert_eq!(f32_to_half(low + (high - low) * 0.7), bits + 1);
            assert_eq!(f32_to_half(low + (high - low) * 0.5), bits + (bits & 1));
        }
        assert_eq!(f32_to_half(65519.9), 0x7bff);
        assert_eq!(f32_to_half(65520.0), 0x7c00);
        assert_eq!(f32_to_bf16(1.0 + 1.0 / 256.0), 0x3f80);
        assert_eq!(f32_to_bf16(1.0 + 3.0 / 256.0), 0x3f82);
        assert_eq!(Compute::Tf32.round(1.0 + 1.0 / 2048.0), 1.0 + 1.0 / 1024.0);
        assert_eq!(Compute::Tf32.round(f32::INFINITY), f32::INFINITY);
    }
}
