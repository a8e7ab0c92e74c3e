//! Functions that change how elements are laid out, not what they are.
//!
//! SAFETY of every function here: as in the parent module.

use ablate_abi::{GraphContext, Status, Tensor as Handle};
use ablate_graph::Tensor;

use super::{axes, node, shape, size};
use crate::context::array;

pub(super) unsafe extern "C" fn permute(
    cx: *mut GraphContext,
    a: Handle,
    order: *const u32,
    rank: u32,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let a = c.get(a)?;
            Ok(c.graph().permute(&a, &axes(order, rank)?)?)
        })
    }
}

pub(super) unsafe extern "C" fn reshape(
    cx: *mut GraphContext,
    a: Handle,
    dims: *const u64,
    rank: u32,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let a = c.get(a)?;
            Ok(c.graph().reshape(&a, &shape(dims, rank)?)?)
        })
    }
}

pub(super) unsafe extern "C" fn expand(
    cx: *mut GraphContext,
    a: Handle,
    dims: *const u64,
    rank: u32,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let a = c.get(a)?;
            Ok(c.graph().expand(&a, &shape(dims, rank)?)?)
        })
    }
}

pub(super) unsafe extern "C" fn slice(
    cx: *mut GraphContext,
    a: Handle,
    axis: u32,
    start: u64,
    end: u64,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let a = c.get(a)?;
            Ok(c.graph()
                .slice(&a, axis as usize, size(start)?, size(end)?)?)
        })
    }
}

pub(super) unsafe extern "C" fn pad(
    cx: *mut GraphContext,
    a: Handle,
    axis: u32,
    before: u64,
    after: u64,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let a = c.get(a)?;
            Ok(c.graph()
                .pad(&a, axis as usize, size(before)?, size(after)?)?)
        })
    }
}

pub(super) unsafe extern "C" fn concat(
    cx: *mut GraphContext,
    tensors: *const Handle,
    count: u32,
    axis: u32,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let parts = array(tensors, count as usize, "the list of tensors")?
                .iter()
                .map(|t| c.get(*t))
                .collect::<Result<Vec<_>, _>>()?;
            let parts: Vec<&Tensor> = parts.iter().collect();
            Ok(c.graph().concat(&parts, axis as usize)?)
        })
    }
}
