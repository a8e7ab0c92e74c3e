//! Which tokens of a row are hidden, and what replaces them.
//!
//! The numbers come from the row's own key, by position: a row is hidden the same way whatever batch
//! it is in, and a longer row keeps what its beginning had. Three independent streams: 0 selects, 1
//! says what happens to a selected token, 2 draws random tokens. A coin is that of a token, or of a
//! word's first token; so under a larger rate the tokens of a smaller one are hidden too.

use std::ops::Range;

use ablate_sdk::{Random, Result};

use crate::masking::Unit;
use crate::span::{spans, Span};
use crate::words::words;

/// The settings, but for the rate.
#[derive(Clone, Debug)]
pub struct Rates {
    /// What is hidden together.
    pub unit: Unit,
    /// Lengths of spans.
    pub span: Span,
    /// `Some(limit)`: a fixed number per row, at most `limit`. `None`: a coin per token or word.
    pub exact: Option<usize>,
    /// Share of the chosen tokens that become `[MASK]`.
    pub mask_token: f64,
    /// Share of the chosen tokens that become a random token.
    pub random_token: f64,
}

/// What a row needs of the place and the vocabulary.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Share of tokens to predict.
    pub mask_rate: f64,
    /// Id of `[MASK]`.
    pub mask_id: i64,
    /// Ids never put in as a random token, ascending.
    pub special_ids: &'a [i64],
    /// Number of tokens.
    pub vocab_size: u64,
    /// `[vocab_size]`, not 0 for tokens that continue a word.
    pub continues_word: &'a [u8],
}

/// What becomes of a chosen token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It becomes `[MASK]`.
    Mask,
    /// It becomes a random token.
    Random,
    /// It stays, and is predicted all the same.
    Keep,
}

/// Number of tokens that Google's rule hides in a row of `length` tokens, special ones included:
/// `min(limit, max(1, round(length * rate)))`, with Python's rounding (half to even).
pub fn exact_count(length: usize, rate: f64, limit: usize) -> usize {
    // Lengths are far below 2^53, and the product is at least 0.
    ((length as f64 * rate).round_ties_even() as usize)
        .max(1)
        .min(limit)
}

/// The action for a number drawn uniformly from `[0, 1)`.
pub fn action(rates: &Rates, u: f64) -> Action {
    if u < rates.mask_token {
        Action::Mask
    } else if u < rates.mask_token + rates.random_token {
        Action::Random
    } else {
        Action::Keep
    }
}

/// The `rank`-th id (from 0) of those that are not special.
pub fn ordinary_id(rank: u32, special_ids: &[i64]) -> i64 {
    // Ascending special ids: each one at or below the id so far moves it up by one.
    special_ids.iter().fold(
        i64::from(rank),
        |id, special| if *special <= id { id + 1 } else { id },
    )
}

/// A random token that is not special, at position `i` of the stream; `None` in a vocabulary of
/// nothing but special tokens.
///
/// # Errors
/// Where the host has no random numbers.
pub fn random_id(
    draws: &Random<'_>,
    i: usize,
    vocab_size: u64,
    special_ids: &[i64],
) -> Result<Option<i64>> {
    let ordinary = vocab_size.saturating_sub(special_ids.len() as u64);
    if ordinary == 0 {
        return Ok(None);
    }
    // Vocabularies are far smaller than u32::MAX.
    let rank = draws.child(i as u64)?.reader().below(ordinary as u32)?;
    Ok(Some(ordinary_id(rank, special_ids)))
}

