use super::emulated::Emulated;
use super::*;
use crate::gemm::split::nearest as round;

/// Registers of words, whatever they mean.
type Tile = [u32; WORDS];

/// `sum + left * right` of full tiles.
///
/// # Safety
/// As [`TileUnit::configure`].
unsafe fn product<U: TileUnit>(unit: &mut U, sum: &Tile, left: &Tile, right: &Tile) -> Tile {
    let mut out = [0u32; WORDS];
    // SAFETY: the caller's promise; tiles are as long as their rows reach.
    unsafe {
        unit.configure(&Shapes::FULL);
        unit.load::<3>(sum.as_ptr(), LEFT);
        unit.load::<4>(left.as_ptr(), LEFT);
        unit.load::<6>(right.as_ptr(), LEFT);
        unit.multiply::<3, 4, 6>();
        unit.store::<3>(out.as_mut_ptr().cast(), LEFT);
        unit.release();
    }
    out
}

/// What every unit gives; the processor's where there is one.
fn results(sum: &Tile, left: &Tile, right: &Tile) -> Vec<(&'static str, Tile)> {
    // SAFETY: software; the processor's only where it was detected.
    let mut all = vec![("emulated", unsafe {
        product(&mut Emulated::new(), sum, left, right)
    })];
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if amx::available() {
        // SAFETY: as above.
        all.push(("AMX", unsafe { product(&mut amx::Amx, sum, left, right) }));
        return all;
    }
    println!("skipped for AMX: this processor or its system does not offer it");
    all
}

fn pair(first: f32, second: f32) -> u32 {
    u32::from(round(first)) | u32::from(round(second)) << 16
}

/// A tile with one word in place.
fn one(row: usize, word: usize, value: u32) -> Tile {
    let mut tile = [0; WORDS];
    tile[row * 16 + word] = value;
    tile
}

fn small_numbers(seed: u64) -> [f32; 2 * WORDS] {
    let mut random = ablate_random::Stream::new(seed, "tiles").reader();
    std::array::from_fn(|_| random.below(15) as f32 - 7.0)
}

/// Whole numbers make every order of sums exact, so that the places are what is tested.
#[test]
fn a_product_of_tiles_is_the_product_of_matrices() {
    let (a, b) = (small_numbers(1), small_numbers(2));
    let left: Tile = std::array::from_fn(|i| pair(a[2 * i], a[2 * i + 1]));
    // Pair `k` of column `n`: rows `2 k` and `2 k + 1` of a matrix `[32, 16]`.
    let right: Tile = std::array::from_fn(|i| {
        let (k, n) = (i / 16, i % 16);
        pair(b[2 * k * 16 + n], b[(2 * k + 1) * 16 + n])
    });
    let sum: Tile = std::array::from_fn(|i| (i as f32).to_bits());
    for (unit, found) in results(&sum, &left, &right) {
        for (i, found) in found.iter().enumerate() {
            let (m, n) = (i / 16, i % 16);
            let products: f32 = (0..32).map(|k| a[m * 32 + k] * b[k * 16 + n]).sum();
            assert_eq!(f32::from_bits(*found), i as f32 + products, "{unit} {i}");
        }
    }
}

