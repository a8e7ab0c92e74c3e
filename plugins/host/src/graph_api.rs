//! The graph builder's table: C functions over [`ablate_graph::Graph`].
//!
//! SAFETY of every function here: by the ABI the plugin passes the context of the running call, views
//! and arrays that are valid during the call, and a writable `out`; contexts are checked by tag.

mod views;

use ablate_abi::{
    binary, reduce, unary, GraphApi, GraphContext, Status, Str, Tensor as Handle, MAX_RANK,
};
use ablate_graph::{Graph, GraphError, Tensor};

use crate::context::{answer, array, context, put, text, GraphCx, Refusal, Tag};

/// Runs `body` on the graph and hands its tensor out.
unsafe fn node(
    cx: *mut GraphContext,
    out: *mut Handle,
    body: impl FnOnce(&mut GraphCx<'_, '_>) -> Result<Tensor, Refusal>,
) -> Status {
    answer(|| {
        // SAFETY: see the module.
        let cx: &mut GraphCx<'_, '_> = unsafe { context(cx, Tag::Graph) }?;
        let tensor = body(cx)?;
        let handle = cx.add(tensor);
        // SAFETY: see the module.
        unsafe { put(out, handle) }
    })
}

/// A shape from a plugin.
pub(crate) unsafe fn shape(dims: *const u64, rank: u32) -> Result<Vec<usize>, Refusal> {
    let rank = rank as usize;
    if rank > MAX_RANK {
        return Err(Refusal::invalid(format!(
            "{rank} dimensions; there are at most {MAX_RANK}"
        )));
    }
    // SAFETY: see the module.
    unsafe { array(dims, rank, "the shape") }?
        .iter()
        .map(|d| size(*d))
        .collect()
}

fn size(value: u64) -> Result<usize, Refusal> {
    usize::try_from(value).map_err(|_| Refusal::invalid(format!("{value} is no size")))
}

unsafe fn axes(values: *const u32, count: u32) -> Result<Vec<usize>, Refusal> {
    // SAFETY: see the module.
    Ok(
        unsafe { array(values, count as usize, "the list of axes") }?
            .iter()
            .map(|a| *a as usize)
            .collect(),
    )
}

unsafe extern "C" fn shape_of(
    cx: *mut GraphContext,
    t: Handle,
    dims: *mut u64,
    rank: *mut u32,
) -> Status {
    answer(|| {
        // SAFETY: see the module.
        let cx: &mut GraphCx<'_, '_> = unsafe { context(cx, Tag::Graph) }?;
        let shape = cx.get(t)?.shape();
        for (i, d) in shape.iter().enumerate() {
            // SAFETY: the plugin gives room for `MAX_RANK` sizes, and no tensor has more.
            unsafe { put(dims.wrapping_add(i), *d as u64) }?;
        }
        // SAFETY: see the module.
        unsafe { put(rank, shape.len() as u32) }
    })
}

unsafe extern "C" fn scalar(cx: *mut GraphContext, value: f64, out: *mut Handle) -> Status {
    unsafe { node(cx, out, |c| Ok(c.graph().scalar(value as f32))) }
}

unsafe extern "C" fn iota(cx: *mut GraphContext, n: u64, out: *mut Handle) -> Status {
    unsafe { node(cx, out, |c| Ok(c.graph().iota(size(n)?)?)) }
}

unsafe extern "C" fn uniform(
    cx: *mut GraphContext,
    stream: Str,
    dims: *const u64,
    rank: u32,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            Ok(c.graph()
                .uniform(text(stream, "the stream's name")?, &shape(dims, rank)?)?)
        })
    }
}

type Unary = fn(&mut Graph, &Tensor) -> Result<Tensor, GraphError>;

