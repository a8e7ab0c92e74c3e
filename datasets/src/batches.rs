//! Batches: padded arrays of a fixed shape, in random order without replacement.

use std::collections::VecDeque;

use ablate_random::Stream;
use serde::{Deserialize, Serialize};

use crate::examples::Plan;
use crate::{DataError, Example, ExampleSource, Pairs, Result};

/// The label of positions and rows that no loss counts.
pub const IGNORED: i64 = -100;

/// The example id of padding rows.
pub const NO_EXAMPLE: u64 = u64::MAX;

/// Examples as arrays, row-major `[batch, seq]`. Rows `rows..batch` are padding: all `[PAD]`,
/// attention 0, label [`IGNORED`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The epoch that the examples are of.
    pub epoch: u64,
    /// Rows that hold an example, from the first on; at least one.
    pub rows: usize,
    /// Rows of the arrays.
    pub batch: usize,
    /// Columns of the arrays.
    pub seq: usize,
    /// Token ids `[batch, seq]`.
    pub input_ids: Vec<i64>,
    /// Segments `[batch, seq]`: 0 or 1.
    pub token_type_ids: Vec<i64>,
    /// 1 on tokens, 0 on padding `[batch, seq]`.
    pub attention_mask: Vec<i64>,
    /// True on `[CLS]`, `[SEP]` and `[PAD]` `[batch, seq]`.
    pub special_tokens_mask: Vec<bool>,
    /// Of [`Pairs::NextSentence`] `[batch]`: 1 if the second segment is random, 0 if it is the next one.
    pub next_sentence_label: Option<Vec<i64>>,
    /// Of [`Pairs::SentenceOrder`] `[batch]`: 1 if the segments are swapped, 0 if they are in order.
    pub segment_order_label: Option<Vec<i64>>,
    /// Which example each row is `[batch]`, unique within the epoch.
    pub example_ids: Vec<u64>,
}

impl Batch {
    fn new(source: &ExampleSource, epoch: u64, batch: usize, examples: &[Example]) -> Self {
        let seq = source.sequence_length();
        let facts = source.vocabulary();
        let cells = batch * seq;
        let labels = |kind| (source.pairs() == kind).then(|| vec![IGNORED; batch]);
        let mut out = Batch {
            epoch,
            rows: examples.len(),
            batch,
            seq,
            input_ids: vec![i64::from(facts.pad); cells],
            token_type_ids: vec![0; cells],
            attention_mask: vec![0; cells],
            special_tokens_mask: vec![true; cells],
            next_sentence_label: labels(Pairs::NextSentence),
            segment_order_label: labels(Pairs::SentenceOrder),
            example_ids: vec![NO_EXAMPLE; batch],
        };
        for (row, example) in examples.iter().enumerate() {
            let tokens = example.input_ids.iter().zip(&example.token_type_ids);
            for (cell, (&id, &segment)) in (row * seq..).zip(tokens) {
                out.input_ids[cell] = i64::from(id);
                out.token_type_ids[cell] = i64::from(segment);
                out.attention_mask[cell] = 1;
                out.special_tokens_mask[cell] = id == facts.cls || id == facts.sep;
            }
            for (labels, label) in [
                (&mut out.next_sentence_label, example.next_sentence_label),
                (&mut out.segment_order_label, example.segment_order_label),
            ] {
                if let (Some(labels), Some(label)) = (labels, label) {
                    labels[row] = i64::from(label);
                }
            }
            out.example_ids[row] = example.id;
        }
        out
    }

    /// Tokens that are not padding.
    pub fn tokens(&self) -> usize {
        self.attention_mask.iter().filter(|m| **m == 1).count()
    }
}

/// A place in the sequence of batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Examples of that epoch already handed out.
    pub position: u64,
}

/// Endless random batches: each epoch every example once, in an order of its own from the stream
/// "order" under the source's seed. The last batch of an epoch may be short.
#[derive(Debug)]
pub struct Batches {
    source: ExampleSource,
    batch: usize,
    cursor: Cursor,
    /// The examples of `cursor.epoch` that are still to come.
    rest: VecDeque<Plan>,
}

