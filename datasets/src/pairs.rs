//! Sentence pairs for next-sentence prediction, as `create_instances_from_document` of Google's
//! BERT (`create_pretraining_data.py`, google-research/bert) makes them:
//!
//! - sentences are gathered into a chunk until it has the target length, which is the room of the
//!   sequence (`sequence_length - 3`) or, with probability 0.1, a uniform length from 2 up to it;
//! - segment A is a uniform number of the chunk's sentences, at least one, not all;
//! - segment B is, with probability one half or if the chunk is a single sentence, a run of
//!   sentences from a random place of another document, and the sentences of the chunk that were
//!   thereby not used are put back; else it is the rest of the chunk;
//! - the pair is cut to the room, token by token, always at the longer segment, at its front or back
//!   with equal probability.
//!
//! Two differences. The other document is drawn among the others directly, where Google's loop draws
//! among all up to ten times. And pairs are made anew for every epoch, each document from its own
//! stream, so that a document's pairs do not change when another is added behind it.
//!
//! In a corpus of a single document there is no other: a random B then starts at a random sentence of
//! the same document, as in Google's code when its ten draws fail, and is labelled random.

use std::ops::Range;

use ablate_random::{Reader, Stream};

use crate::tokenized::{Sentences, TokenizedCorpus};

/// A pair as ranges of the corpus' tokens, already cut to the room. Neither is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub a: Range<usize>,
    pub b: Range<usize>,
    /// For next-sentence prediction: B is not what follows A. For sentence order: A and B are swapped.
    pub label: bool,
}

/// Whether examples are pairs of segments, and of which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pairs {
    /// They are no pairs: packed sentences.
    #[default]
    None,
    /// The second segment follows the first, or is a random one.
    NextSentence,
    /// The two segments follow one another, in order or swapped.
    SentenceOrder,
}

/// What the construction depends on besides the corpus.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PairOptions {
    /// Tokens of A and B together: `sequence_length - 3`, at least 2.
    pub room: usize,
    /// Probability that a document gets a short target length.
    pub short_probability: f64,
}

impl PairOptions {
    /// The target length of a document's chunks.
    pub fn target(&self, random: &mut Reader) -> usize {
        if random.uniform_f64() < self.short_probability {
            between(random, 2, self.room)
        } else {
            self.room
        }
    }
}

/// The pairs of `document` in one epoch. `epoch` is the stream of that epoch.
pub(crate) fn document_pairs(
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
        let size = end - start;
        let a_end = start
            + if size > 1 {
                between(&mut random, 1, size - 1)
            } else {
                1
            };
        let mut a = own.span(start, a_end);
        let random_next = size == 1 || random.uniform_f64() < 0.5;
        let mut b = if random_next {
            let wanted = target.saturating_sub(a.len());
            elsewhere(corpus, document, wanted, &mut random)
        } else {
            own.span(a_end, end)
        };
        // Unused sentences are put back: the next chunk begins right after A.
        start = if random_next { a_end } else { end };
        truncate(&mut a, &mut b, options.room, &mut random);
        out.push(Pair {
            a,
            b,
            label: random_next,
        });
    }
}

/// One past the last sentence of the chunk that begins at `start`.
pub(crate) fn chunk_end(own: &Sentences<'_>, start: usize, target: usize) -> usize {
    let mut length = 0;
    for i in start..own.count() {
        length += own.len(i);
        if length >= target {
            return i + 1;
        }
    }
    own.count()
}

/// A run of whole sentences of another document, from a random one on, of at least `wanted` tokens
/// or up to the document's end.
fn elsewhere(
    corpus: &TokenizedCorpus,
    document: usize,
    wanted: usize,
    random: &mut Reader,
) -> Range<usize> {
    let count = corpus.documents();
    let other = if count > 1 {
        // Uniform over the others: step over the document itself.
        let drawn = random.below(count as u32 - 1) as usize;
        drawn + usize::from(drawn >= document)
    } else {
        document
    };
    let other = corpus.document(other);
    let first = random.below(other.count() as u32) as usize;
    other.span(first, chunk_end(&other, first, wanted.max(1)))
}

