//! Training, validation and test documents, apart before anything else looks at them.
//!
//! A document's side depends on its own text alone, never on the seed, the arm, its id or the other
//! documents: adding documents moves none, every arm of an experiment is tested on the same ones,
//! and copies of one text (same words up to case and white space) all fall on one side, so that no
//! test text is also trained on.

use sha2::{Digest, Sha256};

use crate::{DataError, Document, Result};

/// The three sides. Documents keep their order.
#[derive(Clone, Debug, Default)]
pub struct Splits {
    /// What is trained on, and what the tokenizer is trained on.
    pub train: Vec<Document>,
    /// What stopping rules watch.
    pub validation: Vec<Document>,
    /// What the report quotes.
    pub test: Vec<Document>,
}

/// Splits `documents`: about `validation` of them go to validation, about `test` to test (both in
/// `0..1`), the rest to training.
///
/// # Errors
///
/// A fraction outside `[0, 1)`, fractions that leave nothing for training, or a side that is empty
/// though its fraction is above zero.
pub fn split(documents: Vec<Document>, validation: f64, test: f64) -> Result<Splits> {
    for (name, value) in [("validation", validation), ("test", test)] {
        if !(0.0..1.0).contains(&value) {
            return Err(DataError::Fraction {
                name,
                value,
                expected: "expected a number from 0 up to, but not including, 1",
            });
        }
    }
    if validation + test >= 1.0 {
        return Err(DataError::Fraction {
            name: "validation + test",
            value: validation + test,
            expected: "expected less than 1, so that something is left to train on",
        });
    }
    let count = documents.len();
    let mut splits = Splits::default();
    for document in documents {
        let u = position(&document.text);
        let side = if u < validation {
            &mut splits.validation
        } else if u < validation + test {
            &mut splits.test
        } else {
            &mut splits.train
        };
        side.push(document);
    }
    let sides = [
        ("train", 1.0 - validation - test, &splits.train),
        ("validation", validation, &splits.validation),
        ("test", test, &splits.test),
    ];
    for (name, fraction, side) in sides {
        if fraction > 0.0 && side.is_empty() {
            return Err(DataError::EmptySplit {
                name,
                fraction,
                documents: count,
            });
        }
    }
    Ok(splits)
}

/// The first 53 bits of the SHA-256 of the text's canonical form, as a number in `[0, 1)`.
fn position(text: &str) -> f64 {
    let digest = Sha256::digest(canonical(text).as_bytes());
    let mut first = [0u8; 8];
    first.copy_from_slice(&digest[..8]);
    (u64::from_be_bytes(first) >> 11) as f64 / (1u64 << 53) as f64
}

/// The text with case and runs of white space made equal: two texts with one canonical form are copies
/// of each other.
fn canonical(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(n: usize) -> Vec<Document> {
        (0..n)
            .map(|i| Document {
                id: format!("d{i}"),
                text: format!("text number {i}"),
            })
            .collect()
    }

    #[test]
    fn fractions_are_honoured_and_nothing_is_lost() {
        let s = split(documents(20_000), 0.05, 0.1).unwrap();
        assert_eq!(s.train.len() + s.validation.len() + s.test.len(), 20_000);
        // Binomial standard deviations are 31 and 42.
        assert!(
            (900..1100).contains(&s.validation.len()),
            "{}",
            s.validation.len()
        );
        assert!((1850..2150).contains(&s.test.len()), "{}", s.test.len());
    }

    #[test]
    fn adding_documents_moves_none_and_copies_stay_together() {
        let small = split(documents(500), 0.2, 0.2).unwrap();
        let large = split(documents(1000), 0.2, 0.2).unwrap();
        assert!(small.test.iter().all(|d| large.test.contains(d)));
        assert!(small.train.iter().all(|d| large.train.contains(d)));
        for i in 0..50 {
            let (a, b) = (format!("Text  number {i}\n"), format!("text number {}", i));
            assert_eq!(position(&a), position(&b));
        }
    }

    #[test]
    fn the_hash_is_frozen() {
        // The first 53 bits of `printf 'text number 7' | sha256sum`.
        let expected = 0x8609a1825b752_u64 as f64 / (1u64 << 53) as f64;
        assert_eq!(position("Text  number 7"), expected);
    }

    #[test]
    fn an_empty_side_and_bad_fractions_are_errors_that_say_why() {
        let e = split(documents(3), 0.001, 0.0).unwrap_err().to_string();
        assert!(e.contains("validation") && e.contains("3 document"), "{e}");
        assert!(split(documents(3), 0.0, 0.0).unwrap().test.is_empty());
        for (v, t) in [(-0.1, 0.0), (0.5, 0.5), (f64::NAN, 0.1), (0.0, 1.0)] {
            assert!(
                matches!(split(documents(9), v, t), Err(DataError::Fraction { .. })),
                "{v} {t}"
            );
        }
    }
}
