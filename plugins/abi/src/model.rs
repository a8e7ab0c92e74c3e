//! What the host tells an objective's graph hook about the model, and what it takes from it.

use crate::{GraphContext, SizeGated, Status, Str, Tensor};

/// Extension id of [`ModelApi`].
pub const MODEL_API: &str = "ablate.host.model/1";

/// Names that [`ModelApi::number`] knows; more may be added.
pub mod model_number {
    /// Rows of a micro-batch.
    pub const BATCH: &str = "batch";
    /// Tokens per row.
    pub const SEQ: &str = "seq";
    /// Entries of a sparse per-token feature.
    pub const PREDICTIONS: &str = "predictions";
    /// 1 in a training graph, 0 in an evaluation graph.
    pub const TRAINING: &str = "training";
    /// Size of the vocabulary.
    pub const VOCAB_SIZE: &str = "vocab_size";
    /// Width of the hidden states.
    pub const HIDDEN_SIZE: &str = "hidden_size";
    /// The model's layer-norm epsilon.
    pub const LAYER_NORM_EPS: &str = "layer_norm_eps";
    /// The model's dropout rate, to be applied in training graphs only.
    pub const HIDDEN_DROPOUT: &str = "hidden_dropout_prob";
    /// The model's dropout rate on attention probabilities.
    pub const ATTENTION_DROPOUT: &str = "attention_probs_dropout_prob";
}

/// Names that [`ModelApi::tensor`] knows; more may be added.
pub mod model_tensor {
    /// Last hidden states `[batch, seq, hidden]`, a row for each example. Those of padding are no
    /// states to build on: zero where the trial packs its batches (`train.packed`), else whatever
    /// padding attends to.
    pub const HIDDEN: &str = "hidden";
    /// Pooler output `[batch, hidden]`; the pooler exists only where somebody asks for it.
    pub const POOLED: &str = "pooled";
    /// Word embeddings `[vocab, hidden]`, for tied decoders.
    pub const WORD_EMBEDDINGS: &str = "word_embeddings";
    /// `[batch, seq]`, 1 for a token, 0 for padding.
    pub const ATTENTION_MASK: &str = "attention_mask";
}

/// What a declared parameter is, which decides its initial values and its weight decay.
pub mod role {
    /// A weight matrix `[out, in]`: drawn from the model's initialiser, decayed.
    pub const WEIGHT: u32 = 1;
    /// A bias: zeros, not decayed.
    pub const BIAS: u32 = 2;
    /// The scale of a layer norm: ones, not decayed.
    pub const NORM_SCALE: u32 = 3;
    /// The shift of a layer norm: zeros, not decayed.
    pub const NORM_BIAS: u32 = 4;
    /// An embedding table: drawn from the model's initialiser, decayed.
    pub const EMBEDDING: u32 = 5;
}

/// What an objective's graph hook knows about the model. Texts and arrays are the plugin's and are
/// copied.
///
/// *Inside the call.* Only in [`ObjectiveApi::build`](crate::ObjectiveApi::build).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ModelApi {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Not used, 0.
    pub reserved: u32,
    /// A number by its [`model_number`].
    pub number:
        Option<unsafe extern "C" fn(cx: *mut GraphContext, name: Str, value: *mut f64) -> Status>,
    /// A tensor by its [`model_tensor`].
    pub tensor:
        Option<unsafe extern "C" fn(cx: *mut GraphContext, name: Str, out: *mut Tensor) -> Status>,
    /// The model's activation function (GELU, as configured) of `x`.
    pub activation:
        Option<unsafe extern "C" fn(cx: *mut GraphContext, x: Tensor, out: *mut Tensor) -> Status>,
    /// A declared feature as the graph sees it. A per-token feature `labels` is
    /// `labels.positions` (row-major index into `[batch, seq]`), `labels.values` and
    /// `labels.weights`, each `[predictions]`; a per-sequence feature is `labels.values` and
    /// `labels.weights`, each `[batch]`. Weights are 0 where there is no label, and 1 elsewhere.
    pub feature:
        Option<unsafe extern "C" fn(cx: *mut GraphContext, name: Str, out: *mut Tensor) -> Status>,
    /// Declares a parameter of the objective's own head, with one of [`role`], and gives its tensor.
    /// `name` is its key in exported models. Objectives of one recipe that declare the same name with the
    /// same dims and role share the parameter.
    pub parameter: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            name: Str,
            dims: *const u64,
            rank: u32,
            role: u32,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// Reports the scalar `sum` over the units of the micro-batch as metric `name`; the trainer
    /// divides it like the loss. `accuracy` is the number of correct predictions.
    pub metric:
        Option<unsafe extern "C" fn(cx: *mut GraphContext, name: Str, sum: Tensor) -> Status>,
    /// Runs the model's encoder once more over the tokens of the micro-batch, with the same parameters:
    /// hidden states `[batch, seq, hidden]`. With `dropout` = 1 the model's dropouts are in, in evaluation
    /// graphs too, with numbers of their own that `pass` names; with 0 there are none. A `pass` of an
    /// earlier call gives that call's states.
    pub encode: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            pass: Str,
            dropout: u32,
            out: *mut Tensor,
        ) -> Status,
    >,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for ModelApi {
    const MIN_SIZE: usize = 64;
}
