//! Batches of made-up tokens.
//!
//! Owns rows that look like a corpus of sentence pairs to the trainer: special tokens, segments,
//! lengths. Must not know masking or labels; those are the objectives'.

use std::sync::Arc;

use ablate_random::Stream;
use ablate_train::{BatchSource, PreparedBatch, SourceError, Split, VocabularyFacts, Window};
use serde::Serialize;

use crate::configuration::{Configuration, SHORTEST, SPECIAL};

const CLS: i64 = 2;
const SEP: i64 = 3;
/// Tokens of the made-up corpus. Rows are cut from it at random places, as a real source cuts them
/// from a tokenized corpus: a step does not pay for drawing tokens one by one.
const CORPUS: usize = 1 << 20;

/// Numbers from which the quantiles of a distribution are taken.
const DRAWN: usize = 1 << 12;

/// Real tokens of the rows; the rest of a row is padding.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lengths {
    /// Every row is full.
    #[default]
    Full,
    /// Each row takes one of these at random, cut to the row: the lengths of a real corpus.
    Sample(Vec<usize>),
    /// Every batch has the same lengths in another order, so that it has the same work: evenly spread
    /// quantiles of a log-normal distribution, cut to the row.
    LogNormal {
        /// Half of all texts are shorter than this many tokens.
        median_tokens: f64,
        /// Standard deviation of the length's natural logarithm.
        sigma: f64,
    },
}

impl Lengths {
    /// Lengths like those of texts that people write, which are nearly log-normal: Sobkowicz, Thelwall,
    /// Buckley, Paltoglou, Sobkowicz, "Lognormal distributions of user post lengths in Internet
    /// discussions", EPJ Data Science 2:2, 2013. The numbers are a choice, not a fit to a corpus: half of the
    /// texts are shorter than 96 tokens, one in forty longer than 512.
    pub const TEXT: Lengths = Lengths::LogNormal {
        median_tokens: 96.0,
        sigma: 0.85,
    };

    /// The lengths of every batch, before their order, if they are the same in each.
    fn of_batch(&self, batch: usize, seq: usize, stream: &Stream) -> Vec<usize> {
        let Lengths::LogNormal {
            median_tokens,
            sigma,
        } = self
        else {
            return Vec::new();
        };
        let mut reader = stream.child(0).reader();
        let mut normal: Vec<f64> = (0..DRAWN).map(|_| reader.normal()).collect();
        normal.sort_by(f64::total_cmp);
        let quantile = |row: usize| normal[(2 * row + 1) * DRAWN / (2 * batch)];
        (0..batch)
            .map(|row| (median_tokens * (sigma * quantile(row)).exp()).round() as usize)
            .map(|length| length.clamp(SHORTEST, seq))
            .collect()
    }
}

/// An endless source of rows.
pub struct SyntheticBatches {
    facts: Arc<VocabularyFacts>,
    corpus: Vec<i64>,
    lengths: Lengths,
    /// [`Lengths::of_batch`].
    same: Vec<usize>,
    batch: usize,
    seq: usize,
    stream: Stream,
    orders: Stream,
    masks: Stream,
    position: u64,
}

impl SyntheticBatches {
    /// The source of a benchmark; ids 0 to 4 are the special tokens.
    pub fn new(configuration: &Configuration) -> Self {
        let stream = Stream::new(configuration.seed, "bench");
        let mut reader = stream.reader();
        let ordinary =
            u32::try_from(configuration.vocab.saturating_sub(SPECIAL)).unwrap_or(u32::MAX);
        let corpus = (0..CORPUS + configuration.seq)
            .map(|_| SPECIAL as i64 + i64::from(reader.below(ordinary)))
            .collect();
        let facts = VocabularyFacts {
            size: configuration.vocab,
            pad_id: 0,
            unknown_id: 1,
            cls_id: CLS,
            sep_id: SEP,
            mask_id: 4,
            special_ids: (0..SPECIAL as i64).collect(),
            continuation: vec![false; configuration.vocab],
        };
        let (batch, seq) = (configuration.batch, configuration.seq);
        let lengths = configuration.lengths.clone();
        let orders = Stream::new(configuration.seed, "lengths");
        SyntheticBatches {
            facts: Arc::new(facts),
            corpus,
            same: lengths.of_batch(batch, seq, &orders),
            lengths,
            batch,
            seq,
            stream,
            orders,
            masks: Stream::new(configuration.seed, "masks"),
            position: 0,
        }
    }

    /// The lengths that all batches share in the order of the next one.
    fn ordered(&self) -> Vec<usize> {
        let mut reader = self.orders.child(1 + self.position).reader();
        let mut same = self.same.clone();
        // Durstenfeld's shuffle.
        for last in (1..same.len()).rev() {
            same.swap(last, reader.below(last as u32 + 1) as usize);
        }
        same
    }

