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

#[inline(always)]
fn fill(key: [u32; 2], step: u64, first: u64, out: &mut [f32]) {
    let mut done = 0;
    let mut buffer = [0.0; GROUP];
    while done < out.len() {
        let index = first + done as u64;
        let skip = (index % GROUP as u64) as usize;
        group(key, step, index / GROUP as u64, &mut buffer);
        let n = (GROUP - skip).min(out.len() - done);
        out[done..done + n].copy_from_slice(&buffer[skip..skip + n]);
        done += n;
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
fn fill_avx512(key: [u32; 2], step: u64, first: u64, out: &mut [f32]) {
    fill(key, step, first, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn fill_avx2(key: [u32; 2], step: u64, first: u64, out: &mut [f32]) {
    fill(key, step, first, out);
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
    fill(key, step, first, out);
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
