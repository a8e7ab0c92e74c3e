//! One epoch's examples: which tokens, where the segments lie, which label.

use std::ops::Range;
use std::sync::Arc;

use ablate_random::Stream;

use crate::order::ordered_pairs;
use crate::packing::document_sequences;
use crate::pairs::{document_pairs, PairOptions, Pairs};
use crate::{DataError, Result, TokenizedCorpus, VocabularyFacts};

/// Google's `short_seq_prob`.
pub const SHORT_SEQUENCE_PROBABILITY: f64 = 0.1;

/// A sequence with its special tokens, unpadded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Unique within the epoch; depends on the document's place and the example's place in it.
    pub id: u64,
    /// `[CLS] A [SEP] B [SEP]`, or `[CLS] A [SEP]` without pairs.
    pub input_ids: Vec<u32>,
    /// 0 for `[CLS] A [SEP]`, 1 for `B [SEP]`.
    pub token_type_ids: Vec<u32>,
    /// Of [`Pairs::NextSentence`]: whether B is random, that is not what follows A. As a class of
    /// `transformers.BertForPreTraining`, true is 1.
    pub next_sentence_label: Option<bool>,
    /// Of [`Pairs::SentenceOrder`]: whether A and B are swapped. As a class of
    /// `transformers.AlbertForPreTraining`, true is 1.
    pub segment_order_label: Option<bool>,
}

/// An example as ranges of the corpus, 48 bytes: an epoch of them costs no copy of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub id: u64,
    a: Range<usize>,
    b: Option<(Range<usize>, bool)>,
}

/// Makes the examples of any epoch of one split.
#[derive(Clone, Debug)]
pub struct ExampleSource {
    corpus: Arc<TokenizedCorpus>,
    vocabulary: Arc<VocabularyFacts>,
    sequence_length: usize,
    pairs: Pairs,
    seed: u64,
    short_probability: f64,
}

impl ExampleSource {
    /// Examples of at most `sequence_length` tokens; pairs of segments as `pairs` says, made anew for
    /// each epoch from the stream "pairs" under `seed`, else packed sentences, the same in each epoch.
    ///
    /// # Errors
    ///
    /// A corpus without tokens, or for sentence order one of single tokens; a length below 5 for pairs,
    /// below 3 without.
    pub fn new(
        corpus: Arc<TokenizedCorpus>,
        vocabulary: Arc<VocabularyFacts>,
        sequence_length: usize,
        pairs: Pairs,
        seed: u64,
    ) -> Result<Self> {
        let (minimum, what) = match pairs {
            // [CLS] [SEP] [SEP] and a token for each segment.
            Pairs::NextSentence | Pairs::SentenceOrder => (5, "sentence pairs"),
            Pairs::None => (3, "single sequences"),
        };
        if sequence_length < minimum {
            return Err(DataError::SequenceTooShort {
                found: sequence_length,
                minimum,
                what,
            });
        }
        if corpus.documents() == 0 {
            return Err(DataError::NoExamples { documents: 0 });
        }
        let has_order = |d: usize| {
            let document = corpus.document(d);
            document.span(0, document.count()).len() > 1
        };
        if pairs == Pairs::SentenceOrder && !(0..corpus.documents()).any(has_order) {
            return Err(DataError::NoOrder {
                documents: corpus.documents(),
            });
        }
        Ok(ExampleSource {
            corpus,
            vocabulary,
            sequence_length,
            pairs,
            seed,
            short_probability: SHORT_SEQUENCE_PROBABILITY,
        })
    }

    /// The same with another probability of short sequences, in `0..=1`.
    pub fn with_short_sequences(mut self, probability: f64) -> Self {
        self.short_probability = probability;
        self
    }

    /// The longest an example may be, special tokens included.
    pub fn sequence_length(&self) -> usize {
        self.sequence_length
    }

    /// Whether examples are pairs of segments, and of which.
    pub fn pairs(&self) -> Pairs {
        self.pairs
    }

    /// The seed of the streams.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The vocabulary of the tokens.
    pub fn vocabulary(&self) -> &Arc<VocabularyFacts> {
        &self.vocabulary
    }

    /// All examples of epoch `epoch`, in the order of the documents. At least one.
    pub fn epoch(&self, epoch: u64) -> Vec<Example> {
        self.plan(epoch)
            .iter()
            .map(|plan| self.example(plan))
            .collect()
    }

    pub(crate) fn plan(&self, epoch: u64) -> Vec<Plan> {
        let stream = Stream::new(self.seed, "pairs").child(epoch);
        let options = PairOptions {
            // Of no meaning without pairs, where the length may be 3 alone.
            room: self.sequence_length.saturating_sub(3),
            short_probability: self.short_probability,
        };
        let mut plans = Vec::new();
        let (mut pairs, mut sequences) = (Vec::new(), Vec::new());
        for document in 0..self.corpus.documents() {
            let mut id = (document as u64) << 32;
            let mut push = |a, b| {
                plans.push(Plan { id, a, b });
                id += 1;
            };
            match self.pairs {
                Pairs::NextSentence => {
                    document_pairs(&self.corpus, document, options, &stream, &mut pairs);
                }
                Pairs::SentenceOrder => {
                    ordered_pairs(&self.corpus, document, options, &stream, &mut pairs);
                }
                Pairs::None => {
                    let room = self.sequence_length - 2;
                    document_sequences(&self.corpus, document, room, &mut sequences);
                }
            }
            for pair in pairs.drain(..) {
                push(pair.a, Some((pair.b, pair.label)));
            }
            for a in sequences.drain(..) {
                push(a, None);
            }
        }
        plans
    }