fn unary_function(op: u32) -> Option<Unary> {
    Some(match op {
        unary::NEG => Graph::neg,
        unary::RECIP => Graph::recip,
        unary::SQRT => Graph::sqrt,
        unary::RSQRT => Graph::rsqrt,
        unary::SQUARE => Graph::square,
        unary::EXP => Graph::exp,
        unary::LOG => Graph::log,
        unary::EXP2 => Graph::exp2,
        unary::LOG2 => Graph::log2,
        unary::SIN => Graph::sin,
        unary::COS => Graph::cos,
        unary::ABS => Graph::abs,
        unary::SIGN => Graph::sign,
        unary::RELU => Graph::relu,
        unary::TANH => Graph::tanh,
        unary::SIGMOID => Graph::sigmoid,
        unary::ERF => Graph::erf,
        unary::GELU => Graph::gelu,
        unary::GELU_TANH => Graph::gelu_tanh,
        unary::SILU => Graph::silu,
        unary::NOT => Graph::logical_not,
        unary::CONTIGUOUS => Graph::contiguous,
        unary::STOP_GRADIENT => Graph::stop_gradient,
        _ => return None,
    })
}

unsafe extern "C" fn unary(cx: *mut GraphContext, op: u32, a: Handle, out: *mut Handle) -> Status {
    unsafe {
        node(cx, out, |c| {
            let a = c.get(a)?;
            let function = unary_function(op).ok_or_else(|| Refusal::unsupported("unary", op))?;
            Ok(function(c.graph(), &a)?)
        })
    }
}

type Binary = fn(&mut Graph, &Tensor, &Tensor) -> Result<Tensor, GraphError>;

fn binary_function(op: u32) -> Option<Binary> {
    Some(match op {
        binary::ADD => Graph::add,
        binary::SUB => Graph::sub,
        binary::MUL => Graph::mul,
        binary::DIV => Graph::div,
        binary::MAXIMUM => Graph::maximum,
        binary::MINIMUM => Graph::minimum,
        binary::LESS => Graph::less,
        binary::GREATER => Graph::greater,
        binary::LESS_EQUAL => Graph::less_equal,
        binary::GREATER_EQUAL => Graph::greater_equal,
        binary::EQUAL => Graph::equal,
        binary::NOT_EQUAL => Graph::not_equal,
        _ => return None,
    })
}

unsafe extern "C" fn binary(
    cx: *mut GraphContext,
    op: u32,
    a: Handle,
    b: Handle,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let (a, b) = (c.get(a)?, c.get(b)?);
            if op == binary::POW {
                return Err(Refusal::invalid(
                    "the exponent of a power must be a constant",
                ));
            }
            let function = binary_function(op).ok_or_else(|| Refusal::unsupported("binary", op))?;
            Ok(function(c.graph(), &a, &b)?)
        })
    }
}

unsafe extern "C" fn binary_scalar(
    cx: *mut GraphContext,
    op: u32,
    a: Handle,
    b: f64,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let a = c.get(a)?;
            let g = c.graph();
            Ok(match op {
                binary::ADD => g.add_scalar(&a, b as f32)?,
                binary::SUB => g.add_scalar(&a, -b as f32)?,
                binary::MUL => g.mul_scalar(&a, b as f32)?,
                binary::DIV => g.mul_scalar(&a, (1.0 / b) as f32)?,
                binary::POW => g.pow_scalar(&a, b as f32)?,
                _ => {
                    let function =
                        binary_function(op).ok_or_else(|| Refusal::unsupported("binary", op))?;
                    let b = g.scalar(b as f32);
                    function(g, &a, &b)?
                }
            })
        })
    }
}

unsafe extern "C" fn select(
    cx: *mut GraphContext,
    condition: Handle,
    a: Handle,
    b: Handle,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let (condition, a, b) = (c.get(condition)?, c.get(a)?, c.get(b)?);
            Ok(c.graph().select(&condition, &a, &b)?)
        })
    }
}

unsafe extern "C" fn reduce(
    cx: *mut GraphContext,
    op: u32,
    a: Handle,
    axis_list: *const u32,
    axis_count: u32,
    keep: u32,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let (a, axes, keep) = (c.get(a)?, axes(axis_list, axis_count)?, keep != 0);
            let g = c.graph();
            Ok(match op {
                reduce::SUM => g.sum(&a, &axes, keep)?,
                reduce::MEAN => g.mean(&a, &axes, keep)?,
                reduce::MAX => g.max(&a, &axes, keep)?,
                reduce::VARIANCE => g.variance(&a, &axes, keep)?,
                _ => return Err(Refusal::unsupported("reduce", op)),
            })
        })
    }
}

