//! Reshaping a view without moving data.

use super::{Dim, View};

impl View {
    /// This view with another shape of as many elements, or `None` if data would have to move.
    pub fn reshape(&self, to: &[usize]) -> Option<Self> {
        if self.is_plain() {
            return Some(View::contiguous(to));
        }
        let from = self.shape();
        let mut view = self.clone();
        // `i` and `j` walk over the old and the new shape; before `l` the view has the new dims.
        // Products of what is left are always equal.
        let (mut i, mut j, mut l) = (0, 0, 0);
        while i < from.len() || j < to.len() {
            if i < from.len() && j < to.len() && from[i] == to[j] {
                (i, j, l) = (i + 1, j + 1, l + 1);
            } else if i < from.len() && from[i] == 1 && view.at(l).is_whole() {
                view.drop_dim(l);
                i += 1;
            } else if j < to.len() && to[j] == 1 {
                view = view.expand(l, 1);
                (j, l) = (j + 1, l + 1);
            } else {
                let (first_i, first_j) = (i, j);
                let (mut a, mut b) = (*from.get(i)?, *to.get(j)?);
                (i, j) = (i + 1, j + 1);
                while a != b {
                    if a < b {
                        a *= from.get(i)?;
                        i += 1;
                    } else {
                        b *= to.get(j)?;
                        j += 1;
                    }
                }
                view.regroup(l, i - first_i, &to[first_j..j])?;
                l += j - first_j;
            }
        }
        Some(view)
    }

    /// Replaces logical dims `l..l + n` by dims of the given sizes, if they can be merged.
    fn regroup(&mut self, l: usize, n: usize, sizes: &[usize]) -> Option<()> {
        if (l..l + n).any(|i| !self.at(i).is_whole()) {
            return None;
        }
        let mut n = n;
        for i in (l..l + n).rev() {
            if self.at(i).size == 1 {
                self.drop_dim(i);
                n -= 1;
            }
        }
        let fakes = (l..l + n).filter(|i| self.at(*i).fake).count();
        if fakes == n {
            for _ in 0..n {
                self.drop_dim(l);
            }
            for (k, size) in sizes.iter().enumerate() {
                *self = self.expand(l + k, *size);
            }
            return Some(());
        }
        if fakes > 0 {
            return None;
        }
        // neighbours in memory, once broadcast dims and whole dims of size one are ignored
        for pair in self.order[l..l + n].windows(2) {
            let between = self.dims.get(pair[0] + 1..pair[1])?;
            if between.iter().any(|d| !d.fake && d.size != 1) {
                return None;
            }
        }
        let first = self.order[l];
        for _ in 0..n {
            self.drop_dim(l);
        }
        for o in &mut self.order {
            if *o >= first {
                *o += sizes.len();
            }
        }
        for (k, size) in sizes.iter().enumerate() {
            self.dims.insert(first + k, Dim::real(*size));
            self.order.insert(l + k, first + k);
        }
        Some(())
    }
}
