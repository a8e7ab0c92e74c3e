//! How a consumer reads a producer's buffer: a compact mirror of luminal's `ShapeTracker` for
//! constant dims.
//!
//! Owns: the view algebra (permute, broadcast, slice, pad, reshape without moving data) and the
//! translation to and from `ShapeTracker`. Must not know: ops and graphs.
//!
//! luminal computes shapes of some trackers wrongly (slices cut at both ends), so shapes are always
//! computed here.

use luminal::prelude::{symbolic::Expression, ShapeTracker};

mod read;
mod reshape;

pub(crate) use read::read;

/// Dims a luminal shape tracker can hold.
pub const MAX_RANK: usize = 6;

/// One dim of a producer's buffer, or a broadcast dim, as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dim {
    /// Elements of the dim in the buffer; for a broadcast dim the size shown.
    pub size: usize,
    /// Broadcast: not in the buffer, every index reads the same element.
    pub fake: bool,
    /// First element shown.
    pub lo: usize,
    /// One past the last element shown.
    pub hi: usize,
    /// Zeros shown before and after. Never together with a slice, never on a broadcast dim.
    pub pad: (usize, usize),
}

impl Dim {
    /// A dim of the buffer, shown whole.
    pub fn real(size: usize) -> Self {
        Dim {
            size,
            fake: false,
            lo: 0,
            hi: size,
            pad: (0, 0),
        }
    }

    /// A broadcast dim.
    pub fn fake(size: usize) -> Self {
        Dim {
            fake: true,
            ..Dim::real(size)
        }
    }

    /// Size that the consumer sees.
    #[allow(clippy::len_without_is_empty)] // never empty: sizes are at least one
    pub fn len(&self) -> usize {
        self.hi - self.lo + self.pad.0 + self.pad.1
    }

    /// Neither sliced nor padded.
    pub fn is_whole(&self) -> bool {
        !self.is_sliced() && !self.is_padded()
    }

    /// Cut at one or both ends.
    pub fn is_sliced(&self) -> bool {
        self.lo != 0 || self.hi != self.size
    }

    /// Shown with zeros around it.
    pub fn is_padded(&self) -> bool {
        self.pad != (0, 0)
    }
}

/// A view of a contiguous buffer.
///
/// The real dims, in memory order, make up the buffer (row-major); `order[l]` is the position in
/// `dims` of the dim shown at logical position `l`. Every dim is shown exactly once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Dims in memory order; where broadcast dims stand among them does not matter.
    pub dims: Vec<Dim>,
    /// Logical position -> position in `dims`.
    pub order: Vec<usize>,
}

impl View {
    /// The plain row-major view of a buffer of this shape.
    pub fn contiguous(shape: &[usize]) -> Self {
        View {
            dims: shape.iter().map(|s| Dim::real(*s)).collect(),
            order: (0..shape.len()).collect(),
        }
    }

    /// Logical shape.
    pub fn shape(&self) -> Vec<usize> {
        self.order.iter().map(|p| self.dims[*p].len()).collect()
    }

    /// Number of logical dims.
    pub fn rank(&self) -> usize {
        self.order.len()
    }

    /// Elements that the consumer sees.
    pub fn elements(&self) -> usize {
        self.dims.iter().map(Dim::len).product()
    }

    /// The dim shown at logical position `axis` (`axis < rank`).
    pub fn at(&self, axis: usize) -> &Dim {
        &self.dims[self.order[axis]]
    }

