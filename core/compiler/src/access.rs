//! Where a kernel reads: an affine map from an iteration index to an element of a buffer.
//!
//! Owns: strides, offsets, valid ranges (zero padding), merging of axes, composition of two maps.
//! Must not know: what is read, or what is done with it.
//!
//! A graph [`View`] is turned into an [`Access`] once, when a graph is imported; from then on
//! reshapes, permutations, slices, pads and broadcasts are only numbers here.

use ablate_graph::View;

/// One axis of an [`Access`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Axis {
    /// Number of positions.
    pub size: usize,
    /// Elements of the buffer between neighbouring positions; 0 for a broadcast.
    pub stride: isize,
    /// First position that reads the buffer; positions before it read zero.
    pub lo: usize,
    /// One past the last position that reads the buffer; positions from it on read zero.
    pub hi: usize,
}

impl Axis {
    /// An axis whose every position reads the buffer.
    pub fn new(size: usize, stride: isize) -> Self {
        Axis {
            size,
            stride,
            lo: 0,
            hi: size,
        }
    }

    /// True when some positions read zero instead of the buffer.
    pub fn is_guarded(&self) -> bool {
        self.lo != 0 || self.hi != self.size
    }
}

/// An affine map: position `i` reads element `offset + sum(i[d] * axes[d].stride)`, or zero when any
/// `i[d]` lies outside its axis' valid range.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// Axes, outermost first.
    pub axes: Vec<Axis>,
    /// Element that position zero reads.
    pub offset: isize,
}

/// Row-major strides of a dense buffer of this shape.
pub fn dense_strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; shape.len()];
    for i in (0..shape.len().saturating_sub(1)).rev() {
        strides[i] = strides[i + 1] * shape[i + 1] as isize;
    }
    strides
}

impl Access {
    /// Reads a dense buffer of this shape in order.
    pub fn dense(shape: &[usize]) -> Self {
        let axes = shape
            .iter()
            .zip(dense_strides(shape))
            .map(|(&size, stride)| Axis::new(size, stride))
            .collect();
        Access { axes, offset: 0 }
    }

    /// The map that a graph view describes.
    pub fn from_view(view: &View) -> Self {
        let mut memory_strides = vec![0isize; view.dims.len()];
        let mut step = 1isize;
        for (stride, dim) in memory_strides.iter_mut().zip(&view.dims).rev() {
            if !dim.fake {
                *stride = step;
                step *= dim.size as isize;
            }
        }
        let mut offset = 0;
        let axes = view
            .order
            .iter()
            .map(|&position| {
                let (dim, stride) = (&view.dims[position], memory_strides[position]);
                let before = dim.pad.0;
                offset += stride * (dim.lo as isize - before as isize);
                let inside = dim.hi - dim.lo;
                Axis {
                    size: before + inside + dim.pad.1,
                    stride,
                    lo: before,
                    hi: before + inside,
                }
            })
            .collect();
        Access { axes, offset }
    }

    /// The iteration shape.
    pub fn shape(&self) -> Vec<usize> {
        self.axes.iter().map(|a| a.size).collect()
    }

    /// Number of positions.
    pub fn len(&self) -> usize {
        self.axes.iter().map(|a| a.size).product()
    }

    /// True when there is no position; graphs never hold such a tensor.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True when position `i` in row-major order reads element `i`.
    pub fn is_dense(&self) -> bool {
        if self.offset != 0 || self.is_guarded() {
            return false;
        }
        let mut expected = 1isize;
        for axis in self.axes.iter().rev() {
            if axis.size != 1 && axis.stride != expected {
                return false;
            }
            expected *= axis.size as isize;
        }
        true
    }

    /// True when some positions read zero instead of the buffer.
    pub fn is_guarded(&self) -> bool {
        self.axes.iter().any(Axis::is_guarded)
    }

    /// The smallest and largest element that is read, or `None` if every position reads zero.
    pub fn bounds(&self) -> Option<(isize, isize)> {
        let (mut low, mut high) = (self.offset, self.offset);
        for axis in &self.axes {
            if axis.lo >= axis.hi {
                return None;
            }
            let (a, b) = (
                axis.stride * axis.lo as isize,
                axis.stride * (axis.hi as isize - 1),
            );
            low += a.min(b);
            high += a.max(b);
        }
        Some((low, high))
    }

