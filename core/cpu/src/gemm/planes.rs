//! Operands laid out once for tile registers and for pairs alike.
//!
//! Owns: the layout of an operand as one plane of rounded numbers or as two, of high and low parts
//! ([`super::split`]), in words of two neighbouring summed positions, the first in the lower half. Must
//! not know: who multiplies, threads.
//!
//! ```text
//! left    out[group of 16 rows][plane][16 pairs at a time][16 rows][16 pairs]
//! right   out[panel of 32 columns][plane][pairs][32 columns]
//! ```
//!
//! What a block lacks of a last group, panel or sixteen pairs is zero. Sixteen rows of sixteen pairs are
//! a tile of the left operand, sixteen pairs of sixteen columns one of the right.

use super::pack::Block;
use super::split::{nearest, parts};
use crate::vector::Isa;

/// Rows of a group, and pairs that are laid out together.
pub const GROUP: usize = 16;
/// Columns of a panel.
pub const PANEL: usize = 32;

/// Which operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Rows of the result.
    Left,
    /// Columns of the result.
    Right,
}

impl Side {
    /// Rows of a group or columns of a panel.
    pub fn width(self) -> usize {
        match self {
            Side::Left => GROUP,
            Side::Right => PANEL,
        }
    }
}

/// What a number becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planes {
    /// One bfloat16 number.
    Rounded,
    /// A high and a low one.
    Split,
}

impl Planes {
    /// How many there are.
    pub fn count(self) -> usize {
        match self {
            Planes::Rounded => 1,
            Planes::Split => 2,
        }
    }
}

/// Pairs that `k` summed positions are laid out as.
pub fn padded_pairs(k: usize) -> usize {
    k.div_ceil(2 * GROUP) * GROUP
}

/// Words of a packed operand.
pub fn words(planes: Planes, side: Side, size: usize, k: usize) -> usize {
    size.next_multiple_of(side.width()) * padded_pairs(k) * planes.count()
}

/// Packs a block. `half` says that its numbers are bfloat16 already; they have no low part.
///
/// # Safety
/// `start` is valid for everything that the strides reach, `out` for [`words`] writes.
pub unsafe fn pack(isa: Isa, planes: Planes, side: Side, block: Block, half: bool, out: *mut u32) {
    // SAFETY: the caller's promise; an `Isa` is only made for instruction sets that were detected.
    unsafe {
        match (isa, block.stride, block.step) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, 1, _) | (Isa::Avx512, _, 1) => x86::pack(planes, side, block, half, out),
            _ => general(planes, side, block, half, out),
        }
    }
}

/// Where the first word of sixteen rows or columns (`group`), of sixteen pairs (`tile`) lies in the first
/// plane, the distances from one row or column to the next and from pair to pair, and that from plane to
/// plane.
fn place(planes: Planes, side: Side, depth: usize, group: usize, tile: usize) -> [usize; 4] {
    let plane = side.width() * depth;
    match side {
        Side::Left => {
            let at = group * planes.count() * plane + tile * GROUP * GROUP;
            [at, GROUP, 1, plane]
        }
        Side::Right => {
            let (panel, half) = (group / 2, group % 2);
            let at = panel * planes.count() * plane + tile * GROUP * PANEL + half * GROUP;
            [at, 1, PANEL, plane]
        }
    }
}

