//! The primitives: every luminal node that is not a leaf is made here, and read back in `lower`.
//!
//! What luminal's kernels get wrong is worked around here, once:
//! - unary kernels run over the whole buffer and ignore the view, so a cut or padded operand is
//!   copied first, and the result keeps the operand's view;
//! - reductions compute the shape of a dim cut at both ends wrongly, and MaxReduce skips padding, so
//!   both are copied first;
//! - broadcast dims that both operands share are computed once and broadcast afterwards, and summing
//!   a broadcast dim is a multiplication, so that no node is larger than what it really holds.

use crate::error::Result;
use crate::graph::{Graph, NodeFacts};
use crate::ir::Op;
use crate::tensor::Tensor;
use crate::view::{broadcast_shape, View};
use luminal::op as stock;
use luminal::prelude::NodeIndex;

impl Graph {
    /// Notes the facts of a node just added to luminal's graph.
    pub(crate) fn made(&mut self, id: NodeIndex, shape: Vec<usize>) -> Tensor {
        // nodes are never removed, so luminal numbers them like `facts`
        debug_assert_eq!(id.index(), self.facts.len());
        let view = View::contiguous(&shape);
        self.facts.push(NodeFacts {
            shape,
            scope: self.scope(),
            phase: self.phase(),
            stop_gradient: false,
        });
        Tensor {
            graph: self.number,
            id,
            view,
        }
    }

    pub(crate) fn constant_node(&mut self, value: f32) -> Tensor {
        let dims = &self.luminal.dyn_map as *const _;
        let constant = stock::Constant(stock::ConstantValue::Float(value), dims);
        let id = self.luminal.add_op(constant).finish();
        self.made(id, Vec::new())
    }

    /// Adds a node; the only place that hands trackers to luminal.
    fn node(
        &mut self,
        name: &'static str,
        op: &Op,
        inputs: &[&Tensor],
        shape: Vec<usize>,
    ) -> Result<Tensor> {
        self.check_shape(name, &shape)?;
        for t in inputs {
            self.check_shape(name, &t.shape())?;
        }
        let g = &mut self.luminal;
        let mut new = match op {
            Op::Log2 => g.add_op(stock::Log2),
            Op::Exp2 => g.add_op(stock::Exp2),
            Op::Sin => g.add_op(stock::Sin),
            Op::Sqrt => g.add_op(stock::Sqrt),
            Op::Recip => g.add_op(stock::Recip),
            Op::Add => g.add_op(stock::Add),
            Op::Mul => g.add_op(stock::Mul),
            Op::Mod => g.add_op(stock::Mod),
            Op::LessThan => g.add_op(stock::LessThan),
            Op::SumReduce(axis) => g.add_op(stock::SumReduce(*axis)),
            Op::MaxReduce(axis) => g.add_op(stock::MaxReduce(*axis)),
            Op::Contiguous => g.add_op(stock::Contiguous),
            // leaves have no operands and are made in `leaves` and `constant_node`
            Op::Load(_) | Op::Constant(_) => {
                return Err(self.value_error(name, "a leaf takes no operands"))
            }
        };
        for t in inputs {
            new = new.input(t.id, 0, t.view.tracker());
        }
        let id = new.finish();
        Ok(self.made(id, shape))
    }

    pub(crate) fn unary(&mut self, name: &'static str, op: Op, a: &Tensor) -> Result<Tensor> {
        self.own(name, a)?;
        let a = if a.view.is_padded() || a.view.is_sliced() {
            // not only for the padding: what is cut away may be outside the op's domain, and its
            // gradient would then be 0 * inf
            self.compact(a)?
        } else {
            a.clone()
        };
        let shape = self.facts[a.node()].shape.clone();
        let whole = a.with(View::contiguous(&shape));
        let result = self.node(name, &op, &[&whole], shape)?;
        Ok(result.with(a.view))
    }

    pub(crate) fn binary(
        &mut self,
        name: &'static str,
        op: Op,
        a: &Tensor,
        b: &Tensor,
    ) -> Result<Tensor> {
        self.own(name, a)?;
        self.own(name, b)?;
        let shape = broadcast_shape(&a.shape(), &b.shape())
            .ok_or_else(|| self.shape_error(name, &[a, b], "do not broadcast"))?;
        self.rank(name, shape.len())?;
        let mut a = self.broadcast(name, a, &shape)?;
        let mut b = self.broadcast(name, b, &shape)?;
        let shared: Vec<usize> = (0..shape.len())
            .filter(|l| a.view.at(*l).fake && b.view.at(*l).fake)
            .collect();
        for l in shared.iter().rev() {
            a.view.drop_dim(*l);
            b.view.drop_dim(*l);
        }
        let result = self.node(name, &op, &[&a, &b], a.shape())?;
        let view = shared
            .iter()
            .fold(result.view.clone(), |view, l| view.expand(*l, shape[*l]));
        Ok(result.with(view))
    }

    /// `a` broadcast to `shape`; the rank of `shape` is checked.
    pub(crate) fn broadcast(
        &mut self,
        name: &'static str,
        a: &Tensor,
        shape: &[usize],
    ) -> Result<Tensor> {
        if let Some(view) = a.view.broadcast(shape) {
            return Ok(a.with(view));
        }
        // a dim of size one that is a cut or the like of a larger one
        let copy = self.compact(a)?;
        match copy.view.broadcast(shape) {
            Some(view) => Ok(copy.with(view)),
            None => Err(self.shape_error(name, &[a], format!("does not broadcast to {shape:?}"))),
        }
    }