/// Hides tokens of one row in `ids`, writes what they were to `labels`, returns how many.
///
/// # Errors
/// Where the host has no random numbers.
pub fn mask_row(
    rates: &Rates,
    row: &Row<'_>,
    attended: &[i64],
    special: &[u8],
    ids: &mut [i64],
    labels: &mut [i64],
    random: &Random<'_>,
) -> Result<usize> {
    let hideable: Vec<bool> = attended
        .iter()
        .zip(special)
        .map(|(attended, special)| *attended != 0 && *special == 0)
        .collect();
    // Google counts the special tokens in the length, and so hides a little more.
    let length = attended.iter().filter(|m| **m != 0).count();
    let chosen = choose(rates, row, length, &hideable, ids, &random.child(0)?)?;
    let fates = random.child(1)?.uniforms(ids.len())?;
    let draws = random.child(2)?;
    let mut count = 0;
    for group in chosen {
        let first = group.start;
        for i in group {
            labels[i] = ids[i];
            count += 1;
            let fate = if rates.unit == Unit::Span { first } else { i };
            match action(rates, f64::from(fates[fate])) {
                Action::Mask => ids[i] = row.mask_id,
                Action::Random => {
                    if let Some(id) = random_id(&draws, i, row.vocab_size, row.special_ids)? {
                        ids[i] = id;
                    }
                }
                Action::Keep => {}
            }
        }
    }
    Ok(count)
}

/// The tokens, words or spans of a row that are hidden.
fn choose(
    rates: &Rates,
    row: &Row<'_>,
    length: usize,
    hideable: &[bool],
    ids: &[i64],
    choice: &Random<'_>,
) -> Result<Vec<Range<usize>>> {
    let mut groups: Vec<Range<usize>> = match rates.unit {
        Unit::Token => (0..ids.len())
            .filter(|i| hideable[*i])
            .map(|i| i..i + 1)
            .collect(),
        Unit::WholeWord | Unit::Span => words(ids, hideable, row.continues_word),
    };
    let Some(limit) = rates.exact else {
        let coins = choice.uniforms(ids.len())?;
        groups.retain(|group| f64::from(coins[group.start]) < row.mask_rate);
        return Ok(groups);
    };
    let budget = exact_count(length, row.mask_rate, limit);
    let mut reader = choice.reader();
    match rates.unit {
        Unit::Token => {
            let count = budget.min(groups.len());
            reader.choose(&mut groups, count)?;
            groups.truncate(count);
        }
        Unit::WholeWord => {
            // Google's rule: in random order, each word that still fits.
            let all = groups.len();
            reader.choose(&mut groups, all)?;
            let mut left = budget;
            groups.retain(|word| {
                let fits = word.len() <= left;
                if fits {
                    left -= word.len();
                }
                fits
            });
        }
        Unit::Span => groups = spans(&rates.span, &groups, budget, &mut reader)?,
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_counts_are_googles() {
        // Python: min(limit, max(1, int(round(n * 0.15)))).
        for (n, expected) in [
            (1, 1),
            (3, 1),
            (10, 2),
            (30, 4),
            (50, 8),
            (90, 14),
            (128, 19),
            (512, 77),
        ] {
            assert_eq!(exact_count(n, 0.15, usize::MAX), expected, "{n}");
        }
        assert_eq!(exact_count(5, 0.5, 20), 2); // 2.5 to even
        assert_eq!(exact_count(7, 0.5, 20), 4); // 3.5 to even
        assert_eq!(exact_count(512, 0.15, 20), 20);
    }

    #[test]
    fn ordinary_ids_leave_the_special_ones_out() {
        let special = [0, 1, 4, 9];
        let ids: Vec<i64> = (0..6).map(|rank| ordinary_id(rank, &special)).collect();
        assert_eq!(ids, [2, 3, 5, 6, 7, 8]);
        assert_eq!(ordinary_id(0, &[]), 0);
    }

    #[test]
    fn actions_split_the_unit_interval() {
        let rates = Rates {
            unit: Unit::Token,
            span: Span::default(),
            exact: None,
            mask_token: 0.8,
            random_token: 0.1,
        };
        for (u, expected) in [
            (0.0, Action::Mask),
            (0.799, Action::Mask),
            (0.81, Action::Random),
            (0.95, Action::Keep),
        ] {
            assert_eq!(action(&rates, u), expected);
        }
    }
}