impl Batches {
    /// Batches of `batch` rows from the start of epoch 0.
    ///
    /// # Errors
    ///
    /// `batch` is 0.
    pub fn new(source: ExampleSource, batch: usize) -> Result<Self> {
        if batch == 0 {
            return Err(DataError::EmptyBatch);
        }
        let rest = ordered(&source, 0);
        Ok(Batches {
            source,
            batch,
            cursor: Cursor::default(),
            rest,
        })
    }

    /// Where the next batch begins. Hand it to [`Batches::seek`] to go on in another process.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Goes to `cursor`. A position at or past the end of its epoch means the start of the next.
    pub fn seek(&mut self, cursor: Cursor) {
        let mut rest = ordered(&self.source, cursor.epoch);
        let skip = usize::try_from(cursor.position).unwrap_or(usize::MAX);
        self.cursor = cursor;
        if skip >= rest.len() {
            self.begin_epoch(cursor.epoch + 1);
        } else {
            rest.drain(..skip);
            self.rest = rest;
        }
    }

    /// The source of the examples.
    pub fn source(&self) -> &ExampleSource {
        &self.source
    }

    /// Examples of the current epoch that are still to come; at least one.
    pub fn left_in_epoch(&self) -> usize {
        self.rest.len()
    }

    /// The next batch.
    pub fn next_batch(&mut self) -> Batch {
        let n = self.batch.min(self.rest.len());
        let examples: Vec<Example> = self
            .rest
            .drain(..n)
            .map(|plan| self.source.example(&plan))
            .collect();
        let batch = Batch::new(&self.source, self.cursor.epoch, self.batch, &examples);
        self.cursor.position += n as u64;
        if self.rest.is_empty() {
            self.begin_epoch(self.cursor.epoch + 1);
        }
        batch
    }

    /// The next accumulation window: up to `batches` batches (at least one), all of one epoch, fewer
    /// at its end.
    pub fn next_window(&mut self, batches: usize) -> Vec<Batch> {
        let first = self.next_batch();
        let epoch = first.epoch;
        let mut window = vec![first];
        while window.len() < batches && self.cursor.epoch == epoch {
            window.push(self.next_batch());
        }
        window
    }

    fn begin_epoch(&mut self, epoch: u64) {
        self.cursor = Cursor { epoch, position: 0 };
        self.rest = ordered(&self.source, epoch);
    }
}

fn ordered(source: &ExampleSource, epoch: u64) -> VecDeque<Plan> {
    let mut plan = source.plan(epoch);
    Stream::new(source.seed(), "order")
        .child(epoch)
        .reader()
        .shuffle(&mut plan);
    plan.into()
}

