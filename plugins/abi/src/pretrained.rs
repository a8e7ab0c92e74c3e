//! Encoders from Hugging Face folders, as constants of an objective's graph.

use crate::{GraphContext, SizeGated, Status, Str, Tensor};

/// Extension id of [`PretrainedApi`].
pub const PRETRAINED_API: &str = "ablate.host.pretrained/1";

/// A trained BERT in an objective's graph: a teacher. A `folder` holds `config.json` and
/// `model.safetensors`; relative paths count from the current folder. The host reads it once for each
/// instance and keeps its weights beside the parameters: they are not trained, not exported, and no
/// gradient flows into them. Its operations and memory count as the objective's own.
///
/// *Inside the call.* Only in [`ObjectiveApi::build`](crate::ObjectiveApi::build). Refused with [`status::INVALID`](crate::status::INVALID) where the
/// folder cannot be read or does not fit the micro-batch.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PretrainedApi {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Not used, 0.
    pub reserved: u32,
    /// A number of the folder's configuration by its [`model_number`](crate::model_number).
    pub number: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            folder: Str,
            name: Str,
            value: *mut f64,
        ) -> Status,
    >,
    /// Last hidden states `[batch, seq, hidden]` of the folder's encoder over the tokens of the
    /// micro-batch, without dropout.
    pub hidden: Option<
        unsafe extern "C" fn(cx: *mut GraphContext, folder: Str, out: *mut Tensor) -> Status,
    >,
    /// A tensor of the folder by its name as of `BertForPreTraining`, such as `cls.predictions.bias`.
    /// [`status::UNKNOWN_NAME`](crate::status::UNKNOWN_NAME) where the folder has none.
    pub weight: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            folder: Str,
            name: Str,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// The activation function of the folder's model of `x`.
    pub activation: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            folder: Str,
            x: Tensor,
            out: *mut Tensor,
        ) -> Status,
    >,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for PretrainedApi {
    const MIN_SIZE: usize = 40;
}
