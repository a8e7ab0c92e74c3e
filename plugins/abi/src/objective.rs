//! Objectives: what is predicted, from which labels, with which loss.

use std::ffi::c_void;

use crate::{BatchContext, Declarations, GraphContext, Host, SizeGated, Status, Str, Tensor};

/// Extension id of [`ObjectiveApi`].
pub const OBJECTIVE_API: &str = "ablate.objective/1";

/// What an objective needs of the data; bits of [`ObjectiveApi::needs`].
pub mod needs {
    /// Examples are pairs of segments with a next-sentence label.
    pub const SENTENCE_PAIRS: u32 = 1;
    /// Examples are pairs of segments that stood one behind the other, in order or swapped, with a
    /// segment-order label. Not together with [`SENTENCE_PAIRS`].
    pub const ORDERED_PAIRS: u32 = 2;
}

/// Values of [`FeatureSpec::layout`].
pub mod layout {
    /// One label per token, `[batch, seq]`; most are ignored.
    pub const PER_TOKEN: u32 = 1;
    /// One label per sequence, `[batch]`.
    pub const PER_SEQUENCE: u32 = 2;
}

/// A label array that an objective writes in `prepare` and reads in `build`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FeatureSpec {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// One of [`layout`].
    pub layout: u32,
    /// Name, unique among the objectives of a recipe.
    pub name: Str,
    /// Labels are whole numbers in `0..classes`, or -100 for "ignored". 0 stands for the size of the
    /// vocabulary.
    pub classes: u64,
    /// Expected share of labels that are not ignored, in `0..=1`; 0 where unknown. Only a hint from
    /// which the host chooses how much room the graph gives to labelled tokens.
    pub density: f64,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for FeatureSpec {
    const MIN_SIZE: usize = 40;
}

/// A micro-batch as `prepare` sees it. Arrays are row-major and belong to the host; they are valid
/// until `prepare` returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct BatchView {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Not used, 0.
    pub reserved: u32,
    /// Rows that hold an example; rows from here to `batch` are padding.
    pub rows: u64,
    /// Rows of the arrays.
    pub batch: u64,
    /// Tokens per row.
    pub seq: u64,
    /// `[batch, seq]` token ids, which the objective may change in place.
    pub input_ids: *mut i64,
    /// `[batch, seq]` segment ids.
    pub token_type_ids: *const i64,
    /// `[batch, seq]`, 1 for a token, 0 for padding.
    pub attention_mask: *const i64,
    /// `[batch, seq]`, 1 for special tokens and padding.
    pub special_tokens_mask: *const u8,
    /// `[batch]`, 1 where the second segment is a random one, -100 in padding rows; null where the
    /// examples are no pairs.
    pub next_sentence_label: *const i64,
    /// `[batch]` identity of each example, stable over epochs.
    pub example_ids: *const u64,
    /// `[batch]` random keys for [`RandomApi`](crate::RandomApi): a function of seed, example and
    /// epoch alone, so the same whatever the order of the batches.
    pub row_keys: *const u64,
    /// Number of tokens in the vocabulary.
    pub vocab_size: u64,
    /// Id of `[MASK]`.
    pub mask_id: i64,
    /// Id of `[PAD]`.
    pub pad_id: i64,
    /// `special_count` ids that are never predicted and never put in as a random word, ascending.
    pub special_ids: *const i64,
    /// Number of special ids.
    pub special_count: usize,
    /// `[vocab_size]`, 1 for tokens that continue a word (`##ing`); null where unknown.
    pub continues_word: *const u8,
    /// One of [`split`](crate::split): whether the model learns from the batch or is measured by it.
    pub split: u32,
    /// Not used, 0.
    pub reserved_2: u32,
    /// The optimizer step that the batch belongs to, from 1; 0 in held-out batches.
    pub step: u64,
    /// Epoch, from 0; 0 in held-out batches.
    pub epoch: u64,
    /// `[batch]`, 1 where the two segments are swapped, 0 where they are in order, -100 in padding rows;
    /// null where the examples are no such pairs.
    pub segment_order_label: *const i64,
    /// `[batch, seq]` token ids before any objective changed them.
    pub original_ids: *const i64,
    /// `[batch, seq]`, 1 where an objective predicts the token that stood there. An objective that
    /// hides tokens sets it, so that objectives after it can predict the same ones, or leave them alone.
    pub predicted: *mut u8,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for BatchView {
    const MIN_SIZE: usize = 184;
}