/// Every example of epoch 0 once, in the order of the documents: the batches of an evaluation.
///
/// # Errors
///
/// `batch` is 0.
pub fn sequential(
    source: &ExampleSource,
    batch: usize,
) -> Result<impl Iterator<Item = Batch> + '_> {
    if batch == 0 {
        return Err(DataError::EmptyBatch);
    }
    let mut plan = VecDeque::from(source.plan(0));
    Ok(std::iter::from_fn(move || {
        let n = batch.min(plan.len());
        let examples: Vec<Example> = plan.drain(..n).map(|p| source.example(&p)).collect();
        (n > 0).then(|| Batch::new(source, 0, batch, &examples))
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::*;
    use crate::{TokenizedCorpus, VocabularyFacts};

    fn source(pairs: Pairs) -> ExampleSource {
        let documents: Vec<Vec<Vec<u32>>> = (0..9)
            .map(|d| (0..7).map(|s| vec![10 + d * 7 + s; 3]).collect())
            .collect();
        let corpus = Arc::new(TokenizedCorpus::from_tokens(documents));
        let facts = Arc::new(VocabularyFacts::for_tests(100));
        ExampleSource::new(corpus, facts, 12, pairs, 4).unwrap()
    }

    #[test]
    fn an_epoch_has_every_example_once_in_an_order_of_its_own() {
        let source = source(Pairs::NextSentence);
        let mut batches = Batches::new(source.clone(), 4).unwrap();
        let mut orders = Vec::new();
        for epoch in 0..3 {
            let expected: HashSet<u64> = source.epoch(epoch).iter().map(|e| e.id).collect();
            let mut seen = Vec::new();
            while batches.cursor().epoch == epoch {
                let batch = batches.next_batch();
                assert_eq!(batch.epoch, epoch);
                let short = batches.cursor().epoch != epoch;
                assert!(batch.rows == 4 || short);
                seen.extend_from_slice(&batch.example_ids[..batch.rows]);
            }
            assert_eq!(seen.len(), expected.len());
            assert_eq!(seen.iter().copied().collect::<HashSet<_>>(), expected);
            orders.push(seen);
        }
        assert_ne!(orders[0][..8], orders[1][..8]);
    }

    #[test]
    fn padding_is_marked_in_every_array() {
        let source = source(Pairs::NextSentence);
        let count = source.epoch(0).len();
        let batch_size = count - 1;
        let all: Vec<Batch> = sequential(&source, batch_size).unwrap().collect();
        assert_eq!((all.len(), all[1].rows), (2, 1));
        let b = &all[1];
        assert_eq!(b.input_ids.len(), batch_size * 12);
        for row in 0..b.batch {
            let example = (row < b.rows).then(|| source.epoch(0)[count - 1].clone());
            let length = example.as_ref().map_or(0, |e| e.input_ids.len());
            for column in 0..b.seq {
                let cell = row * b.seq + column;
                let inside = column < length;
                assert_eq!(b.attention_mask[cell], i64::from(inside));
                if !inside {
                    assert_eq!((b.input_ids[cell], b.token_type_ids[cell]), (0, 0));
                    assert!(b.special_tokens_mask[cell]);
                }
            }
            let label = b.next_sentence_label.as_ref().unwrap()[row];
            match example {
                Some(e) => {
                    assert_eq!(label, i64::from(e.next_sentence_label.unwrap()));
                    assert_eq!(b.example_ids[row], e.id);
                }
                None => assert_eq!((label, b.example_ids[row]), (IGNORED, NO_EXAMPLE)),
            }
        }
        assert_eq!(b.tokens(), source.epoch(0)[count - 1].input_ids.len());
        let specials = b.special_tokens_mask[..b.seq]
            .iter()
            .zip(&b.attention_mask)
            .filter(|(s, m)| **s && **m == 1);
        assert_eq!(specials.count(), 3);
    }

    #[test]
    fn a_cursor_resumes_to_the_same_batches() {
        for pairs in [Pairs::NextSentence, Pairs::SentenceOrder, Pairs::None] {
            let mut whole = Batches::new(source(pairs), 5).unwrap();
            for _ in 0..7 {
                whole.next_batch();
            }
            let text = serde_json::to_string(&whole.cursor()).unwrap();
            let mut resumed = Batches::new(source(pairs), 5).unwrap();
            resumed.seek(serde_json::from_str(&text).unwrap());
            for _ in 0..20 {
                assert_eq!(whole.next_batch(), resumed.next_batch());
                assert_eq!(whole.cursor(), resumed.cursor());
            }
        }
    }

    #[test]
    fn a_cursor_past_the_end_means_the_next_epoch() {
        let mut a = Batches::new(source(Pairs::NextSentence), 5).unwrap();
        a.seek(Cursor {
            epoch: 1,
            position: u64::MAX,
        });
        assert_eq!(
            a.cursor(),
            Cursor {
                epoch: 2,
                position: 0
            }
        );
        assert_eq!(a.next_batch().epoch, 2);
    }

    #[test]
    fn windows_stay_within_an_epoch() {
        let source = source(Pairs::NextSentence);
        let mut batches = Batches::new(source.clone(), 4).unwrap();
        for epoch in 0..3u64 {
            let mut rows = 0;
            while batches.cursor().epoch == epoch {
                let window = batches.next_window(3);
                assert!((1..=3).contains(&window.len()));
                assert!(window.iter().all(|b| b.epoch == epoch));
                rows += window.iter().map(|b| b.rows).sum::<usize>();
            }
            assert_eq!(rows, source.epoch(epoch).len());
        }
        assert_eq!(batches.next_window(0).len(), 1);
    }

    #[test]
    fn no_rows_is_an_error() {
        assert!(matches!(
            Batches::new(source(Pairs::NextSentence), 0),
            Err(DataError::EmptyBatch)
        ));
        assert!(sequential(&source(Pairs::NextSentence), 0).is_err());
    }
}
