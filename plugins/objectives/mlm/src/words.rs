//! Words as runs of word pieces.

use std::ops::Range;

/// The words of a row: each is a token that may be hidden and the pieces that continue it. A piece
/// whose beginning was cut off, or stands behind a special token, begins a word of its own.
///
/// Google's `create_masked_lm_predictions` joins a piece to the last word even across `[SEP]`; here a
/// word never leaves its segment.
pub fn words(ids: &[i64], hideable: &[bool], continues: &[u8]) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = Vec::new();
    for (i, (id, _)) in ids
        .iter()
        .zip(hideable)
        .enumerate()
        .filter(|(_, (_, h))| **h)
    {
        let piece = usize::try_from(*id).is_ok_and(|id| continues.get(id).is_some_and(|c| *c != 0));
        match words.last_mut() {
            Some(word) if piece && word.end == i => word.end = i + 1,
            _ => words.push(i..i + 1),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_follow_their_first_piece_within_a_segment() {
        // Ids from 5 on continue a word; 0 is special.
        let continues = [0, 0, 0, 0, 0, 1, 1, 1];
        let ids = [0, 6, 2, 5, 6, 3, 0, 7, 5, 4];
        let hideable: Vec<bool> = ids.iter().map(|id| *id != 0).collect();
        assert_eq!(
            words(&ids, &hideable, &continues),
            [1..2, 2..5, 5..6, 7..9, 9..10]
        );
        assert!(words(&[], &[], &continues).is_empty());
    }
}
