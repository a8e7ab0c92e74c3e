//! A micro-batch as the trainer and the objectives see it, and the source that delivers micro-batches.
//!
//! Owns the arrays of one micro-batch, the labels ("features") that objectives write beside them, and
//! the facts about the vocabulary that masking needs. Must not know how a corpus is read, tokenized or
//! shuffled: whoever owns the data implements [`BatchSource`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::stopping::Split;

/// A label that means "predict nothing here".
pub const IGNORED: i64 = -100;

/// What an objective may know about the vocabulary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VocabularyFacts {
    /// Number of ids; every id is below it.
    pub size: usize,
    /// Id of `[PAD]`.
    pub pad_id: i64,
    /// Id of `[UNK]`.
    pub unknown_id: i64,
    /// Id of `[CLS]`.
    pub cls_id: i64,
    /// Id of `[SEP]`.
    pub sep_id: i64,
    /// Id of `[MASK]`.
    pub mask_id: i64,
    /// Ids that are never predicted and never drawn as a random replacement, ascending.
    pub special_ids: Vec<i64>,
    /// For each id whether it continues a word (`##ing`); length `size`.
    pub continuation: Vec<bool>,
}

/// Labels written by an objective's data hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feature {
    /// One label a token, `[batch, seq]` row-major; [`IGNORED`] = no prediction, as for all padding.
    /// Sparse: the graph hook sees only the positions that carry a label.
    PerToken(Vec<i64>),
    /// One label a row, `[batch]`; [`IGNORED`] = no prediction (all padding rows).
    PerSequence(Vec<i64>),
}

/// One micro-batch. All arrays are row-major over the capacity `batch`; rows from `rows` on are
/// padding: attention mask 0, special-tokens mask true, labels [`IGNORED`].
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedBatch {
    /// Rows that hold an example.
    pub rows: usize,
    /// Rows of every array.
    pub batch: usize,
    /// Tokens a row.
    pub seq: usize,
    /// `[batch, seq]`. Objectives may overwrite tokens (masking).
    pub input_ids: Vec<i64>,
    /// Segment, 0 or 1, `[batch, seq]`.
    pub token_type_ids: Vec<i64>,
    /// 1 = a real token, `[batch, seq]`.
    pub attention_mask: Vec<i64>,
    /// True on `[CLS]`, `[SEP]`, `[PAD]`, `[batch, seq]`.
    pub special_tokens_mask: Vec<bool>,
    /// When rows are pairs: 0 = the second segment follows the first, 1 = it was drawn at random,
    /// `[batch]`, [`IGNORED`] in padding rows.
    pub next_sentence_label: Option<Vec<i64>>,
    /// Which example each row is, `[batch]`; 0 in padding rows.
    pub example_ids: Vec<u64>,
    /// Key of each row's own random stream, `[batch]`: masking of a row depends on the example, the
    /// epoch and the seed alone, never on the rows beside it.
    pub row_keys: Vec<u64>,
    /// Shared facts about the vocabulary.
    pub vocabulary: Arc<VocabularyFacts>,
    /// What the objective that is preparing now has written, by name. The trainer empties it between
    /// objectives, so that two objectives may both call their labels `labels`.
    pub features: BTreeMap<String, Feature>,
}

impl PreparedBatch {
    /// Number of real (attended) tokens.
    pub fn tokens(&self) -> u64 {
        self.attention_mask.iter().filter(|&&m| m != 0).count() as u64
    }
}

/// The micro-batches of one optimizer step.
#[derive(Clone, Debug)]
pub struct Window {
    /// Epoch the micro-batches come from, from 0. A window never spans two epochs.
    pub epoch: u64,
    /// One to `accumulate` micro-batches; fewer in the last window of an epoch.
    pub batches: Vec<PreparedBatch>,
}

/// An error of whoever delivers batches, in words.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What went wrong and what to do.
    pub message: String,
}

impl SourceError {
    /// Wraps a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

/// Delivers the training windows in their random order and the held-out batches in a fixed one.
///
/// The same cursor must deliver the same windows: checkpoints rely on it.
pub trait BatchSource: Send {
    /// The next window of the current epoch, or the first of the next epoch.
    ///
    /// # Errors
    /// When the data holds no example, or reading fails.
    fn next_window(&mut self) -> Result<Window, SourceError>;

    /// Where the next call of [`BatchSource::next_window`] begins.
    fn cursor(&self) -> serde_json::Value;

    /// Continues at a cursor taken earlier from a source over the same data with the same seed.
    ///
    /// # Errors
    /// When the cursor is not one of this source.
    fn restore(&mut self, cursor: &serde_json::Value) -> Result<(), SourceError>;

    /// All held-out micro-batches of a split, the same ones in the same order on every call, with
    /// `features` empty. [`Split::Train`] yields none.
    ///
    /// # Errors
    /// When reading fails.
    fn evaluation(
        &mut self,
        split: Split,
    ) -> Result<Box<dyn Iterator<Item = PreparedBatch> + '_>, SourceError>;
}
