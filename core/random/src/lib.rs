//! Random numbers from named, counter-based streams.
//!
//! Owns: the generator (Philox4x32-10), how a seed and a name become a key, and how an element's
//! index becomes a counter. Must not know: what the numbers are for (tensors, corpora, recipes).
//!
//! A stream has no hidden position: the value at an index is a pure function of
//! `(seed, stream name, step, index)`. So arms of an experiment can share one stream ("order",
//! "masks") while another differs, a killed run resumes to the same bits, and a kernel can draw its
//! own numbers in any order on any number of threads.
//!
//! Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

mod philox;

pub use philox::{philox4x32, Block, GROUP};

/// A named stream of random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: [u32; 2],
}

impl Stream {
    /// The stream called `name` under `seed`. Different names give independent streams.
    pub fn new(seed: u64, name: &str) -> Self {
        // FNV-1a over the name, then two rounds of SplitMix64 with the seed: equal names under
        // neighbouring seeds, and neighbouring names under one seed, must not give close keys.
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self::from_key(splitmix64(splitmix64(seed) ^ hash))
    }

    /// The stream with this very key, as [`Stream::key`] gave it.
    pub fn from_key(key: u64) -> Self {
        Stream {
            key: [key as u32, (key >> 32) as u32],
        }
    }

    /// The key, to hand the stream to a kernel or across the plugin ABI.
    pub fn key(&self) -> u64 {
        u64::from(self.key[0]) | u64::from(self.key[1]) << 32
    }

    /// A stream of its own for item `index` (an example, an epoch), independent of its siblings.
    pub fn child(&self, index: u64) -> Self {
        Self::from_key(splitmix64(
            splitmix64(self.key() ^ 0x6a09_e667_f3bc_c909) ^ index,
        ))
    }

    /// The four raw words of block `block` at `step`.
    pub fn block(&self, step: u64, block: u64) -> Block {
        philox4x32(
            [
                block as u32,
                (block >> 32) as u32,
                step as u32,
                (step >> 32) as u32,
            ],
            self.key,
        )
    }

    /// Word `index` of the stream at `step`, uniform over `u32`.
    ///
    /// Elements are laid out in groups of [`GROUP`] = 64: word `index` is lane `index % 64 / 16` of
    /// block `index / 64 * 16 + index % 16`, so that sixteen blocks computed side by side fill 64
    /// consecutive elements without a shuffle.
    pub fn u32_at(&self, step: u64, index: u64) -> u32 {
        let (group, rest) = (index / GROUP as u64, index % GROUP as u64);
        self.block(step, group * 16 + rest % 16)[(rest / 16) as usize]
    }

    /// Element `index` of the stream at `step`, uniform over `[0, 1)` with 24 random bits.
    pub fn uniform_at(&self, step: u64, index: u64) -> f32 {
        unit(self.u32_at(step, index))
    }

    /// Fills `out` with elements `first..first + out.len()` of the uniform stream at `step`.
    pub fn fill_uniform(&self, step: u64, first: u64, out: &mut [f32]) {
        philox::fill_uniform(self.key, step, first, out);
    }

    /// A reader that hands out the stream's words one after another, for host-side code.
    pub fn reader(&self) -> Reader {
        Reader {
            stream: *self,
            step: 0,
            next: 0,
        }
    }
}

/// `u32` to `[0, 1)`: the upper 24 bits, so that the result is exact in f32 and never 1.
pub fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

fn splitmix64(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Sequential view of a [`Stream`].
#[derive(Clone, Debug)]
pub struct Reader {
    stream: Stream,
    step: u64,
    next: u64,
}

impl Reader {
    /// The next word, uniform over `u32`.
    pub fn next_u32(&mut self) -> u32 {
        let word = self.stream.u32_at(self.step, self.next);
        self.next += 1;
        word
    }

    /// The next number, uniform over `[0, 1)` with 24 random bits.
    pub fn uniform(&mut self) -> f32 {
        unit(self.next_u32())
    }

    /// The next number, uniform over `[0, 1)` with 53 random bits.
    pub fn uniform_f64(&mut self) -> f64 {
        let word = u64::from(self.next_u32()) << 32 | u64::from(self.next_u32());
        (word >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform over `0..bound` without bias (Lemire 2019, with rejection). Zero for `bound == 0`.
    pub fn below(&mut self, bound: u32) -> u32 {
        if bound == 0 {
            return 0;
        }
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(bound);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// A standard normal number (Box-Muller on 53-bit uniforms).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform_f64()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform_f64()).cos()
    }

    /// A standard normal number conditioned on lying within two standard deviations
    /// (TensorFlow's `truncated_normal`: values beyond are drawn again).
    pub fn truncated_normal(&mut self) -> f64 {
        loop {
            let x = self.normal();
            if x.abs() <= 2.0 {
                return x;
            }
        }
    }

    /// Shuffles `items` (Fisher-Yates): every order is equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            // Lengths beyond u32 do not occur: a corpus is indexed by u32.
            let j = self.below(i as u32 + 1) as usize;
            items.swap(i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_seeds_and_children_are_independent() {
        let a = Stream::new(1, "masks");
        assert_eq!(a, Stream::new(1, "masks"));
        for other in [
            Stream::new(2, "masks"),
            Stream::new(1, "order"),
            a.child(0),
            a.child(1),
        ] {
            let same = (0..1000)
                .filter(|i| a.u32_at(0, *i) == other.u32_at(0, *i))
                .count();
            assert_eq!(same, 0);
        }
    }

    #[test]
    fn fill_equals_element_by_element_from_any_start() {
        let s = Stream::new(7, "dropout");
        for (first, n) in [(0, 64), (3, 200), (61, 7), (64, 1024), (1000, 65)] {
            let mut out = vec![0.0; n];
            s.fill_uniform(5, first, &mut out);
            for (i, x) in out.iter().enumerate() {
                assert_eq!(x.to_bits(), s.uniform_at(5, first + i as u64).to_bits());
            }
        }
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut r = Stream::new(3, "moments").reader();
        let n = 200_000;
        let u: Vec<f64> = (0..n).map(|_| f64::from(r.uniform())).collect();
        let mean = u.iter().sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 3e-3, "{mean}");
        let z: Vec<f64> = (0..n).map(|_| r.normal()).collect();
        let (m, v) = (
            z.iter().sum::<f64>() / n as f64,
            z.iter().map(|x| x * x).sum::<f64>() / n as f64,
        );
        assert!(m.abs() < 1e-2 && (v - 1.0).abs() < 2e-2, "{m} {v}");
        assert!((0..1000).all(|_| r.truncated_normal().abs() <= 2.0));
        let mut seen = [0u32; 7];
        (0..70_000).for_each(|_| seen[r.below(7) as usize] += 1);
        assert!(seen.iter().all(|c| (9_500..10_500).contains(c)), "{seen:?}");
    }

    #[test]
    fn shuffle_is_a_permutation() {
        let mut v: Vec<u32> = (0..1000).collect();
        Stream::new(1, "order").reader().shuffle(&mut v);
        assert_ne!(v[..10], (0..10).collect::<Vec<u32>>()[..]);
        v.sort_unstable();
        assert_eq!(v, (0..1000).collect::<Vec<u32>>());
    }
}
