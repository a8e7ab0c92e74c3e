//! The derivative of every primitive, one function each.

use crate::error::Result;
use crate::graph::Graph;
use crate::ir::Op;
use crate::tensor::Tensor;
use std::f32::consts::{FRAC_PI_2, LN_2, LOG2_E};

/// A node being differentiated.
pub(super) struct Site {
    /// d loss / d result, in the result's shape.
    pub cotangent: Tensor,
    /// The node's own output.
    pub result: Tensor,
    /// The operands as the node reads them.
    pub operands: Vec<Tensor>,
}

/// d loss / d operand `k`, in the shape in which the node reads the operand.
pub(super) type Derivative = fn(&mut Graph, &Op, &Site, usize) -> Result<Tensor>;

/// How a gradient gets through an op.
pub(super) enum Rule {
    /// By this function.
    Derivative(Derivative),
    /// Not at all, by definition: the op is piecewise constant, or has no operands.
    Zero,
    /// Nobody wrote the rule: an error if a gradient is needed through the op.
    Missing,
}

/// The table.
pub(super) fn rule_of(op: &Op) -> Rule {
    match op {
        Op::Load(_) | Op::Constant(_) | Op::LessThan => Rule::Zero,
        Op::Mod => Rule::Missing,
        Op::Log2 => Rule::Derivative(log2),
        Op::Exp2 => Rule::Derivative(exp2),
        Op::Sin => Rule::Derivative(sin),
        Op::Sqrt => Rule::Derivative(sqrt),
        Op::Recip => Rule::Derivative(recip),
        Op::Add | Op::Contiguous => Rule::Derivative(same),
        Op::Mul => Rule::Derivative(mul),
        Op::SumReduce(_) => Rule::Derivative(sum),
        Op::MaxReduce(_) => Rule::Derivative(max),
    }
}

/// (log2 x)' = log2(e) / x
fn log2(g: &mut Graph, _: &Op, site: &Site, _: usize) -> Result<Tensor> {
    let inverse = g.recip(&site.operands[0])?;
    let slope = g.mul_scalar(&inverse, LOG2_E)?;
    g.mul(&site.cotangent, &slope)
}

/// (2^x)' = 2^x ln 2
fn exp2(g: &mut Graph, _: &Op, site: &Site, _: usize) -> Result<Tensor> {
    let slope = g.mul_scalar(&site.result, LN_2)?;
    g.mul(&site.cotangent, &slope)
}

/// (sin x)' = cos x = sin(x + pi/2)
fn sin(g: &mut Graph, _: &Op, site: &Site, _: usize) -> Result<Tensor> {
    let shifted = g.add_scalar(&site.operands[0], FRAC_PI_2)?;
    let slope = g.sin(&shifted)?;
    g.mul(&site.cotangent, &slope)
}

/// (sqrt x)' = 1 / (2 sqrt x)
fn sqrt(g: &mut Graph, _: &Op, site: &Site, _: usize) -> Result<Tensor> {
    let inverse = g.recip(&site.result)?;
    let slope = g.mul_scalar(&inverse, 0.5)?;
    g.mul(&site.cotangent, &slope)
}

/// (1 / x)' = -(1 / x)^2
fn recip(g: &mut Graph, _: &Op, site: &Site, _: usize) -> Result<Tensor> {
    let square = g.square(&site.result)?;
    let slope = g.neg(&square)?;
    g.mul(&site.cotangent, &slope)
}

/// Addition and copying.
fn same(_: &mut Graph, _: &Op, site: &Site, _: usize) -> Result<Tensor> {
    Ok(site.cotangent.clone())
}

/// The product is laid out like the operand's buffer, with the operand's broadcast dims last: the
/// sums over those then read it plainly, and the result lies as the operand does, without a copy.
fn mul(g: &mut Graph, _: &Op, site: &Site, k: usize) -> Result<Tensor> {
    let order = site.operands[k].view.buffer_order();
    let cotangent = g.permute(&site.cotangent, &order)?;
    let other = g.permute(&site.operands[1 - k], &order)?;
    let product = g.mul(&cotangent, &other)?;
    let mut back = vec![0; order.len()];
    for (position, l) in order.iter().enumerate() {
        back[*l] = position;
    }
    g.permute(&product, &back)
}

fn sum(g: &mut Graph, op: &Op, site: &Site, _: usize) -> Result<Tensor> {
    along(g, op, site, &site.cotangent)
}

/// The gradient goes to the maximum, in equal shares if several elements attain it.
fn max(g: &mut Graph, op: &Op, site: &Site, _: usize) -> Result<Tensor> {
    let top = along(g, op, site, &site.result)?;
    let hit = g.equal(&site.operands[0], &top)?;
    let count = match op {
        Op::MaxReduce(axis) => g.sum(&hit, &[*axis], false)?,
        _ => return Ok(hit),
    };
    let share = g.div(&site.cotangent, &count)?;
    let share = along(g, op, site, &share)?;
    g.mul(&hit, &share)
}

/// `t`, of the shape of a reduction's result, repeated along the reduced axis.
fn along(g: &mut Graph, op: &Op, site: &Site, t: &Tensor) -> Result<Tensor> {
    match op {
        Op::SumReduce(axis) | Op::MaxReduce(axis) => {
            g.repeat("gradients", t, *axis, site.operands[0].size(*axis))
        }
        _ => Ok(t.clone()),
    }
}
