//! Which code multiplies matrices, by precision and processor.
//!
//! Owns: the choice, its name, and what its user should know about it. Must not know: how any of it is
//! done.

use crate::backend::Precision;
use crate::gemm::pairs;
use crate::gemm::planes::Planes;
use crate::gemm::tiles::Unit;
use crate::matmul_packed::Method;
use crate::vector::Isa;

/// How products are computed whose operands are packed before; none for the other kinds.
pub fn method(precision: Precision, tiles: Option<Unit>) -> Option<Method> {
    match (precision, tiles) {
        (Precision::F32, _) | (Precision::Bf16, None) => None,
        (Precision::Bf16, Some(unit)) => Some(Method::Tiles(unit, Planes::Rounded)),
        (Precision::F32Split, Some(unit)) => Some(Method::Tiles(unit, Planes::Split)),
        (Precision::F32Split, None) => Some(Method::Pairs),
    }
}

/// What multiplies, in a few words.
pub fn name(precision: Precision, isa: Isa, tiles: Option<Unit>) -> &'static str {
    match (precision, tiles) {
        (Precision::F32, _) => match isa {
            Isa::Avx512 => "AVX-512",
            Isa::Avx2 => "AVX2",
            Isa::Portable => "portable vectors",
        },
        (_, Some(Unit::Amx)) => "AMX",
        (_, Some(Unit::Emulated)) => "emulated AMX",
        (_, None) if pairs::available(isa) => "AVX-512 BF16",
        (_, None) => "single-precision vectors",
    }
}

/// What speaks against the choice, if anything does.
pub fn advice(precision: Precision, tiles: Option<Unit>) -> Option<&'static str> {
    let slow = precision == Precision::F32Split && tiles != Some(Unit::Amx);
    slow.then_some(
        "precision f32_split is slower than f32 on a processor without AMX, and less exact",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_products_without_amx_come_with_advice() {
        assert!(advice(Precision::F32Split, None).is_some());
        assert!(advice(Precision::F32Split, Some(Unit::Amx)).is_none());
        assert!(advice(Precision::F32, None).is_none());
        assert!(advice(Precision::Bf16, None).is_none());
    }

    #[test]
    fn amx_multiplies_bfloat16_only() {
        for precision in [Precision::F32Split, Precision::Bf16] {
            assert_eq!(name(precision, Isa::Avx512, Some(Unit::Amx)), "AMX");
            assert!(method(precision, Some(Unit::Amx)).is_some());
        }
        assert_eq!(
            name(Precision::F32, Isa::Avx512, Some(Unit::Amx)),
            "AVX-512"
        );
        assert!(method(Precision::F32, Some(Unit::Amx)).is_none());
    }
}