    pub(crate) fn example(&self, plan: &Plan) -> Example {
        let tokens = self.corpus.tokens();
        let facts = &self.vocabulary;
        let mut input_ids = Vec::with_capacity(self.sequence_length);
        input_ids.push(facts.cls);
        input_ids.extend_from_slice(&tokens[plan.a.clone()]);
        input_ids.push(facts.sep);
        let mut token_type_ids = vec![0; input_ids.len()];
        if let Some((b, _)) = &plan.b {
            input_ids.extend_from_slice(&tokens[b.clone()]);
            input_ids.push(facts.sep);
            token_type_ids.resize(input_ids.len(), 1);
        }
        let label = |kind| {
            let (_, label) = plan.b.as_ref().filter(|_| self.pairs == kind)?;
            Some(*label)
        };
        Example {
            id: plan.id,
            input_ids,
            token_type_ids,
            next_sentence_label: label(Pairs::NextSentence),
            segment_order_label: label(Pairs::SentenceOrder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(pairs: Pairs, length: usize) -> Result<ExampleSource> {
        let mut next = 10u32;
        let documents: Vec<Vec<Vec<u32>>> = (0..7)
            .map(|_| {
                (0..12)
                    .map(|i| {
                        next += i % 5 + 1;
                        (next - (i % 5 + 1)..next).collect()
                    })
                    .collect()
            })
            .collect();
        let corpus = TokenizedCorpus::from_tokens(documents);
        let facts = VocabularyFacts::for_tests(next as usize);
        ExampleSource::new(Arc::new(corpus), Arc::new(facts), length, pairs, 5)
    }

    #[test]
    fn pairs_are_laid_out_as_bert_wants_them() {
        let source = source(Pairs::NextSentence, 24).unwrap();
        let f = source.vocabulary().clone();
        for e in source.epoch(2) {
            assert!(e.input_ids.len() <= 24 && e.input_ids.len() == e.token_type_ids.len());
            assert_eq!((e.input_ids[0], e.token_type_ids[0]), (f.cls, 0));
            assert_eq!(e.input_ids.last(), Some(&f.sep));
            let seps: Vec<usize> = (0..e.input_ids.len())
                .filter(|i| e.input_ids[*i] == f.sep)
                .collect();
            assert_eq!(seps.len(), 2);
            assert!(seps[0] > 1 && seps[1] > seps[0] + 1);
            let types: Vec<u32> = (0..e.input_ids.len())
                .map(|i| u32::from(i > seps[0]))
                .collect();
            assert_eq!(e.token_type_ids, types);
            assert!(e.next_sentence_label.is_some());
        }
    }

    #[test]
    fn ordered_pairs_carry_their_own_label() {
        let source = source(Pairs::SentenceOrder, 24).unwrap();
        let examples = source.epoch(0);
        assert!(examples.iter().all(|e| e.next_sentence_label.is_none()));
        for e in &examples {
            let sep = source.vocabulary().sep;
            let at = e.input_ids.iter().position(|id| *id == sep).unwrap();
            // Tokens count upwards through the corpus.
            let swapped = e.input_ids[1] > e.input_ids[at + 1];
            assert_eq!(e.segment_order_label, Some(swapped));
        }
        assert!(examples.iter().any(|e| e.segment_order_label == Some(true)));
        let single = TokenizedCorpus::from_tokens(vec![vec![vec![9u32]]]);
        let facts = Arc::new(VocabularyFacts::for_tests(10));
        let single = ExampleSource::new(Arc::new(single), facts, 16, Pairs::SentenceOrder, 1);
        assert!(matches!(single, Err(DataError::NoOrder { documents: 1 })));
    }

    #[test]
    fn single_sequences_hold_every_token_once() {
        let source = source(Pairs::None, 11).unwrap();
        let mut seen: Vec<u32> = Vec::new();
        for e in source.epoch(0) {
            assert!(e.input_ids.len() <= 11 && e.next_sentence_label.is_none());
            assert!(e.token_type_ids.iter().all(|t| *t == 0));
            seen.extend(&e.input_ids[1..e.input_ids.len() - 1]);
        }
        assert_eq!(seen, source.corpus.tokens());
        assert_eq!(source.epoch(0), source.epoch(1));
    }

    #[test]
    fn ids_are_unique_within_an_epoch() {
        let source = source(Pairs::NextSentence, 16).unwrap();
        let ids: std::collections::HashSet<u64> = source.epoch(1).iter().map(|e| e.id).collect();
        assert_eq!(ids.len(), source.epoch(1).len());
    }

    #[test]
    fn too_short_and_empty_are_errors() {
        assert!(matches!(
            source(Pairs::NextSentence, 4),
            Err(DataError::SequenceTooShort { minimum: 5, .. })
        ));
        assert!(source(Pairs::NextSentence, 5)
            .unwrap()
            .epoch(0)
            .iter()
            .all(|e| e.input_ids.len() == 5));
        assert!(matches!(
            source(Pairs::None, 2),
            Err(DataError::SequenceTooShort { minimum: 3, .. })
        ));
        let empty = TokenizedCorpus::from_tokens(Vec::<Vec<Vec<u32>>>::new());
        let facts = Arc::new(VocabularyFacts::for_tests(9));
        assert!(matches!(
            ExampleSource::new(Arc::new(empty), facts, 16, Pairs::NextSentence, 1),
            Err(DataError::NoExamples { .. })
        ));
    }
}