    /// The element that the position with these coordinates reads, or `None` for a padded zero.
    pub fn element(&self, position: &[usize]) -> Option<isize> {
        let mut element = self.offset;
        for (axis, &i) in self.axes.iter().zip(position) {
            if i < axis.lo || i >= axis.hi {
                return None;
            }
            element += axis.stride * i as isize;
        }
        Some(element)
    }

    /// The same map with axes in another order: axis `i` of the result is axis `order[i]` of `self`.
    pub fn permuted(&self, order: &[usize]) -> Self {
        Access {
            axes: order.iter().map(|&i| self.axes[i]).collect(),
            offset: self.offset,
        }
    }

    /// Merges neighbouring axes that step through memory as one, and drops axes of size one.
    pub fn merged(&self) -> Self {
        let mut axes: Vec<Axis> = Vec::with_capacity(self.axes.len());
        for axis in self.axes.iter().filter(|a| a.size != 1 || a.is_guarded()) {
            if let Some(outer) = axes.last_mut() {
                let joins = outer.stride == axis.stride * axis.size as isize
                    && !outer.is_guarded()
                    && !axis.is_guarded();
                if joins {
                    *outer = Axis::new(outer.size * axis.size, axis.stride);
                    continue;
                }
            }
            axes.push(*axis);
        }
        Access {
            axes,
            offset: self.offset,
        }
    }

