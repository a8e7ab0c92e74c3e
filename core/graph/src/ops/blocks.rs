//! The blocks that networks are made of.

use crate::error::Result;
use crate::graph::Graph;
use crate::tensor::Tensor;
use std::f32::consts::LOG2_E;

/// # Errors
/// Of every method here: shapes, axes and numbers that do not fit, tensors of another graph.
impl Graph {
    /// `exp(a) / sum(exp(a))` over `axis`, with the maximum subtracted first. The result does not
    /// depend on that maximum, so no gradient flows through it.
    pub fn softmax(&mut self, a: &Tensor, axis: usize) -> Result<Tensor> {
        let shifted = self.shifted("softmax", a, axis)?;
        let scaled = self.mul_scalar(&shifted, LOG2_E)?;
        let e = self.exp2(&scaled)?;
        let total = self.sum(&e, &[axis], true)?;
        let inverse = self.recip(&total)?;
        self.mul(&e, &inverse)
    }

    /// `log(softmax(a))` over `axis`.
    pub fn log_softmax(&mut self, a: &Tensor, axis: usize) -> Result<Tensor> {
        let shifted = self.shifted("log_softmax", a, axis)?;
        let scaled = self.mul_scalar(&shifted, LOG2_E)?;
        let e = self.exp2(&scaled)?;
        let total = self.sum(&e, &[axis], true)?;
        let log = self.log(&total)?;
        self.sub(&shifted, &log)
    }

    /// `a` minus its maximum over `axis`, the maximum taken as a constant.
    fn shifted(&mut self, op: &'static str, a: &Tensor, axis: usize) -> Result<Tensor> {
        self.axis(op, a, axis)?;
        let before = self.node_count();
        let max = self.max(a, &[axis], true)?;
        let max = if max.node() >= before {
            // a node of this call alone: mark it
            self.facts[max.node()].stop_gradient = true;
            max
        } else {
            // over a dim of size one the maximum is `a` itself
            self.stop_gradient(&max)?
        };
        self.sub(a, &max)
    }

    /// Layer normalisation over the last axis (Ba, Kiros, Hinton 2016): `x [.., n]`, `gamma [n]`,
    /// `beta [n]` -> `[.., n]`, with the population variance and `eps > 0` added to it.
    pub fn layer_norm(
        &mut self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        eps: f32,
    ) -> Result<Tensor> {
        for t in [x, gamma, beta] {
            self.own("layer_norm", t)?;
        }
        let rank = x.rank();
        if rank == 0
            || [gamma, beta]
                .iter()
                .any(|t| t.shape() != [x.size(rank - 1)])
        {
            return Err(self.shape_error(
                "layer_norm",
                &[x, gamma, beta],
                "wants x [.., n], gamma [n], beta [n]",
            ));
        }
        if !(eps.is_finite() && eps > 0.0) {
            return Err(self.value_error("layer_norm", format!("wants eps > 0, got {eps}")));
        }
        let axis = [rank - 1];
        let mean = self.mean(x, &axis, true)?;
        let centred = self.sub(x, &mean)?;
        let square = self.square(&centred)?;
        let variance = self.mean(&square, &axis, true)?;
        let safe = self.add_scalar(&variance, eps)?;
        let scale = self.rsqrt(&safe)?;
        let unit = self.mul(&centred, &scale)?;
        let scaled = self.mul(&unit, gamma)?;
        self.add(&scaled, beta)
    }

    /// Zeroes each element with probability `rate` and scales the others by `1 / (1 - rate)`
    /// (inverted dropout). Element `i` (row-major) is kept where the uniform number `i` of `stream`
    /// is at least `rate` rounded to f32. Rate 0 makes no node. The mask carries no gradient.
    ///
    /// # Errors
    /// `rate` outside `[0, 1)`, or the graph draws from `stream` already.
    pub fn dropout(&mut self, x: &Tensor, rate: f64, stream: &str) -> Result<Tensor> {
        self.own("dropout", x)?;
        if !(0.0..1.0).contains(&rate) || rate as f32 >= 1.0 {
            return Err(self.value_error("dropout", format!("wants a rate in [0, 1), got {rate}")));
        }
        let threshold = rate as f32;
        if threshold == 0.0 {
            return Ok(x.clone());
        }
        let uniform = self.uniform(stream, &x.shape())?;
        // u >= rate is u > the number before rate: one comparison
        let below = self.scalar(threshold.next_down());
        let kept = self.greater(&uniform, &below)?;
        let mask = self.mul_scalar(&kept, (1.0 / (1.0 - rate)) as f32)?;
        self.mul(x, &mask)
    }

    /// `-log softmax(logits)[label]` of each position: `logits [.., classes]`, `labels [..]` whole
    /// numbers in `0..classes`, -> `[..]`. With `weights [..]` each loss is multiplied by its
    /// weight; give an ignored position the weight 0 (and any label in range).
    pub fn cross_entropy(
        &mut self,
        logits: &Tensor,
        labels: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<Tensor> {
        let operands: Vec<&Tensor> = [logits, labels].into_iter().chain(weights).collect();
        for t in &operands {
            self.own("cross_entropy", t)?;
        }
        let rank = logits.rank();
        let fits = rank >= 1
            && operands[1..]
                .iter()
                .all(|t| t.shape() == logits.shape()[..rank - 1]);
        if !fits {
            return Err(self.shape_error(
                "cross_entropy",
                &operands,
                "wants logits [.., classes], labels [..], weights [..]",
            ));
        }
        let log = self.log_softmax(logits, rank - 1)?;
        let picked = self.take_along(&log, labels)?;
        let loss = self.neg(&picked)?;
        match weights {
            Some(weights) => self.mul(&loss, weights),
            None => Ok(loss),
        }
    }
}
