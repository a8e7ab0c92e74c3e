//! Which tokens of a row are hidden, and what replaces them.
//!
//! The numbers come from the row's own key, by position: a row is hidden the same way whatever batch
//! it is in, and a longer row keeps what its beginning had. Three independent streams: 0 selects, 1
//! says what happens to a selected token, 2 draws random tokens.

use ablate_sdk::{Random, Result};

/// The rates of the configuration.
#[derive(Clone, Debug)]
pub struct Rates {
    /// Share of tokens to predict.
    pub mask_rate: f64,
    /// `Some(limit)`: a fixed number per row, at most `limit`. `None`: a coin per token.
    pub exact: Option<usize>,
    /// Share of the chosen tokens that become `[MASK]`.
    pub mask_token: f64,
    /// Share of the chosen tokens that become a random token.
    pub random_token: f64,
}

/// What a row needs of the vocabulary.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Id of `[MASK]`.
    pub mask_id: i64,
    /// Ids never put in as a random token, ascending.
    pub special_ids: &'a [i64],
    /// Number of tokens.
    pub vocab_size: u64,
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
    let mut candidates: Vec<usize> = (0..ids.len())
        .filter(|i| attended[*i] != 0 && special[*i] == 0)
        .collect();
    let choice = random.child(0)?;
    let chosen = match rates.exact {
        Some(limit) => {
            // Google counts the special tokens in the length, and so hides a little more.
            let length = attended.iter().filter(|m| **m != 0).count();
            let count = exact_count(length, rates.mask_rate, limit).min(candidates.len());
            choice.reader().choose(&mut candidates, count)?;
            &candidates[..count]
        }
        None => {
            let coins = choice.uniforms(ids.len())?;
            candidates.retain(|i| f64::from(coins[*i]) < rates.mask_rate);
            &candidates[..]
        }
    };
    let fates = random.child(1)?.uniforms(ids.len())?;
    let draws = random.child(2)?;
    let ordinary = row.vocab_size.saturating_sub(row.special_ids.len() as u64);
    for &i in chosen {
        labels[i] = ids[i];
        match action(rates, f64::from(fates[i])) {
            Action::Mask => ids[i] = row.mask_id,
            // A vocabulary of nothing but special tokens has no random token to offer.
            Action::Random if ordinary > 0 => {
                // Vocabularies are far smaller than u32::MAX.
                let rank = draws.child(i as u64)?.reader().below(ordinary as u32)?;
                ids[i] = ordinary_id(rank, row.special_ids);
            }
            Action::Random | Action::Keep => {}
        }
    }
    Ok(chosen.len())
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
            mask_rate: 0.15,
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
