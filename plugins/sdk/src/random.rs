//! Random numbers of the host: pure functions of a key and a counter.

use crate::tables::Tables;
use crate::{Error, Result};

/// Words that a [`Reader`] fetches at once.
const BUFFER: usize = 64;

/// A stream of random numbers named by its key. It has no position: the same index always gives the
/// same number, so work can be done in any order and repeated after a restart.
#[derive(Clone, Copy)]
pub struct Random<'a> {
    tables: &'a Tables,
    key: u64,
}

impl<'a> Random<'a> {
    pub(crate) fn new(tables: &'a Tables, key: u64) -> Self {
        Random { tables, key }
    }

    /// The stream of item `index`, independent of its siblings and of this stream.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a host without random numbers.
    pub fn child(&self, index: u64) -> Result<Self> {
        let child = self
            .tables
            .random
            .child
            .ok_or(Error::Unsupported("random.child"))?;
        // SAFETY: plain numbers.
        Ok(Random {
            key: unsafe { child(self.key, index) },
            ..*self
        })
    }

    /// Words `first..first + out.len()` at `step`, each uniform over `u32`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a host without random numbers.
    pub fn words(&self, step: u64, first: u64, out: &mut [u32]) -> Result<()> {
        let words = self
            .tables
            .random
            .words
            .ok_or(Error::Unsupported("random.words"))?;
        // SAFETY: `out` has room for `out.len()` words.
        self.tables
            .check(unsafe { words(self.key, step, first, out.as_mut_ptr(), out.len()) })
    }

    /// Elements `0..n` at step 0, uniform over `[0, 1)` with 24 random bits.
    ///
    /// # Errors
    /// As [`Random::words`].
    pub fn uniforms(&self, n: usize) -> Result<Vec<f32>> {
        let mut words = vec![0; n];
        self.words(0, 0, &mut words)?;
        Ok(words.into_iter().map(unit).collect())
    }

    /// A reader that hands out the words one after another from index 0 of step 0.
    pub fn reader(&self) -> Reader<'a> {
        Reader {
            stream: *self,
            next: 0,
            buffer: [0; BUFFER],
            filled: 0,
        }
    }
}

/// `u32` to `[0, 1)`: the upper 24 bits, so that the result is exact in f32 and never 1.
fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Sequential view of a [`Random`] stream.
pub struct Reader<'a> {
    stream: Random<'a>,
    next: u64,
    buffer: [u32; BUFFER],
    filled: usize,
}

impl Reader<'_> {
    /// The next word, uniform over `u32`.
    ///
    /// # Errors
    /// As [`Random::words`].
    pub fn next_u32(&mut self) -> Result<u32> {
        let at = (self.next % BUFFER as u64) as usize;
        if at >= self.filled {
            self.stream.words(0, self.next, &mut self.buffer)?;
            self.filled = BUFFER;
        }
        self.next += 1;
        if at + 1 == BUFFER {
            self.filled = 0;
        }
        Ok(self.buffer[at])
    }

    /// The next number, uniform over `[0, 1)` with 24 random bits.
    ///
    /// # Errors
    /// As [`Random::words`].
    pub fn uniform(&mut self) -> Result<f32> {
        self.next_u32().map(unit)
    }

    /// Uniform over `0..bound` without bias (Lemire 2019, with rejection). Zero for `bound == 0`.
    ///
    /// # Errors
    /// As [`Random::words`].
    pub fn below(&mut self, bound: u32) -> Result<u32> {
        if bound == 0 {
            return Ok(0);
        }
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.next_u32()?) * u64::from(bound);
            if product as u32 >= threshold {
                return Ok((product >> 32) as u32);
            }
        }
    }

    /// Moves a uniformly chosen subset of `count` items to the front, in random order (the first
    /// steps of Fisher-Yates). All of them where there are fewer.
    ///
    /// # Errors
    /// As [`Random::words`].
    pub fn choose<T>(&mut self, items: &mut [T], count: usize) -> Result<()> {
        for i in 0..count.min(items.len()) {
            // Slices of more than u32::MAX items do not occur: they are the tokens of a sequence.
            let j = i + self.below((items.len() - i) as u32)? as usize;
            items.swap(i, j);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ablate_abi::{absent, status, RandomApi, Status};
    use ablate_random::Stream;

    unsafe extern "C" fn child(key: u64, index: u64) -> u64 {
        Stream::from_key(key).child(index).key()
    }

    unsafe extern "C" fn words(key: u64, step: u64, first: u64, out: *mut u32, n: usize) -> Status {
        for i in 0..n {
            // SAFETY: the caller gives room for `n` words.
            unsafe { *out.add(i) = Stream::from_key(key).u32_at(step, first + i as u64) };
        }
        status::OK
    }

    fn tables() -> Tables {
        Tables {
            host: absent(),
            random: RandomApi {
                child: Some(child),
                words: Some(words),
                ..absent()
            },
            declare: absent(),
            batch: absent(),
            model: absent(),
            graph: absent(),
            pretrained: absent(),
        }
    }

    #[test]
    fn a_reader_gives_the_host_streams_words_in_order() {
        let tables = tables();
        let stream = Stream::new(3, "masks").child(9);
        let random = Random::new(&tables, Stream::new(3, "masks").key())
            .child(9)
            .unwrap();
        let (mut ours, mut theirs) = (random.reader(), stream.reader());
        for i in 0..500 {
            match i % 3 {
                0 => assert_eq!(ours.next_u32().unwrap(), theirs.next_u32()),
                1 => assert_eq!(ours.below(1000).unwrap(), theirs.below(1000)),
                _ => assert_eq!(
                    ours.uniform().unwrap().to_bits(),
                    theirs.uniform().to_bits()
                ),
            }
        }
        assert_eq!(random.uniforms(3).unwrap()[2], stream.uniform_at(0, 2));
    }

    #[test]
    fn every_subset_is_equally_likely() {
        let tables = tables();
        let mut reader = Random::new(&tables, 5).reader();
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..12_000 {
            let mut items = [0, 1, 2, 3];
            reader.choose(&mut items, 2).unwrap();
            *seen.entry((items[0], items[1])).or_insert(0) += 1;
        }
        // Twelve ordered pairs, 1000 each; the standard deviation is about 30.
        assert_eq!(seen.len(), 12);
        assert!(seen.values().all(|c| (850..1150).contains(c)), "{seen:?}");
    }

    #[test]
    fn a_host_without_random_numbers_is_an_error() {
        let tables = Tables {
            random: absent(),
            ..tables()
        };
        let random = Random::new(&tables, 1);
        assert_eq!(
            random.reader().next_u32(),
            Err(Error::Unsupported("random.words"))
        );
    }
}
