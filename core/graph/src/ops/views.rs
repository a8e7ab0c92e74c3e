//! Other views of a tensor. None computes anything; data is copied only where stated.

use crate::error::Result;
use crate::graph::Graph;
use crate::tensor::Tensor;

/// # Errors
/// Of every method here: axes and sizes that do not fit, more than six dims, tensors of another
/// graph.
impl Graph {
    /// Dim `l` of the result is dim `axes[l]` of `a`.
    pub fn permute(&mut self, a: &Tensor, axes: &[usize]) -> Result<Tensor> {
        self.own("permute", a)?;
        let mut seen = axes.to_vec();
        seen.sort_unstable();
        if seen.len() != a.rank() || seen.iter().enumerate().any(|(i, x)| i != *x) {
            return Err(self.shape_error(
                "permute",
                &[a],
                format!("{axes:?} is no permutation of the axes"),
            ));
        }
        Ok(a.with(a.view.permute(axes)))
    }

    /// Dims `i` and `j` exchanged.
    pub fn transpose(&mut self, a: &Tensor, i: usize, j: usize) -> Result<Tensor> {
        self.axis("transpose", a, i)?;
        self.axis("transpose", a, j)?;
        let mut axes: Vec<usize> = (0..a.rank()).collect();
        axes.swap(i, j);
        self.permute(a, &axes)
    }

    /// Another shape of as many elements, in row-major order. Copies if the view cannot show it.
    pub fn reshape(&mut self, a: &Tensor, shape: &[usize]) -> Result<Tensor> {
        self.own("reshape", a)?;
        self.check_shape("reshape", shape)?;
        if a.elements() != shape.iter().product::<usize>() {
            return Err(self.shape_error(
                "reshape",
                &[a],
                format!("as many elements as {shape:?} wanted"),
            ));
        }
        if let Some(view) = a.view.reshape(shape) {
            return Ok(a.with(view));
        }
        // broadcast dims may not need to be written out
        let copy = self.compact(a)?;
        if let Some(view) = copy.view.reshape(shape) {
            return Ok(copy.with(view));
        }
        let copy = self.contiguous(a)?;
        Ok(copy.with(crate::view::View::contiguous(shape)))
    }

    /// Broadcast to `shape`, dims aligned at the right: a dim of size one repeats, a missing dim is
    /// new.
    pub fn expand(&mut self, a: &Tensor, shape: &[usize]) -> Result<Tensor> {
        self.own("expand", a)?;
        self.check_shape("expand", shape)?;
        self.broadcast("expand", a, shape)
    }

    /// A new dim of size one at `axis` (at most the rank).
    pub fn unsqueeze(&mut self, a: &Tensor, axis: usize) -> Result<Tensor> {
        self.repeat("unsqueeze", a, axis, 1)
    }

    /// A new dim at `axis` along which the tensor repeats `n` times.
    pub(crate) fn repeat(
        &mut self,
        op: &'static str,
        a: &Tensor,
        axis: usize,
        n: usize,
    ) -> Result<Tensor> {
        self.own(op, a)?;
        if axis > a.rank() {
            self.axis(op, a, axis)?;
        }
        self.rank(op, a.rank() + 1)?;
        Ok(a.with(a.view.expand(axis, n)))
    }

    /// Removes dim `axis`, of size one.
    pub fn squeeze(&mut self, a: &Tensor, axis: usize) -> Result<Tensor> {
        self.axis("squeeze", a, axis)?;
        if a.size(axis) != 1 {
            return Err(self.shape_error("squeeze", &[a], format!("dim {axis} is not of size 1")));
        }
        let mut a = if a.view.at(axis).is_whole() {
            a.clone()
        } else {
            // a cut of a larger dim: luminal cannot say "at offset 3" without the dim
            self.compact(a)?
        };
        a.view.drop_dim(axis);
        Ok(a)
    }

    /// Elements `start..end` of dim `axis`, at least one. Copies only a padded tensor.
    pub fn slice(&mut self, a: &Tensor, axis: usize, start: usize, end: usize) -> Result<Tensor> {
        self.axis("slice", a, axis)?;
        if start >= end || end > a.size(axis) {
            return Err(self.shape_error(
                "slice",
                &[a],
                format!("{start}..{end} is no cut of dim {axis}"),
            ));
        }
        if let Some(view) = a.view.slice(axis, start, end) {
            return Ok(a.with(view));
        }
        let copy = self.compact(a)?;
        match copy.view.slice(axis, start, end) {
            Some(view) => Ok(copy.with(view)),
            None => Err(self.shape_error("slice", &[a], "cannot be shown")),
        }
    }

    /// Zeros before and after dim `axis`. Copies a tensor that is cut or broadcast in that dim.
    pub fn pad(&mut self, a: &Tensor, axis: usize, before: usize, after: usize) -> Result<Tensor> {
        self.axis("pad", a, axis)?;
        let mut shape = a.shape();
        shape[axis] = before.saturating_add(shape[axis]).saturating_add(after);
        self.check_shape("pad", &shape)?;
        if (before, after) == (0, 0) {
            return Ok(a.clone());
        }
        if let Some(view) = a.view.pad(axis, before, after) {
            return Ok(a.with(view));
        }
        let copy = self.compact_but(a, axis)?;
        match copy.view.pad(axis, before, after) {
            Some(view) => Ok(copy.with(view)),
            None => Err(self.shape_error("pad", &[a], "cannot be shown")),
        }
    }

    /// The tensors one after another along `axis`; all other dims equal. Computed as a sum of
    /// zero-padded views.
    pub fn concat(&mut self, parts: &[&Tensor], axis: usize) -> Result<Tensor> {
        let Some(first) = parts.first() else {
            return Err(self.value_error("concat", "wants at least one tensor"));
        };
        self.axis("concat", first, axis)?;
        let total: usize = parts.iter().map(|t| t.size(axis)).sum();
        for part in parts {
            self.own("concat", part)?;
            let mut shape = part.shape();
            if shape.len() == first.rank() {
                shape[axis] = first.size(axis);
            }
            if shape != first.shape() {
                return Err(self.shape_error("concat", parts, "other dims must be equal"));
            }
        }
        let mut before = 0;
        let mut sum: Option<Tensor> = None;
        for part in parts {
            let n = part.size(axis);
            let padded = self.pad(part, axis, before, total - before - n)?;
            sum = Some(match sum {
                None => padded,
                Some(sum) => self.add(&sum, &padded)?,
            });
            before += n;
        }
        // `parts` is not empty, so a sum was made
        sum.ok_or_else(|| self.value_error("concat", "wants at least one tensor"))
    }
}
