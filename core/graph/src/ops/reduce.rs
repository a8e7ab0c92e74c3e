//! Reductions over any axes.

use crate::error::Result;
use crate::graph::Graph;
use crate::tensor::Tensor;

/// # Errors
/// Of every method here: an axis that is not smaller than the rank, or named twice; a tensor of
/// another graph.
impl Graph {
    /// Sum over `axes`. `keep` leaves a dim of size one in place of each.
    pub fn sum(&mut self, a: &Tensor, axes: &[usize], keep: bool) -> Result<Tensor> {
        self.reduce("sum", true, a, axes, keep)
    }

    /// Sum over all axes, to rank 0.
    pub fn sum_all(&mut self, a: &Tensor) -> Result<Tensor> {
        let axes: Vec<usize> = (0..a.rank()).collect();
        self.sum(a, &axes, false)
    }

    /// Maximum over `axes`. Ties share the gradient evenly.
    pub fn max(&mut self, a: &Tensor, axes: &[usize], keep: bool) -> Result<Tensor> {
        self.reduce("max", false, a, axes, keep)
    }

    /// Arithmetic mean over `axes`.
    pub fn mean(&mut self, a: &Tensor, axes: &[usize], keep: bool) -> Result<Tensor> {
        let sum = self.reduce("mean", true, a, axes, keep)?;
        let count: f64 = axes.iter().map(|l| a.size(*l) as f64).product();
        self.mul_scalar(&sum, (1.0 / count) as f32)
    }

    /// Mean squared deviation from the mean over `axes` (population variance).
    pub fn variance(&mut self, a: &Tensor, axes: &[usize], keep: bool) -> Result<Tensor> {
        let mean = self.mean(a, axes, true)?;
        let deviation = self.sub(a, &mean)?;
        let square = self.square(&deviation)?;
        self.mean(&square, axes, keep)
    }
}