/// Google's `truncate_seq_pair`.
pub(crate) fn truncate(
    a: &mut Range<usize>,
    b: &mut Range<usize>,
    room: usize,
    random: &mut Reader,
) {
    while a.len() + b.len() > room {
        let longer = if a.len() > b.len() { &mut *a } else { &mut *b };
        if random.uniform() < 0.5 {
            longer.start += 1;
        } else {
            longer.end -= 1;
        }
    }
}

/// Uniform over `low..=high`; `high` if that is below `low`.
pub(crate) fn between(random: &mut Reader, low: usize, high: usize) -> usize {
    if high <= low {
        return high;
    }
    low + random.below((high - low + 1) as u32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `documents` documents of `sentences` sentences of `words` tokens; every token is unique.
    fn corpus(documents: u32, sentences: u32, words: u32) -> TokenizedCorpus {
        let mut next = 0;
        TokenizedCorpus::from_tokens((0..documents).map(|_| {
            (0..sentences)
                .map(|_| {
                    next += words;
                    (next - words..next).collect::<Vec<u32>>()
                })
                .collect::<Vec<_>>()
        }))
    }

    fn all(corpus: &TokenizedCorpus, room: usize, short: f64, epoch: u64) -> Vec<(usize, Pair)> {
        let stream = Stream::new(11, "pairs").child(epoch);
        let options = PairOptions {
            room,
            short_probability: short,
        };
        let mut out = Vec::new();
        for document in 0..corpus.documents() {
            let mut pairs = Vec::new();
            document_pairs(corpus, document, options, &stream, &mut pairs);
            out.extend(pairs.into_iter().map(|p| (document, p)));
        }
        out
    }

    fn document_of(corpus: &TokenizedCorpus, token: usize) -> usize {
        (0..corpus.documents())
            .find(|d| {
                let s = corpus.document(*d);
                s.span(0, s.count()).contains(&token)
            })
            .unwrap()
    }

    #[test]
    fn half_of_the_pairs_are_random_and_from_other_documents() {
        let corpus = corpus(60, 40, 5);
        let pairs: Vec<_> = (0..8).flat_map(|e| all(&corpus, 60, 0.1, e)).collect();
        // A chunk of one sentence, which Google always pairs at random, is only ever a last one.
        let random = pairs.iter().filter(|(_, p)| p.label).count();
        let share = random as f64 / pairs.len() as f64;
        assert!((0.47..0.58).contains(&share), "{share} of {}", pairs.len());
        for (document, pair) in &pairs {
            assert_eq!(document_of(&corpus, pair.a.start), *document);
            let b = document_of(&corpus, pair.b.start);
            assert_eq!(b != *document, pair.label);
        }
        let chunks_of_many = pairs.iter().filter(|(d, p)| {
            let s = corpus.document(*d);
            p.a.start < s.span(s.count() - 1, s.count()).start
        });
        let (mut n, mut r) = (0u32, 0u32);
        for (_, p) in chunks_of_many {
            n += 1;
            r += u32::from(p.label);
        }
        let share = f64::from(r) / f64::from(n);
        // Standard deviation about 0.009.
        assert!((share - 0.5).abs() < 0.035, "{share} of {n}");
    }

    #[test]
    fn every_sentence_is_used_once_and_in_order() {
        // Room for everything, so that truncation never cuts and only the bookkeeping is seen.
        let corpus = corpus(20, 30, 4);
        let stream = Stream::new(3, "pairs").child(0);
        for document in 0..corpus.documents() {
            let own = corpus.document(document);
            let mut pairs = Vec::new();
            let options = PairOptions {
                room: 24,
                short_probability: 0.5,
            };
            // The room cuts only pairs that overshoot; A and the true next are then still those
            // that begin where the last ended, up to the cut at their two ends.
            document_pairs(&corpus, document, options, &stream, &mut pairs);
            let mut covered = 0;
            let mut at = own.span(0, 1).start;
            for pair in &pairs {
                assert!(pair.a.start >= at, "A overlaps what came before");
                assert!(pair.a.start < at + 24, "a sentence was passed over");
                at = if pair.label { pair.a.end } else { pair.b.end };
                if !pair.label {
                    assert!(pair.b.start >= pair.a.end);
                }
                covered += 1;
            }
            assert!(covered > 0);
            assert!(own.span(0, own.count()).end - at < 24);
        }
    }

    #[test]
    fn nothing_is_lost_when_nothing_must_be_cut() {
        // Sentences of one token: a chunk has exactly the target length, so no pair with the true
        // next is cut, and a random one only in B.
        let corpus = corpus(12, 200, 1);
        for (document, pairs) in all(&corpus, 21, 0.0, 0).into_iter().fold(
            std::collections::BTreeMap::<usize, Vec<Pair>>::new(),
            |mut map, (d, p)| {
                map.entry(d).or_default().push(p);
                map
            },
        ) {
            let own = corpus.document(document);
            let mut at = own.span(0, 1).start;
            for pair in &pairs {
                assert_eq!(pair.a.start, at, "unused segments must be put back");
                at = pair.a.end;
                if !pair.label {
                    assert_eq!(pair.b.start, at);
                    at = pair.b.end;
                }
            }
            assert_eq!(at, own.span(0, own.count()).end);
        }
    }

    #[test]
    fn pairs_fill_the_room_but_for_short_ones() {
        let corpus = corpus(200, 60, 7);
        let pairs = all(&corpus, 61, 0.1, 0);
        assert!(pairs
            .iter()
            .all(|(_, p)| !p.a.is_empty() && !p.b.is_empty() && p.a.len() + p.b.len() <= 61));
        // The last chunk of a document and a B at the end of another are short by nature, too.
        let full = pairs
            .iter()
            .filter(|(_, p)| p.a.len() + p.b.len() == 61)
            .count();
        let share = full as f64 / pairs.len() as f64;
        assert!((0.5..0.9).contains(&share), "{share}");
        // Without short targets far more are full.
        let pairs = all(&corpus, 61, 0.0, 0);
        let full = pairs
            .iter()
            .filter(|(_, p)| p.a.len() + p.b.len() == 61)
            .count();
        assert!(full as f64 / pairs.len() as f64 > share);
    }

    #[test]
    fn truncation_cuts_the_longer_segment_at_both_ends() {
        let mut random = Stream::new(1, "pairs").reader();
        let (mut fronts, mut total) = (0, 0);
        for _ in 0..400 {
            let (mut a, mut b) = (0..40, 100..110);
            truncate(&mut a, &mut b, 24, &mut random);
            assert_eq!((a.len() + b.len(), b.len()), (24, 10));
            fronts += a.start;
            total += 26;
        }
        let share = fronts as f64 / f64::from(total);
        assert!((share - 0.5).abs() < 0.02, "{share}");
    }

    #[test]
    fn epochs_differ_and_repeat_under_one_seed() {
        let corpus = corpus(30, 20, 6);
        assert_eq!(all(&corpus, 40, 0.1, 5), all(&corpus, 40, 0.1, 5));
        assert_ne!(all(&corpus, 40, 0.1, 5), all(&corpus, 40, 0.1, 6));
    }

    #[test]
    fn a_single_document_and_a_single_sentence_come_to_an_end() {
        let one = corpus(1, 9, 5);
        let pairs = all(&one, 20, 0.1, 0);
        assert!(!pairs.is_empty());
        let tiny = corpus(1, 1, 1);
        let pairs = all(&tiny, 2, 1.0, 0);
        assert_eq!(pairs.len(), 1);
        assert!(pairs[0].1.label);
    }
}