    /// `[CLS] a.. [SEP] b.. [SEP]`, then padding.
    fn row(&self, number: u64, row: usize, same: &[usize], out: &mut PreparedBatch) {
        let mut draw = self.stream.child(number).reader();
        let length = match &self.lengths {
            Lengths::LogNormal { .. } => same[row],
            Lengths::Full => self.seq,
            Lengths::Sample(lengths) if lengths.is_empty() => self.seq,
            Lengths::Sample(lengths) => {
                let index = draw.below(u32::try_from(lengths.len()).unwrap_or(u32::MAX));
                lengths[index as usize].clamp(SHORTEST, self.seq)
            }
        };
        let words = length - 3;
        let start = draw.below(CORPUS as u32) as usize;
        // Both segments hold at least one word.
        let first = 1 + draw.below(words as u32 - 1) as usize;
        let span = row * self.seq..row * self.seq + length;
        let ids = &mut out.input_ids[span.clone()];
        let special = &mut out.special_tokens_mask[span.clone()];
        ids[1..=first].copy_from_slice(&self.corpus[start..start + first]);
        ids[first + 2..length - 1].copy_from_slice(&self.corpus[start + first..start + words]);
        special.fill(false);
        for (at, id) in [(0, CLS), (first + 1, SEP), (length - 1, SEP)] {
            ids[at] = id;
            special[at] = true;
        }
        out.token_type_ids[span.clone()][first + 2..].fill(1);
        out.attention_mask[span].fill(1);
        out.example_ids[row] = number;
        out.row_keys[row] = self.masks.child(number).key();
        if let Some(labels) = &mut out.next_sentence_label {
            labels[row] = i64::from(draw.below(2));
        }
    }
}

impl BatchSource for SyntheticBatches {
    fn next_window(&mut self) -> Result<Window, SourceError> {
        let tokens = self.batch * self.seq;
        let mut batch = PreparedBatch {
            rows: self.batch,
            batch: self.batch,
            seq: self.seq,
            input_ids: vec![0; tokens],
            token_type_ids: vec![0; tokens],
            attention_mask: vec![0; tokens],
            special_tokens_mask: vec![true; tokens],
            next_sentence_label: Some(vec![0; self.batch]),
            example_ids: vec![0; self.batch],
            row_keys: vec![0; self.batch],
            vocabulary: self.facts.clone(),
            ..PreparedBatch::default()
        };
        let same = self.ordered();
        for row in 0..self.batch {
            self.row(self.position + row as u64, row, &same, &mut batch);
        }
        self.position += self.batch as u64;
        Ok(Window {
            epoch: 0,
            batches: vec![batch],
        })
    }

    fn cursor(&self) -> serde_json::Value {
        serde_json::json!(self.position)
    }

    fn restore(&mut self, cursor: &serde_json::Value) -> Result<(), SourceError> {
        self.position = cursor
            .as_u64()
            .ok_or_else(|| SourceError::new(format!("{cursor} is not a row number")))?;
        Ok(())
    }

    fn evaluation(
        &mut self,
        _split: Split,
    ) -> Result<Box<dyn Iterator<Item = PreparedBatch> + '_>, SourceError> {
        Ok(Box::new(std::iter::empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration() -> Configuration {
        Configuration {
            vocab: 40,
            seq: 12,
            batch: 6,
            ..Configuration::preset("tiny").unwrap()
        }
    }

    #[test]
    fn rows_are_pairs_with_special_tokens_at_their_ends() {
        let mut source = SyntheticBatches::new(&configuration());
        let window = source.next_window().unwrap();
        let b = &window.batches[0];
        for row in b.input_ids.chunks(12) {
            assert_eq!((row[0], row[11]), (CLS, SEP));
            assert_eq!(row.iter().filter(|&&id| id == SEP).count(), 2);
            assert!(row.iter().all(|id| (2..40).contains(id)));
        }
        assert_eq!(b.tokens(), 6 * 12);
        for (types, ids) in b.token_type_ids.chunks(12).zip(b.input_ids.chunks(12)) {
            let sep = ids.iter().position(|&id| id == SEP).unwrap();
            assert!(
                types[..=sep].iter().all(|t| *t == 0) && types[sep + 1..].iter().all(|t| *t == 1)
            );
        }
        let special = b.special_tokens_mask.iter().filter(|s| **s).count();
        assert_eq!(special, 6 * 3);
    }

    #[test]
    fn a_cursor_brings_the_same_window_again() {
        let mut source = SyntheticBatches::new(&configuration());
        source.next_window().unwrap();
        let cursor = source.cursor();
        let second = source.next_window().unwrap();
        assert_ne!(second.batches, source.next_window().unwrap().batches);
        source.restore(&cursor).unwrap();
        assert_eq!(second.batches, source.next_window().unwrap().batches);
        assert!(source.restore(&serde_json::json!("no")).is_err());
    }

    #[test]
    fn lengths_of_texts_are_the_same_in_every_batch_in_another_order() {
        let mut source = SyntheticBatches::new(&Configuration {
            seq: 128,
            batch: 64,
            lengths: Lengths::TEXT,
            ..configuration()
        });
        let mut next = || -> Vec<i64> {
            let window = source.next_window().unwrap();
            let mask = &window.batches[0].attention_mask;
            mask.chunks(128).map(|r| r.iter().sum()).collect()
        };
        let (mut first, mut second) = (next(), next());
        assert_ne!(first, second);
        first.sort_unstable();
        second.sort_unstable();
        assert_eq!(first, second);
        // Half are shorter than the median, and about a third is cut.
        assert!((90..=102).contains(&first[32]), "{first:?}");
        let full = first.iter().filter(|l| **l == 128).count();
        assert!((20..=26).contains(&full), "{first:?}");
    }

    #[test]
    fn sampled_lengths_leave_padding() {
        let mut source = SyntheticBatches::new(&Configuration {
            lengths: Lengths::Sample(vec![6, 9, 1, 500]),
            batch: 64,
            ..configuration()
        });
        let window = source.next_window().unwrap();
        let b = &window.batches[0];
        let mut seen: Vec<i64> = b
            .attention_mask
            .chunks(12)
            .map(|r| r.iter().sum())
            .collect();
        for (ids, mask) in b.input_ids.chunks(12).zip(b.attention_mask.chunks(12)) {
            assert!(ids.iter().zip(mask).all(|(id, m)| (*id == 0) == (*m == 0)));
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [5, 6, 9, 12]);
    }
}
