//! The graph builder: every operation that a plugin can put into a graph.

use crate::{GraphContext, SizeGated, Status, Str, Tensor};

/// Extension id of [`GraphApi`].
pub const GRAPH_API: &str = "ablate.host.graph/1";

/// Operations of [`GraphApi::unary`].
pub mod unary {
    #![allow(missing_docs)] // The names say it all.
    pub const NEG: u32 = 1;
    pub const RECIP: u32 = 2;
    pub const SQRT: u32 = 3;
    pub const RSQRT: u32 = 4;
    pub const SQUARE: u32 = 5;
    pub const EXP: u32 = 6;
    pub const LOG: u32 = 7;
    pub const EXP2: u32 = 8;
    pub const LOG2: u32 = 9;
    pub const SIN: u32 = 10;
    pub const COS: u32 = 11;
    pub const ABS: u32 = 12;
    pub const SIGN: u32 = 13;
    pub const RELU: u32 = 14;
    pub const TANH: u32 = 15;
    pub const SIGMOID: u32 = 16;
    pub const ERF: u32 = 17;
    /// `x / 2 * (1 + erf(x / sqrt(2)))`
    pub const GELU: u32 = 18;
    /// The approximation by tanh.
    pub const GELU_TANH: u32 = 19;
    pub const SILU: u32 = 20;
    /// 1 where the operand is 0, else 0.
    pub const NOT: u32 = 21;
    /// The operand, copied to row-major order.
    pub const CONTIGUOUS: u32 = 22;
    /// The operand, through which no gradient flows.
    pub const STOP_GRADIENT: u32 = 23;
}

/// Operations of [`GraphApi::binary`] and [`GraphApi::binary_scalar`]. Comparisons give 1 or 0.
pub mod binary {
    #![allow(missing_docs)] // The names say it all.
    pub const ADD: u32 = 1;
    pub const SUB: u32 = 2;
    pub const MUL: u32 = 3;
    pub const DIV: u32 = 4;
    pub const MAXIMUM: u32 = 5;
    pub const MINIMUM: u32 = 6;
    pub const LESS: u32 = 7;
    pub const GREATER: u32 = 8;
    pub const LESS_EQUAL: u32 = 9;
    pub const GREATER_EQUAL: u32 = 10;
    pub const EQUAL: u32 = 11;
    pub const NOT_EQUAL: u32 = 12;
    /// Power; the exponent must be a scalar ([`binary_scalar`](super::GraphApi::binary_scalar)).
    pub const POW: u32 = 13;
}

/// Operations of [`GraphApi::reduce`].
pub mod reduce {
    #![allow(missing_docs)] // The names say it all.
    pub const SUM: u32 = 1;
    pub const MEAN: u32 = 2;
    pub const MAX: u32 = 3;
    /// Population variance (divided by n).
    pub const VARIANCE: u32 = 4;
}

