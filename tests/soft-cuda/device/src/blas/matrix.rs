//! Matrices in memory: which addresses they cover, and how they are read.

use super::types::{Compute, Type};

/// Whether neighbours in memory are a column or a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Layout {
    Columns,
    Rows,
}

/// A batch of matrices as stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matrix {
    /// Of the first element.
    pub address: u64,
    /// Of the elements.
    pub element: Type,
    /// As stored.
    pub rows: u64,
    /// As stored.
    pub columns: u64,
    /// Elements from one column (row) to the next.
    pub leading: u64,
    /// Columns or rows.
    pub layout: Layout,
    /// Elements from one matrix of the batch to the next.
    pub stride: i64,
}

impl Matrix {
    /// Elements that lie together, and how many such runs there are.
    pub fn runs(&self) -> (u64, u64) {
        match self.layout {
            Layout::Columns => (self.rows, self.columns),
            Layout::Rows => (self.columns, self.rows),
        }
    }

    /// The address of an element.
    pub fn at(&self, batch: u64, row: u64, column: u64) -> u64 {
        let place = match self.layout {
            Layout::Columns => column * self.leading + row,
            Layout::Rows => row * self.leading + column,
        };
        let bytes = self.element.bytes() as i64;
        let offset = (self.stride * batch as i64 + place as i64) * bytes;
        self.address.wrapping_add_signed(offset)
    }

    /// Start and bytes of every run of a batch of `count` matrices.
    pub fn spans(&self, count: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let (length, runs) = self.runs();
        let bytes = length * self.element.bytes();
        (0..count).flat_map(move |batch| {
            (0..runs).map(move |run| match self.layout {
                Layout::Columns => (self.at(batch, 0, run), bytes),
                Layout::Rows => (self.at(batch, run, 0), bytes),
            })
        })
    }

    /// The first address and the one after the last.
    pub fn bounds(&self, count: u64) -> (u64, u64) {
        let (length, runs) = self.runs();
        let last = ((runs.max(1) - 1) * self.leading + length) * self.element.bytes();
        let far = self.at(count.max(1) - 1, 0, 0);
        (self.address.min(far), self.address.max(far) + last)
    }

    /// Whether two batches have a byte in common.
    pub fn overlaps(&self, other: &Matrix, count: u64) -> bool {
        let (a, b) = (self.bounds(count), other.bounds(count));
        if a.1 <= b.0 || b.1 <= a.0 {
            return false;
        }
        // Columns of one may lie between columns of the other.
        let all: Vec<(u64, u64, bool)> = self
            .spans(count)
            .map(|(start, bytes)| (start, start + bytes, false))
            .chain(
                other
                    .spans(count)
                    .map(|(start, bytes)| (start, start + bytes, true)),
            )
            .collect();
        common(all)
    }

    /// Whether matrices of the batch have a byte in common.
    pub fn overlaps_itself(&self, count: u64) -> bool {
        if count < 2 {
            return false;
        }
        let mut all: Vec<(u64, u64)> = self.spans(count).collect();
        all.sort_unstable();
        all.windows(2).any(|pair| pair[0].0 + pair[0].1 > pair[1].0)
    }

    /// A matrix of the batch, row by row, or column by column if `transposed`; each element rounded.
    ///
    /// # Safety
    /// All its elements are in memory.
    pub unsafe fn read(&self, batch: u64, transposed: bool, compute: Compute) -> Vec<f32> {
        let (outer, inner) = match transposed {
            true => (self.columns, self.rows),
            false => (self.rows, self.columns),
        };
        let mut values = vec![0.0; (outer * inner) as usize];
        let (length, runs) = self.runs();
        // In the order of memory; a run is a line of the result, or one of its columns.
        let is_line = (self.layout == Layout::Rows) != transposed;
        if self.element == Type::F32 {
            // SAFETY: the caller's promise; addresses are multiples of an element's bytes.
            unsafe { self.read_singles(batch, is_line, inner as usize, &mut values) };
            if compute != Compute::F32 {
                values.iter_mut().for_each(|v| *v = compute.round(*v));
            }
            return values;
        }
        for run in 0..runs {
            let start = match self.layout {
                Layout::Columns => self.at(batch, 0, run),
                Layout::Rows => self.at(batch, run, 0),
            };
            let (first, step) = if is_line {
                (run * inner, 1)
            } else {
                (run, inner)
            };
            for i in 0..length {
                // SAFETY: the caller's promise.
                let value = unsafe { self.element.load(start + i * self.element.bytes()) };
                values[(first + i * step) as usize] = compute.round(value);
            }
        }
        values
    }

    /// As [`Matrix::read`] where elements need no conversion: runs are copied whole as lines of the result, or a
    /// few side by side as its columns.
    ///
    /// # Safety
    /// As [`Matrix::read`].
    unsafe fn read_singles(&self, batch: u64, is_line: bool, inner: usize, values: &mut [f32]) {
        const TOGETHER: usize = 16;
        let (length, runs) = self.runs();
        let run = |run: u64| {
            let start = match self.layout {
                Layout::Columns => self.at(batch, 0, run),
                Layout::Rows => self.at(batch, run, 0),
            };
            // SAFETY: the caller's promise.
            unsafe { std::slice::from_raw_parts(start as *const f32, length as usize) }
        };
        let all: Vec<&[f32]> = (0..runs).map(run).collect();
        if is_line {
            for (line, run) in values.chunks_mut(inner.max(1)).zip(&all) {
                line.copy_from_slice(run);
            }
            return;
        }
        for (group, runs) in all.chunks(TOGETHER).enumerate() {
            for (i, line) in values.chunks_mut(inner.max(1)).enumerate() {
                let columns = line[group * TOGETHER..].iter_mut();
                columns.zip(runs).for_each(|(to, run)| *to = run[i]);
            }
        }
    }
}

/// Whether a span of one kind has a byte in common with one of the other: start, end, kind of each.
pub fn common(mut all: Vec<(u64, u64, bool)>) -> bool {
    all.sort_unstable();
    let mut ends = [0, 0];
    for (start, end, which) in all {
        let (mine, theirs) = (usize::from(which), usize::from(!which));
        if start < ends[theirs] {
            return true;
        }
        ends[mine] = ends[mine].max(end);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(address: u64, rows: u64, columns: u64, leading: u64, stride: i64) -> Matrix {
        Matrix {
            address,
            element: Type::F32,
            rows,
            columns,
            leading,
            layout: Layout::Columns,
            stride,
        }
    }

    #[test]
    fn columns_between_columns_do_not_overlap() {
        // Two matrices of 2 rows, side by side in one buffer with 4 rows.
        let (left, right) = (matrix(0, 2, 3, 4, 0), matrix(8, 2, 3, 4, 0));
        assert!(!left.overlaps(&right, 1));
        assert!(left.overlaps(&matrix(4, 2, 3, 4, 0), 1));
        assert_eq!(left.bounds(1), (0, 40));
    }

    #[test]
    fn a_batch_with_too_small_a_stride_overlaps_itself() {
        assert!(matrix(0, 2, 3, 2, 5).overlaps_itself(2));
        assert!(!matrix(0, 2, 3, 2, 6).overlaps_itself(2));
        assert!(!matrix(0, 2, 3, 4, 2).overlaps_itself(2));
        assert!(matrix(0, 2, 3, 2, 0).overlaps_itself(2));
    }
}
