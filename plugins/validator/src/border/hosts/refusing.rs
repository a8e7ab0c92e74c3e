//! The host's functions with a gate in front: each call may be the one that is refused.
//!
//! A refused call goes to the real function all the same, but without its context, so that the real host refuses
//! it in its own words.

use std::sync::atomic::Ordering;
use std::sync::OnceLock;

use ablate_abi::{
    status, unary, BatchApi, BatchContext, Declarations, DeclareApi, FeatureSpec, GraphApi,
    GraphContext, Host, ModelApi, RandomApi, Sink, SlotSpec, Status, Str, Tensor,
};

use super::{refuses, STOPS_GRADIENTS};

/// Functions of a table whose first argument is a pointer to a context.
macro_rules! gated {
    ($make:ident, $table:ty { $($field:ident($context:ty $(, $argument:ident: $type:ty)*);)* }) => {
        /// The table with gates.
        pub(super) fn $make(real: $table) -> $table {
            static REAL: OnceLock<$table> = OnceLock::new();
            // SAFETY of all functions below: they pass on what the plugin passes, or no context.
            $(
                unsafe extern "C" fn $field(cx: *mut $context $(, $argument: $type)*) -> Status {
                    let Some(real) = REAL.get().and_then(|table| table.$field) else {
                        return status::UNSUPPORTED;
                    };
                    let cx = if refuses() { std::ptr::null_mut() } else { cx };
                    unsafe { real(cx $(, $argument)*) }
                }
            )*
            let real = *REAL.get_or_init(|| real);
            let mut table = real;
            $(
                if table.$field.is_some() {
                    table.$field = Some($field);
                }
            )*
            table
        }
    };
}

gated!(base, Host {
    write(Sink, bytes: *const u8, length: usize);
});

gated!(declare, DeclareApi {
    feature(Declarations, spec: *const FeatureSpec);
    slot(Declarations, spec: *const SlotSpec);
    scalar(Declarations, name: Str);
});

gated!(batch, BatchApi {
    write_feature(BatchContext, name: Str, labels: *const i64, count: usize);
});

gated!(model, ModelApi {
    number(GraphContext, name: Str, value: *mut f64);
    tensor(GraphContext, name: Str, out: *mut Tensor);
    activation(GraphContext, x: Tensor, out: *mut Tensor);
    feature(GraphContext, name: Str, out: *mut Tensor);
    parameter(GraphContext, name: Str, dims: *const u64, rank: u32, role: u32, out: *mut Tensor);
    metric(GraphContext, name: Str, sum: Tensor);
});

// Without `pop_scope`: the host closes what is left open, so nobody needs to look at its answer.
gated!(graph_but_unary, GraphApi {
    shape(GraphContext, t: Tensor, dims: *mut u64, rank: *mut u32);
    scalar(GraphContext, value: f64, out: *mut Tensor);
    iota(GraphContext, n: u64, out: *mut Tensor);
    uniform(GraphContext, stream: Str, dims: *const u64, rank: u32, out: *mut Tensor);
    binary(GraphContext, op: u32, a: Tensor, b: Tensor, out: *mut Tensor);
    binary_scalar(GraphContext, op: u32, a: Tensor, b: f64, out: *mut Tensor);
    select(GraphContext, condition: Tensor, a: Tensor, b: Tensor, out: *mut Tensor);
    reduce(GraphContext, op: u32, a: Tensor, axes: *const u32, axis_count: u32, keep: u32, out: *mut Tensor);
    permute(GraphContext, a: Tensor, order: *const u32, rank: u32, out: *mut Tensor);
    reshape(GraphContext, a: Tensor, dims: *const u64, rank: u32, out: *mut Tensor);
    expand(GraphContext, a: Tensor, dims: *const u64, rank: u32, out: *mut Tensor);
    slice(GraphContext, a: Tensor, axis: u32, start: u64, end: u64, out: *mut Tensor);
    pad(GraphContext, a: Tensor, axis: u32, before: u64, after: u64, out: *mut Tensor);
    concat(GraphContext, tensors: *const Tensor, count: u32, axis: u32, out: *mut Tensor);
    matmul(GraphContext, a: Tensor, b: Tensor, transpose_b: u32, out: *mut Tensor);
    linear(GraphContext, x: Tensor, weight: Tensor, bias: Tensor, out: *mut Tensor);
    gather(GraphContext, table: Tensor, index: Tensor, out: *mut Tensor);
    one_hot(GraphContext, index: Tensor, n: u64, out: *mut Tensor);
    softmax(GraphContext, a: Tensor, axis: u32, log: u32, out: *mut Tensor);
    layer_norm(GraphContext, x: Tensor, gamma: Tensor, beta: Tensor, eps: f64, out: *mut Tensor);
    dropout(GraphContext, x: Tensor, rate: f64, site: Str, out: *mut Tensor);
    cross_entropy(GraphContext, logits: Tensor, labels: Tensor, weights: Tensor, out: *mut Tensor);
    push_scope(GraphContext, name: Str);
});

/// All of the graph's table: `unary` also remembers whether a gradient was stopped on purpose.
pub(super) fn graph(real: GraphApi) -> GraphApi {
    static REAL: OnceLock<GraphApi> = OnceLock::new();
    unsafe extern "C" fn unary(
        cx: *mut GraphContext,
        op: u32,
        a: Tensor,
        out: *mut Tensor,
    ) -> Status {
        let Some(real) = REAL.get().and_then(|table| table.unary) else {
            return status::UNSUPPORTED;
        };
        if op == unary::STOP_GRADIENT {
            STOPS_GRADIENTS.store(true, Ordering::SeqCst);
        }
        let cx = if refuses() { std::ptr::null_mut() } else { cx };
        // SAFETY: what the plugin passes, or no context.
        unsafe { real(cx, op, a, out) }
    }
    let real = *REAL.get_or_init(|| real);
    GraphApi {
        unary: real.unary.map(|_| unary as _),
        ..graph_but_unary(real)
    }
}

/// Random numbers have no context; without a place to put them they are refused just as well.
pub(super) fn random(real: RandomApi) -> RandomApi {
    static REAL: OnceLock<RandomApi> = OnceLock::new();
    unsafe extern "C" fn words(
        key: u64,
        step: u64,
        first: u64,
        words: *mut u32,
        count: usize,
    ) -> Status {
        let Some(real) = REAL.get().and_then(|table| table.words) else {
            return status::UNSUPPORTED;
        };
        let words = if refuses() {
            std::ptr::null_mut()
        } else {
            words
        };
        // SAFETY: what the plugin passes, or nothing to write to.
        unsafe { real(key, step, first, words, count) }
    }
    let real = *REAL.get_or_init(|| real);
    RandomApi {
        words: real.words.map(|_| words as _),
        ..real
    }
}
