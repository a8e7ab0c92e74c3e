//! Spans of whole words, as SpanBERT chooses them.
//!
//! Source: Joshi et al. 2020, section 3.1, and `PairWithSpanMaskingScheme` of their code: a length in
//! words from a geometric distribution, cut off at a longest length and normalised again; a first word,
//! uniformly; again, until the budget of tokens is used up. One difference: their code ends the last span
//! inside a word when the budget does; here a word that does not fit is left out, so words stay whole
//! and the budget is never exceeded.

use std::ops::Range;

use ablate_sdk::{Error, Reader, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lengths of spans, in words.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Span {
    /// Parameter of the geometric distribution: the probability that a span ends after a word.
    #[schemars(extend("exclusiveMinimum" = 0.0, "maximum" = 1.0))]
    pub p: f64,
    /// Longest span, in words.
    #[schemars(range(min = 1, max = 1000))]
    pub max_words: u32,
}

impl Default for Span {
    fn default() -> Self {
        Span {
            p: 0.2,
            max_words: 10,
        }
    }
}

impl Span {
    /// # Errors
    /// [`Error::Config`] for a distribution that is none.
    pub fn validate(&self) -> Result<()> {
        if !(self.p > 0.0 && self.p <= 1.0) {
            return Err(Error::Config(format!(
                "`span.p` is {}; it is above 0 and at most 1",
                self.p
            )));
        }
        if !(1..=1000).contains(&self.max_words) {
            return Err(Error::Config(format!(
                "`span.max_words` is {}; it is from 1 to 1000",
                self.max_words
            )));
        }
        Ok(())
    }

    /// The length for a number drawn uniformly from `[0, 1)`: the inverse of the distribution function
    /// `(1 - (1-p)^n) / (1 - (1-p)^max)`.
    pub fn length(&self, u: f64) -> usize {
        let longest = self.max_words as usize;
        let q = 1.0 - self.p;
        let whole = 1.0 - q.powi(self.max_words as i32);
        // At most 1000 terms, and five on average.
        let mut below = 0.0;
        let mut next = self.p;
        for n in 1..longest {
            below += next;
            if u * whole < below {
                return n;
            }
            next *= q;
        }
        longest
    }
}

/// Spans of tokens in the order in which they were drawn; together at most `budget` tokens.
///
/// # Errors
/// Where the host has no random numbers.
pub fn spans(
    lengths: &Span,
    words: &[Range<usize>],
    budget: usize,
    random: &mut Reader<'_>,
) -> Result<Vec<Range<usize>>> {
    let mut free = vec![true; words.len()];
    let mut left = budget;
    let mut spans = Vec::new();
    loop {
        // Drawing among the words that can still begin a span is the same as drawing among all and
        // drawing again where that fails, and it comes to an end.
        let starts: Vec<usize> = (0..words.len())
            .filter(|w| free[*w] && words[*w].len() <= left)
            .collect();
        if starts.is_empty() {
            return Ok(spans);
        }
        let length = lengths.length(f64::from(random.uniform()?));
        let first = starts[random.below(starts.len() as u32)? as usize];
        let mut end = first;
        while end < words.len()
            && end - first < length
            && free[end]
            && words[end].len() <= left
            && (end == first || words[end].start == words[end - 1].end)
        {
            free[end] = false;
            left -= words[end].len();
            end += 1;
        }
        spans.push(words[first].start..words[end - 1].end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_follow_the_geometric_distribution_cut_at_its_longest() {
        let span = Span::default();
        let n = 100_000;
        let mut counts = [0u32; 11];
        for i in 0..n {
            counts[span.length((f64::from(i) + 0.5) / f64::from(n))] += 1;
        }
        let whole = 1.0 - 0.8f64.powi(10);
        let mut mean = 0.0;
        for (length, count) in counts.iter().enumerate().skip(1) {
            let expected = 0.2 * 0.8f64.powi(length as i32 - 1) / whole;
            let share = f64::from(*count) / f64::from(n);
            assert!((share - expected).abs() < 2e-5, "{length}: {share}");
            mean += share * length as f64;
        }
        // The mean that the paper gives.
        assert!((mean - 3.8).abs() < 0.01, "{mean}");
        assert_eq!(counts[0], 0);
    }

    #[test]
    fn the_ends_of_the_distribution() {
        let one = Span {
            p: 1.0,
            max_words: 10,
        };
        assert_eq!((one.length(0.0), one.length(0.999_999)), (1, 1));
        let short = Span {
            p: 0.2,
            max_words: 1,
        };
        assert_eq!(short.length(0.999), 1);
        assert_eq!(Span::default().length(0.999_999_94), 10);
    }

    #[test]
    fn distributions_that_are_none_are_refused() {
        for (p, max_words, key) in [
            (0.0, 10, "span.p"),
            (1.1, 10, "span.p"),
            (f64::NAN, 10, "span.p"),
            (0.2, 0, "span.max_words"),
        ] {
            let Err(Error::Config(text)) = (Span { p, max_words }).validate() else {
                panic!("accepted");
            };
            assert!(text.contains(key), "{text}");
        }
    }
}
