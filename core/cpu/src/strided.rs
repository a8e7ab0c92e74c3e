//! Reading through an affine map into a dense tile.

use crate::bf16::Element;
use ablate_compiler::access::Axis;
use ablate_compiler::program::TileAccess;

/// The element that a row starts at, or `None` when the row reads zeros only.
#[inline]
pub fn row_start(access: &TileAccess, row: usize) -> Option<isize> {
    let mut start = access.offset;
    let mut rest = row;
    for axis in access.rows.iter().rev() {
        let i = rest % axis.size;
        rest /= axis.size;
        if i < axis.lo || i >= axis.hi {
            return None;
        }
        start += axis.stride * i as isize;
    }
    Some(start)
}

/// Copies one row's columns, which start at `start`, to `out`.
///
/// # Safety
/// `source` is valid for every element that the axes reach from `start`; `out` for as many elements
/// as the axes have positions.
pub unsafe fn columns<T: Element>(source: *const T, start: isize, axes: &[Axis], out: *mut f32) {
    match axes {
        // SAFETY: the caller's promise, here and below.
        [] => unsafe { *out = (*source.offset(start)).wide() },
        [axis] => unsafe {
            let out = std::slice::from_raw_parts_mut(out, axis.size);
            out[..axis.lo].fill(0.0);
            out[axis.hi..].fill(0.0);
            let inside = &mut out[axis.lo..axis.hi];
            let first = source.offset(start + axis.stride * axis.lo as isize);
            match axis.stride {
                1 => {
                    let from = std::slice::from_raw_parts(first, inside.len());
                    inside.iter_mut().zip(from).for_each(|(o, x)| *o = x.wide());
                }
                0 => inside.fill(if inside.is_empty() {
                    0.0
                } else {
                    (*first).wide()
                }),
                stride => {
                    for (i, o) in inside.iter_mut().enumerate() {
                        *o = (*first.offset(stride * i as isize)).wide();
                    }
                }
            }
        },
        [axis, rest @ ..] => {
            let width: usize = rest.iter().map(|a| a.size).product();
            for i in 0..axis.size {
                // SAFETY: the caller's promise.
                unsafe {
                    let out = out.add(i * width);
                    if i < axis.lo || i >= axis.hi {
                        std::slice::from_raw_parts_mut(out, width).fill(0.0);
                    } else {
                        columns(source, start + axis.stride * i as isize, rest, out);
                    }
                }
            }
        }
    }
}

/// Copies rows `first..first + rows` to `out`, `cols` elements each.
///
/// # Safety
/// `source` is valid for everything that the map reaches, `out` for `rows * cols` writes, and they
/// do not overlap.
pub unsafe fn tile<T: Element>(
    source: *const T,
    access: &TileAccess,
    first: usize,
    rows: usize,
    cols: usize,
    out: *mut f32,
) {
    for row in 0..rows {
        // SAFETY: the caller's promise.
        unsafe {
            let out = out.add(row * cols);
            match row_start(access, first + row) {
                Some(start) => columns(source, start, &access.cols, out),
                None => std::slice::from_raw_parts_mut(out, cols).fill(0.0),
            }
        }
    }
}