#[test]
fn denormals_are_zero_and_infinities_and_nan_are_kept() {
    let tiny = f32::from_bits(0x0040_0000);
    let least = f32::MIN_POSITIVE;
    for (sum, left, right, expected) in [
        // A denormal operand, a denormal sum, a product and a sum that would be denormal.
        (0.0, tiny, 2f32.powi(100), 0.0),
        (tiny, 0.0, 0.0, 0.0),
        (0.0, 2f32.powi(-64), 2f32.powi(-63), 0.0),
        (-1.5 * least, 1.0, least, 0.0),
        // The least normal number stays.
        (0.0, 2f32.powi(-63), 2f32.powi(-63), least),
        (f32::INFINITY, 1.0, 1.0, f32::INFINITY),
        (0.0, f32::INFINITY, -2.0, f32::NEG_INFINITY),
        (0.0, 3e38, 3e38, f32::INFINITY),
        // Ties to even, and past a tie.
        (1.0, 2f32.powi(-12), 2f32.powi(-12), 1.0),
        (1.0, 1.5, 2f32.powi(-24), 1.0 + f32::EPSILON),
    ] {
        let (sum, left) = (one(2, 5, sum.to_bits()), one(2, 0, pair(left, 0.0)));
        for (unit, found) in results(&sum, &left, &one(0, 5, pair(right, 0.0))) {
            let found = f32::from_bits(found[2 * 16 + 5]);
            assert_eq!(found, expected, "{unit}: {right}");
        }
    }
    for (sum, left, right) in [
        (f32::INFINITY, f32::NEG_INFINITY, 1.0),
        (0.0, f32::INFINITY, 0.0),
        (0.0, f32::NAN, 1.0),
        (f32::NAN, 1.0, 1.0),
        // A denormal is zero.
        (0.0, f32::INFINITY, tiny),
    ] {
        let (sum, left) = (one(2, 5, sum.to_bits()), one(2, 0, pair(left, 0.0)));
        for (unit, found) in results(&sum, &left, &one(0, 5, pair(right, 0.0))) {
            let found = f32::from_bits(found[2 * 16 + 5]);
            assert!(found.is_nan(), "{unit}: {left:?} {right}");
        }
    }
}

/// Even positions are summed apart from odd ones, and both before the sum so far.
#[test]
fn the_emulation_adds_in_the_manuals_order() {
    let third = 1.0 / 3.0f32;
    let third = f32::from_bits(u32::from(round(third)) << 16);
    let small = 2f32.powi(-20);
    let mut left = [0; WORDS];
    left[..3].copy_from_slice(&[pair(1.0, third), pair(small, third), pair(small, -1.0)]);
    let mut right = [0; WORDS];
    for k in 0..3 {
        right[16 * k] = pair(third, small);
    }
    // SAFETY: software.
    let found = unsafe {
        product(
            &mut Emulated::new(),
            &one(0, 0, 7.25f32.to_bits()),
            &left,
            &right,
        )
    };
    let even = small.mul_add(third, small.mul_add(third, third));
    let odd = -small + (third * small + third * small);
    assert_eq!(f32::from_bits(found[0]), 7.25 + (even + odd));
}

/// Numbers whose sums round: the processor may differ from the manual in the order, not by more than all
/// orders differ.
#[test]
fn the_processor_agrees_with_the_emulation() {
    let mut random = ablate_random::Stream::new(9, "tiles").reader();
    let mut tile = || -> Tile {
        std::array::from_fn(|_| pair(random.normal() as f32, random.normal() as f32))
    };
    let (left, right) = (tile(), tile());
    let all = results(&[0; WORDS], &left, &right);
    let [(_, first), (_, second)] = &all[..] else {
        return;
    };
    let different = first.iter().zip(second).filter(|(x, y)| x != y).count();
    println!("AMX and its emulation differ in the bits of {different} of {WORDS} sums");
    for (x, y) in first.iter().zip(second) {
        let (x, y) = (f32::from_bits(*x), f32::from_bits(*y));
        assert!((x - y).abs() <= 32.0 * 16.0 * f32::EPSILON, "{x} {y}");
    }
}

#[test]
#[should_panic(expected = "ldtilecfg refuses")]
fn the_emulation_refuses_what_the_processor_would() {
    let shapes = Shapes {
        palette: 2,
        ..Shapes::FULL
    };
    // SAFETY: software.
    unsafe { Emulated::new().configure(&shapes) };
}

#[test]
fn the_configuration_is_laid_out_as_the_processor_reads_it() {
    assert_eq!(size_of::<Shapes>(), 64);
    assert_eq!(std::mem::offset_of!(Shapes, row_bytes), 16);
    assert_eq!(std::mem::offset_of!(Shapes, rows), 48);
}