/// Any strides.
///
/// # Safety
/// As [`pack`].
unsafe fn general(planes: Planes, side: Side, block: Block, half: bool, out: *mut u32) {
    let depth = padded_pairs(block.k);
    for i in 0..block.size.next_multiple_of(side.width()) {
        for pair in 0..depth {
            let number = |k: usize| {
                if i >= block.size || k >= block.k {
                    return [0, 0];
                }
                let at = i as isize * block.stride + k as isize * block.step;
                // SAFETY: the caller's promise.
                unsafe {
                    match (half, planes) {
                        (true, _) => [*block.start.cast::<u16>().offset(at), 0],
                        (_, Planes::Rounded) => [nearest(*block.start.offset(at)), 0],
                        (_, Planes::Split) => parts(*block.start.offset(at)),
                    }
                }
            };
            let (first, second) = (number(2 * pair), number(2 * pair + 1));
            let [at, each, step, plane] = place(planes, side, depth, i / GROUP, pair / GROUP);
            let at = at + i % GROUP * each + pair % GROUP * step;
            for number in 0..planes.count() {
                let word = u32::from(first[number]) | u32::from(second[number]) << 16;
                // SAFETY: the caller's promise.
                unsafe { *out.add(at + number * plane) = word };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{padded_pairs, place, Block, Planes, Side, GROUP};
    use crate::gemm::pack::x86::{ones, transpose_16};
    use crate::gemm::split::x86::{parts, round};
    use std::arch::x86_64::*;

    /// Sixteen vectors, each in both planes.
    type Words = [[__m512i; 2]; GROUP];

    #[target_feature(enable = "avx512f")]
    fn halves(planes: Planes, x: __m512) -> [__m512i; 2] {
        match planes {
            Planes::Rounded => [round(x), _mm512_setzero_si512()],
            Planes::Split => parts(x),
        }
    }

    /// Row by row (or column by column): sixteen pairs of each, whose positions are neighbours.
    ///
    /// # Safety
    /// As [`super::pack`], for the block's numbers from `(first, k)` on.
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn by_index(planes: Planes, block: &Block, first: usize, k: usize) -> Words {
        let mut words = [[_mm512_setzero_si512(); 2]; GROUP];
        let left = block.k - k;
        // The upper halves of two vectors, one after another.
        let mut upper = [0u16; 32];
        let places = upper.iter_mut().enumerate();
        places.for_each(|(i, u)| *u = 2 * i as u16 + 1);
        // SAFETY: masks keep every read inside the block; the prefetch is a hint.
        unsafe {
            let upper = _mm512_loadu_si512(upper.as_ptr().cast());
            let have = block.size.saturating_sub(first);
            for (i, words) in words.iter_mut().enumerate().take(have) {
                let from = (first + i) as isize * block.stride + k as isize;
                let from = block.start.wrapping_offset(from);
                _mm_prefetch(from.wrapping_add(64).cast(), _MM_HINT_T0);
                let x = _mm512_maskz_loadu_ps(ones(left), from);
                let there = ones(left.saturating_sub(16));
                let y = _mm512_maskz_loadu_ps(there, from.wrapping_add(16));
                let (x, y) = (halves(planes, x), halves(planes, y));
                let both = words.iter_mut().zip(x.into_iter().zip(y));
                for (word, (x, y)) in both.take(planes.count()) {
                    *word = _mm512_permutex2var_epi16(x, upper, y);
                }
            }
        }
        words
    }

    /// Pair by pair: sixteen rows (or columns) of each, which are neighbours.
    ///
    /// # Safety
    /// As [`by_index`].
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn by_pair(planes: Planes, block: &Block, first: usize, k: usize) -> Words {
        let mut words = [[_mm512_setzero_si512(); 2]; GROUP];
        let have = ones(block.size.saturating_sub(first));
        let pairs = (block.k - k).div_ceil(2);
        for (pair, words) in words.iter_mut().enumerate().take(pairs) {
            let position = k + 2 * pair;
            let from = block.start.wrapping_offset(position as isize * block.step);
            let from = from.wrapping_add(first);
            let both = position + 1 < block.k;
            // SAFETY: masks keep every read inside the block.
            let (x, y) = unsafe {
                let x = _mm512_maskz_loadu_ps(have, from);
                let there = if both { have } else { 0 };
                (
                    x,
                    _mm512_maskz_loadu_ps(there, from.wrapping_offset(block.step)),
                )
            };
            let (x, y) = (halves(planes, x), halves(planes, y));
            let both = words.iter_mut().zip(x.into_iter().zip(y));
            for (word, (x, y)) in both.take(planes.count()) {
                *word = _mm512_or_si512(_mm512_srli_epi32::<16>(x), y);
            }
        }
        words
    }

    /// As [`by_index`], of numbers that are bfloat16 already: neighbours are pairs as they lie.
    ///
    /// # Safety
    /// As [`by_index`].
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn halves_by_index(block: &Block, first: usize, k: usize) -> Words {
        let mut words = [[_mm512_setzero_si512(); 2]; GROUP];
        let there = ((1u64 << (block.k - k).min(32)) - 1) as __mmask32;
        let have = block.size.saturating_sub(first);
        for (i, words) in words.iter_mut().enumerate().take(have) {
            let from = (first + i) as isize * block.stride + k as isize;
            let from = block.start.cast::<i16>().wrapping_offset(from);
            // SAFETY: the mask keeps every read inside the block; the prefetch is a hint.
            words[0] = unsafe {
                _mm_prefetch(from.wrapping_add(64).cast(), _MM_HINT_T0);
                _mm512_maskz_loadu_epi16(there, from)
            };
        }
        words
    }

    /// As [`by_pair`], of numbers that are bfloat16 already.
    ///
    /// # Safety
    /// As [`by_index`].
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn halves_by_pair(block: &Block, first: usize, k: usize) -> Words {
        let mut words = [[_mm512_setzero_si512(); 2]; GROUP];
        let have = __mmask32::from(ones(block.size.saturating_sub(first)));
        let pairs = (block.k - k).div_ceil(2);
        for (pair, words) in words.iter_mut().enumerate().take(pairs) {
            let position = k + 2 * pair;
            let from = block.start.cast::<i16>();
            let from = from.wrapping_offset(position as isize * block.step);
            let from = from.wrapping_add(first);
            let there = if position + 1 < block.k { have } else { 0 };
            // SAFETY: masks keep every read inside the block.
            let (x, y) = unsafe {
                let next = from.wrapping_offset(block.step);
                (
                    _mm512_maskz_loadu_epi16(have, from),
                    _mm512_maskz_loadu_epi16(there, next),
                )
            };
            let x = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(x));
            let y = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(y));
            words[0] = _mm512_or_si512(x, _mm512_slli_epi32::<16>(y));
        }
        words
    }

    #[target_feature(enable = "avx512f")]
    fn turned(words: [__m512i; GROUP]) -> [__m512i; GROUP] {
        transpose_16(words.map(|x| _mm512_castsi512_ps(x))).map(|x| _mm512_castps_si512(x))
    }

    /// # Safety
    /// As [`super::pack`]; the processor has AVX-512 F and BW; one of the block's strides is one.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub unsafe fn pack(planes: Planes, side: Side, block: Block, half: bool, out: *mut u32) {
        let depth = padded_pairs(block.k);
        let groups = block.size.next_multiple_of(side.width()) / GROUP;
        let tiles = depth / GROUP;
        let neighbours = block.stride == 1;
        for number in 0..groups * tiles {
            // In the order in which the operand lies.
            let (group, tile) = match neighbours {
                true => (number % groups, number / groups),
                false => (number / tiles, number % tiles),
            };
            let (first, k) = (group * GROUP, 2 * tile * GROUP);
            // SAFETY: the caller's promise.
            let words = unsafe {
                match (neighbours, half) {
                    (true, false) => by_pair(planes, &block, first, k),
                    (false, false) => by_index(planes, &block, first, k),
                    (true, true) => halves_by_pair(&block, first, k),
                    (false, true) => halves_by_index(&block, first, k),
                }
            };
            let [at, each, step, plane] = place(planes, side, depth, group, tile);
            // The left operand lies row by row, the right one pair by pair.
            let turn = neighbours == (side == Side::Left);
            for which in 0..planes.count() {
                let one = words.map(|both| both[which]);
                let one = if turn { turned(one) } else { one };
                for (j, x) in one.into_iter().enumerate() {
                    let to = at + which * plane + j * each.max(step);
                    // SAFETY: inside of what the caller promises.
                    unsafe { _mm512_storeu_si512(out.wrapping_add(to).cast(), x) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_has_its_place_and_the_rest_is_zero() {
        for (size, k) in [(1usize, 1usize), (16, 32), (33, 70), (40, 31), (5, 1)] {
            for (stride, step) in [
                (1, size as isize + 3),
                (k as isize + 2, 1),
                (2 * k as isize, 2),
            ] {
                let source: Vec<f32> = (0..size * k * 4 + 64)
                    .map(|i| (i as f32 * 0.37).sin())
                    .collect();
                let block = Block {
                    start: source.as_ptr(),
                    stride,
                    step,
                    size,
                    k,
                };
                let halves: Vec<u16> = source.iter().map(|x| nearest(*x)).collect();
                let stored = Block {
                    start: halves.as_ptr().cast(),
                    ..block
                };
                for planes in [Planes::Rounded, Planes::Split] {
                    for side in [Side::Left, Side::Right] {
                        for isa in Isa::available() {
                            check(isa, planes, side, &source, (block, false));
                            check(isa, planes, side, &source, (stored, true));
                        }
                    }
                }
            }
        }
    }

    /// `stored` says that the block holds the source's numbers as bfloat16.
    fn check(isa: Isa, planes: Planes, side: Side, source: &[f32], (block, stored): (Block, bool)) {
        let Block { size, k, .. } = block;
        let mut out = vec![u32::MAX; words(planes, side, size, k)];
        // SAFETY: the source is longer than the strides reach.
        unsafe { pack(isa, planes, side, block, stored, out.as_mut_ptr()) };
        let depth = padded_pairs(k);
        let plane = side.width() * depth;
        for (at, word) in out.iter().enumerate() {
            let (panel, rest) = (at / (plane * planes.count()), at % (plane * planes.count()));
            let (number, rest) = (rest / plane, rest % plane);
            let (i, pair) = match side {
                Side::Left => (rest / 16 % 16, rest / 256 * 16 + rest % 16),
                Side::Right => (rest % 32, rest / 32),
            };
            let i = panel * side.width() + i;
            let half = |p: usize| {
                if i >= size || p >= k {
                    return 0;
                }
                let x = source[(i as isize * block.stride + p as isize * block.step) as usize];
                u32::from(match (planes, stored) {
                    (Planes::Rounded, _) => nearest(x),
                    (Planes::Split, true) => [nearest(x), 0][number],
                    (Planes::Split, false) => parts(x)[number],
                })
            };
            let expected = half(2 * pair) | half(2 * pair + 1) << 16;
            let case = (isa, planes, side, size, k, block.stride, stored, at);
            assert_eq!(*word, expected, "{case:?}");
        }
    }
}
