//! Look-ups by one-hot contraction: `Mul` of a one-hot matrix with the table, then `SumReduce`.

use crate::error::{GraphError, Result};
use crate::graph::Graph;
use crate::tensor::Tensor;
use crate::view::MAX_RANK;

/// Indices are whole numbers kept as f32. An index that is out of range picks zeros; for an index
/// input or a counter the range is checked while building.
///
/// # Errors
/// Of every method here: shapes and bounds that do not fit, tensors of another graph.
impl Graph {
    /// `index [..] -> [.., n]`: 1 at the index, 0 elsewhere. No gradient.
    pub fn one_hot(&mut self, index: &Tensor, n: usize) -> Result<Tensor> {
        self.bounded("one_hot", index, n)?;
        self.hot(index, n)
    }

    fn hot(&mut self, index: &Tensor, n: usize) -> Result<Tensor> {
        let counter = self.iota(n)?;
        let index = self.repeat("one_hot", index, index.rank(), n)?;
        self.equal(&index, &counter)
    }

    /// Rows of a table: `table [rows, width]`, `index [..]` of `0..rows` -> `[.., width]`.
    pub fn gather(&mut self, table: &Tensor, index: &Tensor) -> Result<Tensor> {
        self.look_up("gather", table, index, 0)
    }

    /// As [`Graph::gather`], but the index may also be `rows`, one past the table: it names no row
    /// and gives zeros.
    pub fn gather_or_zero(&mut self, table: &Tensor, index: &Tensor) -> Result<Tensor> {
        self.look_up("gather_or_zero", table, index, 1)
    }

    /// From now on [`Graph::gather`] of these very tensors gives `result`: for rows that are made
    /// without the rest of the table. Table, index and result are whole, not views of something larger
    /// (the result may be a cut); `result` is `[.., width]` in the shape of the index.
    ///
    /// # Errors
    /// Also [`GraphError::NotWhole`] for a table or an index that is a view.
    pub fn know_rows(&mut self, table: &Tensor, index: &Tensor, result: &Tensor) -> Result<()> {
        let op = "know_rows";
        for t in [table, index, result] {
            self.own(op, t)?;
        }
        let shape: Vec<usize> = index.shape().into_iter().chain([table.size(1)]).collect();
        if table.rank() != 2 || result.shape() != shape {
            return Err(self.shape_error(
                op,
                &[table, index, result],
                "wants a table [rows, width], an index [..], a result [.., width]",
            ));
        }
        for t in [table, index] {
            if !t.view.is_plain() {
                return Err(GraphError::NotWhole {
                    op,
                    shape: t.shape(),
                    scope: self.scope(),
                });
            }
        }
        let key = (table.node(), index.node());
        self.known_rows.insert(key, (result.clone(), false));
        Ok(())
    }

    /// Whether rows that were made known by [`Graph::know_rows`] have been looked up since.
    pub fn asked_rows(&self, table: &Tensor, index: &Tensor) -> bool {
        let known = self.known_rows.get(&(table.node(), index.node()));
        known.is_some_and(|(_, asked)| *asked)
    }

    fn known(&mut self, table: &Tensor, index: &Tensor) -> Option<Tensor> {
        let key = (table.node(), index.node());
        let (known, asked) = self.known_rows.get_mut(&key)?;
        let mut shape = index.shape();
        shape.push(table.size(1));
        if !table.view.is_plain() || !index.view.is_plain() || known.shape() != shape {
            return None;
        }
        *asked = true;
        Some(known.clone())
    }

    /// Rows of a table; the index may be up to `beyond` past it.
    fn look_up(
        &mut self,
        op: &'static str,
        table: &Tensor,
        index: &Tensor,
        beyond: usize,
    ) -> Result<Tensor> {
        self.own(op, table)?;
        self.own(op, index)?;
        if table.rank() != 2 {
            return Err(self.shape_error(op, &[table, index], "wants a table [rows, width]"));
        }
        let (rows, width) = (table.size(0), table.size(1));
        self.bounded(op, index, rows + beyond)?;
        if let Some(known) = self.known(table, index) {
            return Ok(known);
        }
        let rank = index.rank();
        if rank + 2 > MAX_RANK {
            let shape: Vec<usize> = index.shape().into_iter().chain([width]).collect();
            self.rank(op, shape.len())?;
            let flat = self.reshape(index, &[index.elements()])?;
            let rows = self.look_up(op, table, &flat, beyond)?;
            return self.reshape(&rows, &shape);
        }
        // Equal to none of the counter's numbers, an index past the table selects nothing.
        let hot = self.hot(index, rows)?;
        let hot = self.repeat(op, &hot, rank + 1, width)?;
        let product = self.mul(&hot, table)?;
        self.sum(&product, &[rank], false)
    }

    /// One element of each row: `a [.., n]`, `index [..]` of `0..n` -> `[..]`.
    pub fn take_along(&mut self, a: &Tensor, index: &Tensor) -> Result<Tensor> {
        self.own("take_along", a)?;
        self.own("take_along", index)?;
        let rank = a.rank();
        if rank == 0 || a.shape()[..rank - 1] != index.shape() {
            return Err(self.shape_error("take_along", &[a, index], "wants a [.., n], index [..]"));
        }
        let n = a.size(rank - 1);
        self.bounded("take_along", index, n)?;
        let hot = self.one_hot(index, n)?;
        let product = self.mul(&hot, a)?;
        self.sum(&product, &[rank - 1], false)
    }

    /// Checks that a known bound of an index does not exceed the number of rows.
    fn bounded(&self, op: &'static str, index: &Tensor, rows: usize) -> Result<()> {
        self.own(op, index)?;
        match self.index_bound(index) {
            Some(bound) if bound > rows => Err(self.value_error(
                op,
                format!("indices are in 0..{bound}, there are {rows} rows"),
            )),
            _ => Ok(()),
        }
    }
}