    /// A copy of what `a` shows, in row-major order, except that its broadcast dims stay so.
    pub(crate) fn compact(&mut self, a: &Tensor) -> Result<Tensor> {
        self.copy(a, None)
    }

    /// A copy of what `a` shows, in row-major order; broadcast dims stay so, except `axis`.
    pub(crate) fn compact_but(&mut self, a: &Tensor, axis: usize) -> Result<Tensor> {
        self.copy(a, Some(axis))
    }

    fn copy(&mut self, a: &Tensor, but: Option<usize>) -> Result<Tensor> {
        let (small, fakes) = without_broadcast(a, |l| Some(l) != but);
        if small.view.is_plain() {
            return Ok(a.clone());
        }
        let copy = self.node("contiguous", &Op::Contiguous, &[&small], small.shape())?;
        let view = fakes
            .iter()
            .fold(copy.view.clone(), |view, (l, n)| view.expand(*l, *n));
        Ok(copy.with(view))
    }

    /// A row-major copy of `a`, or `a` itself if it is that already.
    ///
    /// # Errors
    /// None for a tensor of this graph.
    pub fn contiguous(&mut self, a: &Tensor) -> Result<Tensor> {
        self.own("contiguous", a)?;
        if a.view.is_plain() {
            return Ok(a.clone());
        }
        self.node("contiguous", &Op::Contiguous, &[a], a.shape())
    }

    /// `a` with the same values, through which no gradient flows.
    ///
    /// # Errors
    /// None for a tensor of this graph.
    pub fn stop_gradient(&mut self, a: &Tensor) -> Result<Tensor> {
        self.own("stop_gradient", a)?;
        // luminal has no identity: a copy carries the mark (compilers drop plain copies)
        let shape = self.facts[a.node()].shape.clone();
        let whole = a.with(View::contiguous(&shape));
        let copy = self.node("stop_gradient", &Op::Contiguous, &[&whole], shape)?;
        self.facts[copy.node()].stop_gradient = true;
        Ok(copy.with(a.view.clone()))
    }

    /// Sum or maximum over distinct, checked axes. `keep` leaves a dim of size one in their place.
    pub(crate) fn reduce(
        &mut self,
        name: &'static str,
        sum: bool,
        a: &Tensor,
        axes: &[usize],
        keep: bool,
    ) -> Result<Tensor> {
        self.own(name, a)?;
        for (i, axis) in axes.iter().enumerate() {
            self.axis(name, a, *axis)?;
            if axes[..i].contains(axis) {
                return Err(self.shape_error(name, &[a], format!("axis {axis} twice")));
            }
        }
        // What is left to reduce once broadcast dims and dims of size one are out of the way.
        let mut small = a.clone();
        let mut left: Vec<usize> = (0..a.rank()).collect();
        let mut repeats = 1.0f64;
        for l in (0..a.rank()).rev() {
            let dim = a.view.at(l);
            let reduced = axes.contains(&l);
            if dim.fake || (reduced && dim.len() == 1 && dim.is_whole()) {
                if reduced {
                    repeats *= dim.len() as f64;
                }
                small.view.drop_dim(l);
                left.remove(l);
            }
        }
        let order: Vec<usize> = left
            .iter()
            .copied()
            .filter(|l| axes.contains(l))
            .rev()
            .collect();
        let two_sided = |t: &Tensor| t.view.dims.iter().any(|d| d.lo != 0 && d.hi != d.size);
        if !order.is_empty() && (small.view.is_padded() || two_sided(&small)) {
            small = self.compact(&small)?;
        }
        for axis in order {
            let at = left.iter().position(|l| *l == axis).unwrap_or_default();
            let mut shape = small.shape();
            shape.remove(at);
            let op = if sum {
                Op::SumReduce(at)
            } else {
                Op::MaxReduce(at)
            };
            small = self.node(name, &op, &[&small], shape)?;
            left.remove(at);
        }
        if sum && repeats != 1.0 {
            small = self.mul_scalar(&small, repeats as f32)?;
        }
        let mut view = small.view.clone();
        let mut at = 0;
        for l in 0..a.rank() {
            if axes.contains(&l) {
                if keep {
                    view = view.expand(at, 1);
                    at += 1;
                }
            } else {
                if !left.contains(&l) {
                    view = view.expand(at, a.size(l));
                }
                at += 1;
            }
        }
        Ok(small.with(view))
    }
}

/// `a` without the broadcast dims that `which` picks, and those dims with their sizes.
fn without_broadcast(a: &Tensor, which: impl Fn(usize) -> bool) -> (Tensor, Vec<(usize, usize)>) {
    let fakes: Vec<(usize, usize)> = (0..a.rank())
        .filter(|l| a.view.at(*l).fake && which(*l))
        .map(|l| (l, a.size(l)))
        .collect();
    let mut small = a.clone();
    for (l, _) in fakes.iter().rev() {
        small.view.drop_dim(*l);
    }
    (small, fakes)
}