    /// Element stride of each logical dim in the buffer; 0 where broadcast.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![0; self.dims.len()];
        let mut step = 1;
        for (stride, dim) in strides.iter_mut().zip(&self.dims).rev() {
            if !dim.fake {
                *stride = step;
                step *= dim.size;
            }
        }
        self.order.iter().map(|p| strides[*p]).collect()
    }

    /// Position in the buffer of the first element that is not padding.
    pub fn offset(&self) -> usize {
        let strides = self.strides();
        (0..self.rank())
            .filter(|l| !self.at(*l).fake)
            .map(|l| self.at(l).lo * strides[l])
            .sum()
    }

    /// Position in the buffer of the element at these logical coordinates; `None` in the padding.
    pub fn index(&self, at: &[usize]) -> Option<usize> {
        let mut position = 0;
        for (l, (i, stride)) in at.iter().zip(self.strides()).enumerate() {
            let dim = self.at(l);
            if dim.fake {
                continue;
            }
            let i = i.checked_sub(dim.pad.0)? + dim.lo;
            if i >= dim.hi {
                return None;
            }
            position += i * stride;
        }
        Some(position)
    }

    /// Shows the buffer as it is (up to the grouping of its dims).
    pub fn is_plain(&self) -> bool {
        self.order.iter().enumerate().all(|(l, p)| l == *p)
            && self.dims.iter().all(|d| !d.fake && d.is_whole())
    }

    /// Logical positions of the real dims in memory order, then those of the broadcast dims in
    /// logical order: a permutation that lays out what is read through this view like its buffer,
    /// with everything to sum over at the end.
    pub fn buffer_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.rank()).collect();
        // broadcast dims keep their order, since the sort is stable
        order.sort_by_key(|l| match self.at(*l).fake {
            false => self.order[*l],
            true => usize::MAX,
        });
        order
    }

    /// Plain, apart from broadcast dims.
    pub fn is_row_major(&self) -> bool {
        let real: Vec<usize> = (0..self.rank()).filter(|l| !self.at(*l).fake).collect();
        real.iter().all(|l| self.at(*l).is_whole())
            && real
                .windows(2)
                .all(|pair| self.order[pair[0]] < self.order[pair[1]])
    }

    /// Shows zeros around some dim.
    pub fn is_padded(&self) -> bool {
        self.dims.iter().any(Dim::is_padded)
    }

    /// Cuts some dim.
    pub fn is_sliced(&self) -> bool {
        self.dims.iter().any(Dim::is_sliced)
    }

    /// Repeats some dim.
    pub fn is_broadcast(&self) -> bool {
        self.dims.iter().any(|d| d.fake)
    }

    /// Sizes of the buffer's dims, in memory order.
    pub fn buffer_shape(&self) -> Vec<usize> {
        self.dims
            .iter()
            .filter(|d| !d.fake)
            .map(|d| d.size)
            .collect()
    }

    /// Logical dims in another order; `axes` is a permutation of `0..rank`.
    pub fn permute(&self, axes: &[usize]) -> Self {
        View {
            dims: self.dims.clone(),
            order: axes.iter().map(|a| self.order[*a]).collect(),
        }
    }

    /// A new broadcast dim of size `n` at logical position `axis` (`axis <= rank`).
    pub fn expand(&self, axis: usize, n: usize) -> Self {
        let mut view = self.clone();
        view.order.insert(axis, view.dims.len());
        view.dims.push(Dim::fake(n));
        view
    }

    /// Removes the dim at logical position `axis`. Keeps the meaning of the view only for a
    /// broadcast dim, or a whole dim of size one.
    pub fn drop_dim(&mut self, axis: usize) {
        let p = self.order.remove(axis);
        self.dims.remove(p);
        for o in &mut self.order {
            if *o > p {
                *o -= 1;
            }
        }
    }

    /// This view broadcast to `shape` (dims aligned at the right, size-one dims repeated), or
    /// `None` if the shapes do not fit or a dim to repeat is cut or padded.
    pub fn broadcast(&self, shape: &[usize]) -> Option<Self> {
        let missing = shape.len().checked_sub(self.rank())?;
        let mut view = self.clone();
        for (l, n) in shape[..missing].iter().enumerate() {
            view = view.expand(l, *n);
        }
        for (l, n) in shape.iter().enumerate() {
            let dim = &mut view.dims[view.order[l]];
            if dim.len() != *n {
                if dim.len() != 1 || !dim.is_whole() {
                    return None;
                }
                *dim = Dim::fake(*n);
            }
        }
        Some(view)
    }

    /// Elements `start..end` of logical dim `axis` (`start < end <= size`), or `None` if the dim is
    /// padded and the cut keeps a part of the padding.
    pub fn slice(&self, axis: usize, start: usize, end: usize) -> Option<Self> {
        let mut view = self.clone();
        let dim = &mut view.dims[view.order[axis]];
        if dim.fake {
            *dim = Dim::fake(end - start);
        } else if (start, end) != (0, dim.len()) {
            let kept = dim.hi - dim.lo;
            if start < dim.pad.0 || end > dim.pad.0 + kept {
                return None;
            }
            let first = dim.lo + start - dim.pad.0;
            dim.hi = first + (end - start);
            dim.lo = first;
            dim.pad = (0, 0);
        }
        Some(view)
    }

    /// Zeros before and after logical dim `axis`, or `None` if the dim is cut or broadcast (luminal
    /// cannot tell a cut from the padding, and repeats a broadcast dim into it).
    pub fn pad(&self, axis: usize, before: usize, after: usize) -> Option<Self> {
        let mut view = self.clone();
        let dim = &mut view.dims[view.order[axis]];
        if dim.fake || dim.is_sliced() {
            return None;
        }
        dim.pad.0 += before;
        dim.pad.1 += after;
        Some(view)
    }

    /// The luminal tracker of this view. At most [`MAX_RANK`] dims: the graph checks before.
    pub(crate) fn tracker(&self) -> ShapeTracker {
        let dims: Vec<Expression> = self.dims.iter().map(|d| d.size.into()).collect();
        let mut tracker = ShapeTracker::new(&dims);
        for (i, dim) in self.dims.iter().enumerate() {
            tracker.fake[i] = dim.fake;
            if dim.is_sliced() {
                tracker.slices[i] = (dim.lo.into(), dim.hi.into());
            }
            tracker.padding[i] = (dim.pad.0.into(), dim.pad.1.into());
        }
        tracker.indexes.copy_from_slice(&self.order);
        tracker
    }

    /// The view of a luminal tracker, or `None` if a dim of it is symbolic.
    pub(crate) fn from_tracker(tracker: &ShapeTracker) -> Option<Self> {
        let mut dims = Vec::with_capacity(tracker.dims.len());
        for i in 0..tracker.dims.len() {
            let size = tracker.dims[i].to_usize()?;
            dims.push(Dim {
                size,
                fake: tracker.fake[i],
                lo: tracker.slices[i].0.to_usize()?,
                // luminal writes "not cut" as i32::MAX
                hi: tracker.slices[i].1.to_usize()?.min(size),
                pad: (
                    tracker.padding[i].0.to_usize()?,
                    tracker.padding[i].1.to_usize()?,
                ),
            });
        }
        Some(View {
            dims,
            order: tracker.indexes.iter().copied().collect(),
        })
    }
}

/// Shape of two operands broadcast against each other (aligned at the right), or `None`.
pub(crate) fn broadcast_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |s: &[usize], l: usize| (l + s.len()).checked_sub(rank).map_or(1, |i| s[i]);
    (0..rank)
        .map(|l| match (size(a, l), size(b, l)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
