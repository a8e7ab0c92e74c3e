//! Ordered pairs for sentence-order prediction, as `create_instances_from_document` of Google's ALBERT
//! (`create_pretraining_data.py`, google-research/albert) makes them: chunks and their two segments as
//! for next-sentence prediction, see [`pairs`](crate::pairs), but segment B is always the rest of the
//! chunk, and with probability one half the two are swapped.
//!
//! One difference. Where a chunk is a single sentence, ALBERT's code takes a random B from another
//! document and labels it as swapped, so that topic alone gives the answer. Here the sentence itself is cut
//! in two at a random token. A chunk of one token has no order and is left out.

use ablate_random::Stream;

use crate::pairs::{between, chunk_end, truncate, Pair, PairOptions};
use crate::tokenized::TokenizedCorpus;

/// The pairs of `document` in one epoch, with [`Pair::label`] true where they are swapped. `epoch` is the
/// stream of that epoch: the same that makes pairs for next-sentence prediction.
pub(crate) fn ordered_pairs(
    corpus: &TokenizedCorpus,
    document: usize,
    options: PairOptions,
    epoch: &Stream,
    out: &mut Vec<Pair>,
) {
    let mut random = epoch.child(document as u64).reader();
    let own = corpus.document(document);
    let target = options.target(&mut random);
    let mut start = 0;
    while start < own.count() {
        let end = chunk_end(&own, start, target);
        let whole = own.span(start, end);
        let cut = match (end - start, whole.len()) {
            (1, 0 | 1) => None,
            (1, tokens) => Some(whole.start + between(&mut random, 1, tokens - 1)),
            (sentences, _) => {
                let first = between(&mut random, 1, sentences - 1);
                Some(own.span(start, start + first).end)
            }
        };
        start = end;
        let Some(cut) = cut else { continue };
        let label = random.uniform_f64() < 0.5;
        let (mut a, mut b) = (whole.start..cut, cut..whole.end);
        truncate(&mut a, &mut b, options.room, &mut random);
        if label {
            std::mem::swap(&mut a, &mut b);
        }
        out.push(Pair { a, b, label });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Documents of sentences of these lengths; every token is unique.
    fn corpus(documents: &[Vec<u32>]) -> TokenizedCorpus {
        let mut next = 0;
        let mut sentence = |length: &u32| {
            next += length;
            (next - length..next).collect::<Vec<u32>>()
        };
        let documents: Vec<Vec<Vec<u32>>> = documents
            .iter()
            .map(|lengths| lengths.iter().map(&mut sentence).collect())
            .collect();
        TokenizedCorpus::from_tokens(documents)
    }

    fn all(corpus: &TokenizedCorpus, room: usize, epoch: u64) -> Vec<Pair> {
        let stream = Stream::new(11, "pairs").child(epoch);
        let options = PairOptions {
            room,
            short_probability: 0.1,
        };
        let mut out = Vec::new();
        for document in 0..corpus.documents() {
            ordered_pairs(corpus, document, options, &stream, &mut out);
        }
        out
    }

    #[test]
    fn half_of_the_pairs_are_swapped_and_all_stay_in_their_document() {
        let corpus = corpus(&vec![vec![5; 40]; 60]);
        let pairs: Vec<Pair> = (0..8).flat_map(|e| all(&corpus, 60, e)).collect();
        let swapped = pairs.iter().filter(|p| p.label).count() as f64 / pairs.len() as f64;
        // About 1700 pairs: the standard deviation is 0.012.
        assert!((swapped - 0.5).abs() < 0.05, "{swapped} of {}", pairs.len());
        for pair in &pairs {
            let (first, second) = if pair.label {
                (&pair.b, &pair.a)
            } else {
                (&pair.a, &pair.b)
            };
            assert!(first.end <= second.start, "{pair:?}");
            assert!(!pair.a.is_empty() && !pair.b.is_empty());
            assert!(pair.a.len() + pair.b.len() <= 60);
            // 200 tokens a document.
            assert_eq!(first.start / 200, (second.end - 1) / 200);
        }
    }

    #[test]
    fn every_token_is_in_one_pair_when_nothing_must_be_cut() {
        let corpus = corpus(&vec![vec![1; 200]; 12]);
        let mut seen = vec![0; corpus.tokens().len()];
        for pair in all(&corpus, 21, 3) {
            pair.a.chain(pair.b).for_each(|t| seen[t] += 1);
        }
        // Sentences of one token fill a chunk exactly; what a document leaves over at its end may be one
        // token, which has no order.
        let unused = seen.iter().filter(|n| **n == 0).count();
        assert!(seen.iter().all(|n| *n <= 1) && unused <= 12, "{unused}");
    }

    #[test]
    fn a_single_sentence_is_cut_in_two_and_a_single_token_left_out() {
        let corpus = corpus(&[vec![9], vec![1], vec![2]]);
        let pairs = all(&corpus, 40, 0);
        assert_eq!(pairs.len(), 2);
        let covered = pairs[0].a.len() + pairs[0].b.len();
        assert_eq!(covered, 9);
        assert_eq!((pairs[1].a.len(), pairs[1].b.len()), (1, 1));
        // Over epochs the cut and the order change.
        let of_first: std::collections::HashSet<_> = (0..40)
            .map(|e| (all(&corpus, 40, e)[0].a.len(), all(&corpus, 40, e)[0].label))
            .collect();
        assert!(of_first.len() > 8, "{of_first:?}");
    }

    #[test]
    fn epochs_differ_and_repeat_under_one_seed() {
        let corpus = corpus(&vec![vec![6; 20]; 30]);
        assert_eq!(all(&corpus, 40, 5), all(&corpus, 40, 5));
        assert_ne!(all(&corpus, 40, 5), all(&corpus, 40, 6));
    }
}
