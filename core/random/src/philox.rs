//! Philox4x32-10: ten rounds of two 32 x 32 -> 64 multiplications over a 128-bit counter.

/// Four words of output.
pub type Block = [u32; 4];

/// Elements that sixteen blocks, computed side by side, fill.
pub const GROUP: usize = 64;

const M0: u32 = 0xD251_1F53;
const M1: u32 = 0xCD9E_8D57;
const W0: u32 = 0x9E37_79B9;
const W1: u32 = 0xBB67_AE85;

#[inline(always)]
fn wide(a: u32, b: u32) -> (u32, u32) {
    let p = u64::from(a) * u64::from(b);
    ((p >> 32) as u32, p as u32)
}

/// The Philox4x32-10 block function, bit for bit that of the Random123 library.
#[inline(always)]
pub fn philox4x32(counter: Block, key: [u32; 2]) -> Block {
    let ([mut c0, mut c1, mut c2, mut c3], [mut k0, mut k1]) = (counter, key);
    for round in 0..10 {
        if round > 0 {
            k0 = k0.wrapping_add(W0);
            k1 = k1.wrapping_add(W1);
        }
        let (hi0, lo0) = wide(M0, c0);
        let (hi1, lo1) = wide(M1, c2);
        (c0, c1, c2, c3) = (hi1 ^ c1 ^ k0, lo1, hi0 ^ c3 ^ k1, lo0);
    }
    [c0, c1, c2, c3]
}

/// Sixteen neighbouring blocks: written as lane loops so that the compiler vectorises them.
#[allow(clippy::needless_range_loop)] // the same lane of several arrays
#[inline(always)]
fn group(key: [u32; 2], step: u64, group: u64, out: &mut [f32; GROUP]) {
    let mut c: [[u32; 16]; 4] = [[0; 16]; 4];
    for j in 0..16 {
        let block = group * 16 + j as u64;
        c[0][j] = block as u32;
        c[1][j] = (block >> 32) as u32;
        c[2][j] = step as u32;
        c[3][j] = (step >> 32) as u32;
    }
    let [mut k0, mut k1] = key;
    for round in 0..10 {
        if round > 0 {
            k0 = k0.wrapping_add(W0);
            k1 = k1.wrapping_add(W1);
        }
        let mut n: [[u32; 16]; 4] = [[0; 16]; 4];
        for j in 0..16 {
            let (hi0, lo0) = wide(M0, c[0][j]);
            let (hi1, lo1) = wide(M1, c[2][j]);
            n[0][j] = hi1 ^ c[1][j] ^ k0;
            n[1][j] = lo1;
            n[2][j] = hi0 ^ c[3][j] ^ k1;
            n[3][j] = lo0;
        }
        c = n;
    }
    for (lane, words) in c.iter().enumerate() {
        for (j, word) in words.iter().enumerate() {
            out[lane * 16 + j] = crate::unit(*word);
        }
    }
}

/// Fills `out` group by group, whole groups where they belong and cut ones through a buffer.
#[inline(always)]
fn fill(first: u64, out: &mut [f32], mut group: impl FnMut(u64, &mut [f32; GROUP])) {
    let mut done = 0;
    let mut buffer = [0.0; GROUP];
    while done < out.len() {
        let index = first + done as u64;
        let skip = (index % GROUP as u64) as usize;
        let n = (GROUP - skip).min(out.len() - done);
        let part = &mut out[done..done + n];
        match <&mut [f32; GROUP]>::try_from(&mut *part) {
            Ok(whole) => group(index / GROUP as u64, whole),
            Err(_) => {
                group(index / GROUP as u64, &mut buffer);
                part.copy_from_slice(&buffer[skip..skip + n]);
            }
        }
        done += n;
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
fn fill_avx512(key: [u32; 2], step: u64, first: u64, out: &mut [f32]) {
    use std::arch::x86_64::*;
    let wide = |x: u32| _mm512_set1_epi64(i64::from(x));
    let mut keys = [[_mm512_setzero_si512(); 2]; 10];
    let [mut k0, mut k1] = key;
    for pair in &mut keys {
        *pair = [wide(k0), wide(k1)];
        (k0, k1) = (k0.wrapping_add(W0), k1.wrapping_add(W1));
    }
    let lanes = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
    fill(first, out, |group, out| {
        // Eight blocks a vector, each word in the low half of a 64-bit lane: the multiplication wants
        // it there and ignores the other half. Two vectors alternate: a round waits for the one before.
        let start = |from: u64| {
            let c0 = _mm512_add_epi64(_mm512_set1_epi64(from as i64), lanes);
            let upper = wide((from >> 32) as u32);
            [c0, upper, wide(step as u32), wide((step >> 32) as u32)]
        };
        let mut pair = [start(group * 16), start(group * 16 + 8)];
        for [k0, k1] in keys {
            for c in &mut pair {
                let p0 = _mm512_mul_epu32(c[0], wide(M0));
                let p1 = _mm512_mul_epu32(c[2], wide(M1));
                let (h0, h1) = (_mm512_srli_epi64::<32>(p0), _mm512_srli_epi64::<32>(p1));
                // Exclusive or of three.
                *c = [
                    _mm512_ternarylogic_epi64::<0x96>(h1, c[1], k0),
                    p1,
                    _mm512_ternarylogic_epi64::<0x96>(h0, c[3], k1),
                    p0,
                ];
            }
        }
        let [low, high] = pair.map(|c| c.map(|c| _mm512_cvtepi64_epi32(c)));
        for ((low, high), out) in low.into_iter().zip(high).zip(out.chunks_exact_mut(16)) {
            let words = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
            let upper = _mm512_cvtepi32_ps(_mm512_srli_epi32::<8>(words));
            let unit = _mm512_mul_ps(upper, _mm512_set1_ps(1.0 / 16_777_216.0));
            // SAFETY: the chunk is 16 long.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), unit) };
        }
    });
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn fill_avx2(key: [u32; 2], step: u64, first: u64, out: &mut [f32]) {
    fill(first, out, |number, out| group(key, step, number, out));
}

/// Fills `out` with uniform numbers; integers only until the last multiply, so every path gives
/// the same bits.
pub(crate) fn fill_uniform(key: [u32; 2], step: u64, first: u64, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
        {
            // SAFETY: the features were just detected.
            return unsafe { fill_avx512(key, step, first, out) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was just detected.
            return unsafe { fill_avx2(key, step, first, out) };
        }
    }
    fill(first, out, |number, out| group(key, step, number, out));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_of_random123() {
        // kat_vectors of Random123: philox4x32 with 10 rounds.
        assert_eq!(
            philox4x32([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }
}
