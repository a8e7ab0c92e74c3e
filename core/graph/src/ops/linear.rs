//! Matrix products: a `Mul` of two broadcast views, then one `SumReduce`, and nothing between.

use crate::error::Result;
use crate::graph::Graph;
use crate::tensor::Tensor;
use crate::view::{broadcast_shape, MAX_RANK};

/// # Errors
/// Of every method here: shapes that do not fit, tensors of another graph.
impl Graph {
    /// `[.., m, k] x [.., k, n] -> [.., m, n]`; batch dims broadcast.
    pub fn matmul(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.product("matmul", a, b, false)
    }

    /// `[.., m, k] x [.., n, k] -> [.., m, n]`: the second operand is read transposed.
    pub fn matmul_t(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.product("matmul_t", a, b, true)
    }

    /// `x [.., in] W^T + b` with `w [out, in]` (as PyTorch stores it) and `b [out]` -> `[.., out]`.
    pub fn linear(&mut self, x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
        self.own("linear", x)?;
        self.own("linear", w)?;
        let fits = x.rank() >= 1
            && w.rank() == 2
            && x.size(x.rank() - 1) == w.size(1)
            && b.is_none_or(|b| b.shape() == [w.size(0)]);
        if !fits {
            let operands: Vec<&Tensor> = [x, w].into_iter().chain(b).collect();
            return Err(self.shape_error(
                "linear",
                &operands,
                "wants x [.., in], w [out, in], b [out]",
            ));
        }
        let y = if x.rank() == 1 {
            let row = self.unsqueeze(x, 0)?;
            let y = self.matmul_t(&row, w)?;
            self.squeeze(&y, 0)?
        } else {
            self.matmul_t(x, w)?
        };
        match b {
            Some(b) => self.add(&y, b),
            None => Ok(y),
        }
    }

    fn product(
        &mut self,
        op: &'static str,
        a: &Tensor,
        b: &Tensor,
        transposed: bool,
    ) -> Result<Tensor> {
        self.own(op, a)?;
        self.own(op, b)?;
        let (ra, rb) = (a.rank(), b.rank());
        if ra < 2 || rb < 2 {
            return Err(self.shape_error(op, &[a, b], "wants two dims or more"));
        }
        let right = if transposed {
            b.clone()
        } else {
            self.transpose(b, rb - 2, rb - 1)?
        };
        let (m, k, n) = (a.size(ra - 2), a.size(ra - 1), right.size(rb - 2));
        if right.size(rb - 1) != k {
            return Err(self.shape_error(op, &[a, b], "the dims to sum over differ"));
        }
        let batch = broadcast_shape(&a.shape()[..ra - 2], &b.shape()[..rb - 2])
            .ok_or_else(|| self.shape_error(op, &[a, b], "the batch dims do not broadcast"))?;
        if batch.len() + 3 > MAX_RANK {
            return self.product_of_many(op, a, &right, &batch);
        }
        let full: Vec<usize> = batch.iter().copied().chain([m, n, k]).collect();
        let left = a.with(a.view.expand(ra - 1, n));
        let right = right.with(right.view.expand(rb - 2, m));
        let left = self.broadcast(op, &left, &full)?;
        let right = self.broadcast(op, &right, &full)?;
        let product = self.mul(&left, &right)?;
        self.sum(&product, &[batch.len() + 2], false)
    }

    /// The product with all batch dims merged to one, because the product needs seven dims or more.
    fn product_of_many(
        &mut self,
        op: &'static str,
        a: &Tensor,
        b: &Tensor,
        batch: &[usize],
    ) -> Result<Tensor> {
        let mut merged = Vec::new();
        let mut rows = Vec::new();
        for t in [a, b] {
            let (m, k) = (t.size(t.rank() - 2), t.size(t.rank() - 1));
            let full: Vec<usize> = batch.iter().copied().chain([m, k]).collect();
            self.rank(op, full.len())?;
            let t = self.broadcast(op, t, &full)?;
            let count = batch.iter().product();
            merged.push(self.reshape(&t, &[count, m, k])?);
            rows.push(m);
        }
        let y = self.product(op, &merged[0], &merged[1], true)?;
        let full: Vec<usize> = batch.iter().copied().chain(rows).collect();
        self.reshape(&y, &full)
    }
}