/// Builds graph nodes. Elementwise operations broadcast as numpy does, from the right; axes count
/// from 0; values are f32; every function writes a new handle to `out` and computes nothing. Arrays and
/// texts are the plugin's and are copied.
///
/// *Inside the call.* Only in [`ObjectiveApi::build`](crate::ObjectiveApi::build) and
/// [`OptimizerApi::update`](crate::OptimizerApi::update).
///
/// Refused with [`status::INVALID`](crate::status::INVALID) and a message that names operation and
/// shapes: shapes that do not fit, a stale handle. With
/// [`status::UNSUPPORTED`](crate::status::UNSUPPORTED): an operation code the host does not know.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GraphApi {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Not used, 0.
    pub reserved: u32,
    /// Writes the sizes of `t` to `dims` (room for [`MAX_RANK`](crate::MAX_RANK)) and their number to `rank`.
    pub shape: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            t: Tensor,
            dims: *mut u64,
            rank: *mut u32,
        ) -> Status,
    >,
    /// The constant `value`, rounded to f32, of shape `[]`.
    pub scalar:
        Option<unsafe extern "C" fn(cx: *mut GraphContext, value: f64, out: *mut Tensor) -> Status>,
    /// `0, 1, .. n - 1`.
    pub iota:
        Option<unsafe extern "C" fn(cx: *mut GraphContext, n: u64, out: *mut Tensor) -> Status>,
    /// Uniform numbers over `[0, 1)` from the named stream, new ones at every step.
    pub uniform: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            stream: Str,
            dims: *const u64,
            rank: u32,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// One of [`unary`] of `a`.
    pub unary: Option<
        unsafe extern "C" fn(cx: *mut GraphContext, op: u32, a: Tensor, out: *mut Tensor) -> Status,
    >,
    /// One of [`binary`] of `a` and `b`.
    pub binary: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            op: u32,
            a: Tensor,
            b: Tensor,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// One of [`binary`] of `a` and a constant.
    pub binary_scalar: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            op: u32,
            a: Tensor,
            b: f64,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// `a` where `condition` is not 0, else `b`.
    pub select: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            condition: Tensor,
            a: Tensor,
            b: Tensor,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// One of [`reduce`] over `axis_count` axes, kept as size 1 where `keep` is 1.
    pub reduce: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            op: u32,
            a: Tensor,
            axes: *const u32,
            axis_count: u32,
            keep: u32,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// Dimension `i` of the result is dimension `order[i]` of `a`.
    pub permute: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            a: Tensor,
            order: *const u32,
            rank: u32,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// The same elements in row-major order under another shape.
    pub reshape: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            a: Tensor,
            dims: *const u64,
            rank: u32,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// `a` repeated to `dims` by the rules of broadcasting.
    pub expand: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            a: Tensor,
            dims: *const u64,
            rank: u32,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// Elements `start..end` along `axis`.
    pub slice: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            a: Tensor,
            axis: u32,
            start: u64,
            end: u64,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// Zeros before and after along `axis`.
    pub pad: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            a: Tensor,
            axis: u32,
            before: u64,
            after: u64,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// `count` tensors joined along `axis`.
    pub concat: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            tensors: *const Tensor,
            count: u32,
            axis: u32,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// Matrix product over the last two axes, batch axes broadcast. With `transpose_b` = 1, `b` is
    /// `[.., n, k]`.
    pub matmul: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            a: Tensor,
            b: Tensor,
            transpose_b: u32,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// `x [.., in]` times `weight [out, in]` transposed, plus `bias [out]` unless [`NO_TENSOR`](crate::NO_TENSOR).
    pub linear: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            x: Tensor,
            weight: Tensor,
            bias: Tensor,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// Rows of `table [rows, width]` at `index [..]`: `[.., width]`.
    pub gather: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            table: Tensor,
            index: Tensor,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// `[.., n]`: 1 where the last index equals the value of `index`, else 0.
    pub one_hot: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            index: Tensor,
            n: u64,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// Softmax along `axis`; its logarithm where `log` is 1.
    pub softmax: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            a: Tensor,
            axis: u32,
            log: u32,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// Layer norm over the last axis.
    pub layer_norm: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            x: Tensor,
            gamma: Tensor,
            beta: Tensor,
            eps: f64,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// Zeroes elements with probability `rate` and scales the rest by `1 / (1 - rate)`, with numbers
    /// from the stream `dropout/<site>`.
    pub dropout: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            x: Tensor,
            rate: f64,
            site: Str,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// Losses `[..]` of `logits [.., classes]` against whole-number `labels [..]`, times `weights
    /// [..]` unless [`NO_TENSOR`](crate::NO_TENSOR).
    pub cross_entropy: Option<
        unsafe extern "C" fn(
            cx: *mut GraphContext,
            logits: Tensor,
            labels: Tensor,
            weights: Tensor,
            out: *mut Tensor,
        ) -> Status,
    >,
    /// Nodes made until [`pop_scope`](GraphApi::pop_scope) carry `name` in their label path. The host
    /// closes what the plugin left open.
    pub push_scope: Option<unsafe extern "C" fn(cx: *mut GraphContext, name: Str) -> Status>,
    /// Ends the innermost scope that the plugin opened.
    pub pop_scope: Option<unsafe extern "C" fn(cx: *mut GraphContext) -> Status>,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for GraphApi {
    const MIN_SIZE: usize = 208;
}
