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

impl Feature {
    /// Takes every label out.
    pub(crate) fn ignore(&mut self) {
        let (Feature::PerToken(labels) | Feature::PerSequence(labels)) = self;
        labels.fill(IGNORED);
    }
}

/// Where in training a micro-batch stands. Known from the data's cursor alone, so the same whether the
/// batch is prepared ahead, again, or after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whether the model learns from it or is measured by it.
    pub split: Split,
    /// Epoch, from 0; 0 in held-out batches.
    pub epoch: u64,
    /// The optimizer step that it belongs to, from 1; 0 in held-out batches.
    pub step: u64,
}

impl Default for Place {
    /// The first step of training.
    fn default() -> Self {
        Place {
            split: Split::Train,
            epoch: 0,
            step: 1,
        }
    }
}

/// Which objectives a held-out batch asks, by name. Training batches ask all.
///
/// Arms of an experiment may differ in their objectives. What the baseline is measured by, every arm is
/// measured by on the same batches: rows of the same layout, in which no objective that the baseline does
/// not have has changed a token. Objectives that only the arm has are asked on batches of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Asks {
    /// All of them.
    #[default]
    All,
    /// These alone. The others leave the batch as it is and have no units in it.
    Only(Arc<[String]>),
    /// All but these, which prepare the batch as in training and have no units in it.
    AllBut(Arc<[String]>),
}

/// What an objective does with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It prepares the batch and counts.
    Asked,
    /// It prepares the batch and does not count.
    Prepares,
    /// It does neither.
    Absent,
}

impl Asks {
    pub(crate) fn part(&self, objective: &str) -> Part {
        let listed = |names: &[String]| names.iter().any(|name| name == objective);
        match self {
            Asks::Only(names) if !listed(names) => Part::Absent,
            Asks::AllBut(names) if listed(names) => Part::Prepares,
            _ => Part::Asked,
        }
    }
}

/// One micro-batch. All arrays are row-major over the capacity `batch`; rows from `rows` on are
/// padding: attention mask 0, special-tokens mask true, labels [`IGNORED`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PreparedBatch {
    /// Where in training it stands.
    pub place: Place,
    /// Which objectives it asks.
    pub asks: Asks,
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
    /// When rows are two segments that stood one behind the other: 0 = in this order, 1 = swapped,
    /// `[batch]`, [`IGNORED`] in padding rows.
    pub segment_order_label: Option<Vec<i64>>,
    /// Which example each row is, `[batch]`; 0 in padding rows.
    pub example_ids: Vec<u64>,
    /// Key of each row's own random stream, `[batch]`: masking of a row depends on the example, the
    /// epoch and the seed alone, never on the rows beside it.
    pub row_keys: Vec<u64>,
    /// Shared facts about the vocabulary.
    pub vocabulary: Arc<VocabularyFacts>,
    /// `[batch, seq]`, the tokens before any objective changed them; see [`PreparedBatch::begin`].
    pub original_ids: Vec<i64>,
    /// `[batch, seq]`, 1 where an objective predicts the token that stood there, so that objectives
    /// after it can predict the same ones or leave them alone; see [`PreparedBatch::begin`].
    pub predicted: Vec<u8>,
    /// What the objective that is preparing now has written, by name. The trainer empties it between
    /// objectives, so that two objectives may both call their labels `labels`.
    pub features: BTreeMap<String, Feature>,
}

impl PreparedBatch {
    /// Makes it ready for the first data hook: no token is changed and none is predicted.
    pub fn begin(&mut self) {
        self.original_ids.clone_from(&self.input_ids);
        self.predicted.clear();
        self.predicted.resize(self.input_ids.len(), 0);
        self.features.clear();
    }

    /// A copy for an objective that has no part in this batch: it finds what it needs, and no label.
    pub(crate) fn for_the_absent(&self) -> Self {
        let none = || Some(vec![IGNORED; self.batch]);
        PreparedBatch {
            next_sentence_label: none(),
            segment_order_label: none(),
            ..self.clone()
        }
    }

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