unsafe extern "C" fn matmul(
    cx: *mut GraphContext,
    a: Handle,
    b: Handle,
    transpose_b: u32,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let (a, b) = (c.get(a)?, c.get(b)?);
            let g = c.graph();
            Ok(if transpose_b == 0 {
                g.matmul(&a, &b)?
            } else {
                g.matmul_t(&a, &b)?
            })
        })
    }
}

unsafe extern "C" fn linear(
    cx: *mut GraphContext,
    x: Handle,
    weight: Handle,
    bias: Handle,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let (x, weight, bias) = (c.get(x)?, c.get(weight)?, c.optional(bias)?);
            Ok(c.graph().linear(&x, &weight, bias.as_ref())?)
        })
    }
}

unsafe extern "C" fn gather(
    cx: *mut GraphContext,
    table: Handle,
    index: Handle,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let (table, index) = (c.get(table)?, c.get(index)?);
            Ok(c.graph().gather(&table, &index)?)
        })
    }
}

unsafe extern "C" fn one_hot(
    cx: *mut GraphContext,
    index: Handle,
    n: u64,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let index = c.get(index)?;
            Ok(c.graph().one_hot(&index, size(n)?)?)
        })
    }
}

unsafe extern "C" fn softmax(
    cx: *mut GraphContext,
    a: Handle,
    axis: u32,
    log: u32,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let (a, axis) = (c.get(a)?, axis as usize);
            let g = c.graph();
            Ok(if log == 0 {
                g.softmax(&a, axis)?
            } else {
                g.log_softmax(&a, axis)?
            })
        })
    }
}

unsafe extern "C" fn layer_norm(
    cx: *mut GraphContext,
    x: Handle,
    gamma: Handle,
    beta: Handle,
    eps: f64,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let (x, gamma, beta) = (c.get(x)?, c.get(gamma)?, c.get(beta)?);
            Ok(c.graph().layer_norm(&x, &gamma, &beta, eps as f32)?)
        })
    }
}

unsafe extern "C" fn dropout(
    cx: *mut GraphContext,
    x: Handle,
    rate: f64,
    site: Str,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let x = c.get(x)?;
            let stream = format!("dropout/{}", text(site, "the dropout's site")?);
            Ok(c.graph().dropout(&x, rate, &stream)?)
        })
    }
}

unsafe extern "C" fn cross_entropy(
    cx: *mut GraphContext,
    logits: Handle,
    labels: Handle,
    weights: Handle,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let (logits, labels, weights) = (c.get(logits)?, c.get(labels)?, c.optional(weights)?);
            Ok(c.graph()
                .cross_entropy(&logits, &labels, weights.as_ref())?)
        })
    }
}

unsafe extern "C" fn push_scope(cx: *mut GraphContext, name: Str) -> Status {
    answer(|| {
        // SAFETY: see the module.
        let cx: &mut GraphCx<'_, '_> = unsafe { context(cx, Tag::Graph) }?;
        // SAFETY: see the module.
        cx.push_scope(unsafe { text(name, "the scope's name") }?);
        Ok(())
    })
}

unsafe extern "C" fn pop_scope(cx: *mut GraphContext) -> Status {
    answer(|| {
        // SAFETY: see the module.
        let cx: &mut GraphCx<'_, '_> = unsafe { context(cx, Tag::Graph) }?;
        cx.pop_scope()
    })
}

/// The table behind [`ablate_abi::GRAPH_API`].
pub(crate) static TABLE: GraphApi = GraphApi {
    struct_size: size_of::<GraphApi>() as u32,
    reserved: 0,
    shape: Some(shape_of),
    scalar: Some(scalar),
    iota: Some(iota),
    uniform: Some(uniform),
    unary: Some(unary),
    binary: Some(binary),
    binary_scalar: Some(binary_scalar),
    select: Some(select),
    reduce: Some(reduce),
    permute: Some(views::permute),
    reshape: Some(views::reshape),
    expand: Some(views::expand),
    slice: Some(views::slice),
    pad: Some(views::pad),
    concat: Some(views::concat),
    matmul: Some(matmul),
    linear: Some(linear),
    gather: Some(gather),
    one_hot: Some(one_hot),
    softmax: Some(softmax),
    layer_norm: Some(layer_norm),
    dropout: Some(dropout),
    cross_entropy: Some(cross_entropy),
    push_scope: Some(push_scope),
    pop_scope: Some(pop_scope),
};