/// What a recipe says beside an objective's own configuration. The host's, as all that it points to;
/// valid until the call returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ObjectiveSetup {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// The place of this objective among `objectives`, from 0.
    pub index: u32,
    /// `objective_count` names in the order of the recipe, in which their data hooks run.
    pub objectives: *const Str,
    /// Number of objectives.
    pub objective_count: usize,
    /// The model's dropout rate on hidden states.
    pub hidden_dropout: f64,
    /// The model's dropout rate on attention probabilities.
    pub attention_dropout: f64,
    /// Tokens per row in training.
    pub sequence_length: u64,
    /// `vocab_size` tokens by id; null where the vocabulary is not known yet, because it will be trained.
    pub vocabulary: *const Str,
    /// Number of tokens of the vocabulary; 0 where it is not known yet.
    pub vocab_size: u64,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for ObjectiveSetup {
    const MIN_SIZE: usize = 64;
}

/// Functions of an objective. An instance is one use of the objective in one trial.
///
/// *One thread at a time.*
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ObjectiveApi {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Not used, 0.
    pub reserved: u32,
    /// Makes an instance from its configuration, a JSON object in UTF-8. `host` is valid until the
    /// process ends, `config` until the call returns. On success `*instance`, the plugin's memory, is
    /// passed back to every other function; it may be null. After a failure it is not used.
    pub create: Option<
        unsafe extern "C" fn(host: *const Host, config: Str, instance: *mut *mut c_void) -> Status,
    >,
    /// Frees the instance; the last call that it gets.
    pub destroy: Option<unsafe extern "C" fn(instance: *mut c_void)>,
    /// The factor of this objective's mean loss in the cumulative loss.
    pub weight: Option<unsafe extern "C" fn(instance: *mut c_void, weight: *mut f64) -> Status>,
    /// Bits of [`needs`].
    pub needs: Option<unsafe extern "C" fn(instance: *mut c_void, needs: *mut u32) -> Status>,
    /// Declares every feature that `prepare` writes, through
    /// [`DeclareApi::feature`](crate::DeclareApi::feature). Called before all batches and graphs.
    pub features:
        Option<unsafe extern "C" fn(instance: *mut c_void, into: *mut Declarations) -> Status>,
    /// Data hook: changes `input_ids`, writes each declared feature by
    /// [`BatchApi::write_feature`](crate::BatchApi::write_feature), and says in `*units` how many
    /// units (masked tokens, pairs) the micro-batch has. The trainer divides summed losses by the
    /// units of the whole accumulation window.
    ///
    /// A function of the configuration and the batch alone. The host may make two instances of one
    /// configuration for a trial and call `prepare` of one on a thread that works ahead of training,
    /// while it calls the other's functions: `prepare` and [`build`](ObjectiveApi::build) must not rely
    /// on each other, nor on how often they were called.
    pub prepare: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            cx: *mut BatchContext,
            batch: *const BatchView,
            units: *mut f64,
        ) -> Status,
    >,
    /// Graph hook: builds the loss of one micro-batch, **summed** over its units, a scalar. Sums for
    /// metrics go to [`ModelApi::metric`](crate::ModelApi::metric). Called once for each graph
    /// (training, evaluation).
    pub build: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            cx: *mut GraphContext,
            loss_sum: *mut Tensor,
        ) -> Status,
    >,
    /// Refuses a recipe in which the objective cannot work, with a message. Called before any work, and
    /// again once the vocabulary is known. May be null: then everything is accepted.
    pub check:
        Option<unsafe extern "C" fn(instance: *mut c_void, setup: *const ObjectiveSetup) -> Status>,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for ObjectiveApi {
    const MIN_SIZE: usize = 72;
}
