//! Reading a buffer through a view.

use super::View;

/// The elements that `view` shows of `buffer`, row-major; zero in the padding.
pub(crate) fn read<T: Copy + Default>(buffer: &[T], view: &View) -> Vec<T> {
    if view.is_plain() {
        return buffer.to_vec();
    }
    let shape = view.shape();
    let strides = view.strides();
    let mut out = Vec::with_capacity(view.elements());
    let Some((last, outer)) = shape.split_last() else {
        return buffer.to_vec();
    };
    let mut at = vec![0; shape.len()];
    loop {
        row(buffer, view, &strides, &at, *last, &mut out);
        let Some(l) = (0..outer.len()).rev().find(|l| at[*l] + 1 < shape[*l]) else {
            return out;
        };
        at[l] += 1;
        at[l + 1..].fill(0);
    }
}

/// Appends the `n` elements of the last dim at the outer coordinates `at`.
fn row<T: Copy + Default>(
    buffer: &[T],
    view: &View,
    strides: &[usize],
    at: &[usize],
    n: usize,
    out: &mut Vec<T>,
) {
    let mut base = 0;
    let last = at.len() - 1;
    for l in 0..last {
        let dim = view.at(l);
        if dim.fake {
            continue;
        }
        if at[l] < dim.pad.0 || at[l] - dim.pad.0 >= dim.hi - dim.lo {
            out.extend(std::iter::repeat_n(T::default(), n));
            return;
        }
        base += (at[l] - dim.pad.0 + dim.lo) * strides[l];
    }
    let dim = view.at(last);
    if dim.fake {
        out.extend(std::iter::repeat_n(buffer[base], n));
        return;
    }
    out.extend(std::iter::repeat_n(T::default(), dim.pad.0));
    out.extend((dim.lo..dim.hi).map(|i| buffer[base + i * strides[last]]));
    out.extend(std::iter::repeat_n(T::default(), dim.pad.1));
}