    /// `self` reads a dense tensor of shape `shape`, each element of which is read through `inner`
    /// (whose iteration shape is `shape`): the map from `self`'s positions straight to `inner`'s
    /// buffer, or `None` if it is not affine.
    pub fn compose(&self, shape: &[usize], inner: &Access) -> Option<Access> {
        debug_assert_eq!(shape, inner.shape());
        // Work on the fewest inner axes, so that a reshape of a mergeable group stays affine.
        let merged = inner.merged();
        let sizes: Vec<usize> = merged.axes.iter().map(|a| a.size).collect();
        let steps = dense_strides(&sizes);
        // Where position zero of `self` lands, in inner coordinates.
        let mut rest = self.offset;
        let mut start = vec![0isize; sizes.len()];
        // A guarded `self` may point before the buffer at position zero; the coordinates of its
        // first valid position are what must lie inside.
        let shift: isize = self.axes.iter().map(|a| a.stride * a.lo as isize).sum();
        rest += shift;
        if self.axes.iter().any(|a| a.lo >= a.hi) || rest < 0 {
            return None;
        }
        for (s, step) in start.iter_mut().zip(&steps) {
            *s = rest / step;
            rest %= step;
        }
        if rest != 0 {
            return None;
        }
        let mut reach = start.clone();
        let mut users = vec![0usize; sizes.len()];
        let mut axes = Vec::with_capacity(self.axes.len());
        let mut owners = Vec::with_capacity(self.axes.len());
        for axis in &self.axes {
            let count = axis.hi - axis.lo;
            if axis.stride == 0 || count == 1 && !axis.is_guarded() {
                axes.push(Axis { stride: 0, ..*axis });
                owners.push(None);
                continue;
            }
            if axis.stride < 0 {
                return None;
            }
            // The inner axis whose step divides this stride and whose extent holds the movement.
            let owner = (0..sizes.len()).find(|&j| {
                axis.stride % steps[j] == 0 && axis.stride < steps[j] * sizes[j] as isize
            })?;
            let times = axis.stride / steps[owner];
            reach[owner] += times * (count as isize - 1);
            users[owner] += 1;
            axes.push(Axis {
                stride: times * merged.axes[owner].stride,
                ..*axis
            });
            owners.push(Some((owner, times)));
        }
        if reach.iter().zip(&sizes).any(|(r, n)| *r >= *n as isize) {
            return None;
        }
        let mut offset = merged.offset;
        for (j, s) in start.iter().enumerate() {
            let inner_axis = merged.axes[j];
            offset += s * inner_axis.stride;
            if !inner_axis.is_guarded() {
                continue;
            }
            // Positions whose inner coordinate is a padded zero become padded zeros of the result.
            match users[j] {
                0 => {
                    if *s < inner_axis.lo as isize || *s >= inner_axis.hi as isize {
                        return None;
                    }
                }
                1 => {
                    for (axis, owner) in axes.iter_mut().zip(&owners) {
                        let Some((o, times)) = owner else { continue };
                        if *o != j {
                            continue;
                        }
                        // coordinate(i) = s + times * (i - lo)
                        let first = axis.lo as isize;
                        let low = (inner_axis.lo as isize - s + times - 1).div_euclid(*times);
                        let high = (inner_axis.hi as isize - s + times - 1).div_euclid(*times);
                        let lo = (first + low).max(first);
                        let hi = (first + high).min(axis.hi as isize);
                        if lo >= hi {
                            return None;
                        }
                        // The offset below assumes the first valid position is the old one.
                        (axis.lo, axis.hi) = (lo as usize, hi as usize);
                    }
                }
                _ => return None,
            }
        }
        // `offset` is the element of the old first valid position; go back to position zero.
        for (axis, old) in axes.iter().zip(&self.axes) {
            offset -= axis.stride * old.lo as isize;
        }
        Some(Access { axes, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn positions(shape: &[usize]) -> Vec<Vec<usize>> {
        let mut all = vec![vec![]];
        for &n in shape {
            all = all
                .into_iter()
                .flat_map(|p: Vec<usize>| {
                    (0..n).map(move |i| p.iter().copied().chain([i]).collect())
                })
                .collect();
        }
        all
    }

    fn random_axis() -> impl Strategy<Value = (usize, usize, usize, u8)> {
        (1usize..4, 0usize..2, 0usize..2, 0u8..4)
    }

    proptest! {
        /// Reading through two maps equals reading through their composition.
        #[test]
        fn composition_is_reading_twice(
            inner in proptest::collection::vec(random_axis(), 1..4),
            outer in proptest::collection::vec(random_axis(), 1..4),
            split in any::<bool>(),
        ) {
            // The inner map: pads and broadcasts over a dense buffer, axes reversed when `split`.
            let sizes: Vec<usize> = inner.iter().map(|a| a.0).collect();
            let mut access = Access::dense(&sizes);
            for (axis, (size, before, after, kind)) in access.axes.iter_mut().zip(&inner) {
                if *kind == 0 {
                    axis.stride = 0;
                } else if *kind == 1 {
                    access.offset -= axis.stride * *before as isize;
                    *axis = Axis { size: size + before + after, stride: axis.stride, lo: *before, hi: before + size };
                }
            }
            if split {
                access.axes.reverse();
            }
            let shape = access.shape();
            let total: usize = shape.iter().product();
            // The outer map: a reshape of the dense tensor when it fits, else slices of it.
            let mut reading = Access::dense(&shape);
            if split && shape.len() > 1 {
                reading = Access::dense(&[total]);
            }
            for (axis, (_, before, after, kind)) in reading.axes.iter_mut().zip(&outer) {
                if *kind == 2 && axis.size > 1 {
                    reading.offset += axis.stride;
                    *axis = Axis::new(axis.size - 1, axis.stride);
                } else if *kind == 3 {
                    reading.offset -= axis.stride * *before as isize;
                    *axis = Axis { size: axis.size + before + after, stride: axis.stride, lo: *before, hi: before + axis.size };
                }
            }
            let Some(both) = reading.compose(&shape, &access) else { return Ok(()) };
            let dense = dense_strides(&shape);
            for position in positions(&reading.shape()) {
                let twice = reading.element(&position).and_then(|element| {
                    let mut rest = element;
                    let middle: Vec<usize> = dense.iter().map(|s| { let i = rest / s; rest %= s; i as usize }).collect();
                    access.element(&middle)
                });
                prop_assert_eq!(both.element(&position), twice);
            }
        }
    }

    #[test]
    fn heads_read_through_a_copy_stay_affine() {
        // [batch 2, seq 3, heads 2, dim 4] permuted to [batch, heads, seq, dim], copied, read as is.
        let permuted = Access::dense(&[2, 3, 2, 4]).permuted(&[0, 2, 1, 3]);
        let read = Access::dense(&[2, 2, 3, 4]);
        let both = read.compose(&[2, 2, 3, 4], &permuted).expect("affine");
        assert_eq!(both, permuted);
        // Read back as [batch, heads * seq, dim]: heads and seq do not merge.
        assert!(Access::dense(&[2, 6, 4])
            .compose(&[2, 2, 3, 4], &permuted)
            .is_none());
    }
}
