//! Look-ups by index and their transpose.

use crate::memory::Shared;
use crate::pool::Pool;
use crate::strided::{columns, row_start};
use ablate_compiler::program::TileAccess;

/// Parts that the classes of a scatter are cut into, whatever the number of threads.
const PARTS: usize = 16;

fn size(axes: &[ablate_compiler::access::Axis]) -> usize {
    axes.iter().map(|a| a.size).product()
}

/// The class of a row, or `None` if the number is no class.
///
/// # Safety
/// `index` is valid for everything that the map reaches.
unsafe fn class(index: Shared, access: &TileAccess, row: usize, classes: usize) -> Option<usize> {
    let start = row_start(access, row)?;
    // SAFETY: the caller's promise.
    let value = unsafe { *index.add(start) };
    // A number that no class equals selects nothing, exactly as the one-hot product does.
    (value >= 0.0 && value < classes as f32 && value.fract() == 0.0).then_some(value as usize)
}

/// `out[row, inner] = table[index[row], inner]`
///
/// # Safety
/// The pointers are valid for everything that the maps reach; `out` for `rows * inner` writes.
#[allow(clippy::too_many_arguments)] // the fields of one kernel
pub unsafe fn gather(
    pool: &Pool,
    table: Shared,
    table_access: &TileAccess,
    class_stride: isize,
    classes: usize,
    index: Shared,
    index_access: &TileAccess,
    out: Shared,
) {
    let (rows, width) = (size(&index_access.rows), size(&table_access.cols));
    let chunks = (rows * width).div_ceil(1 << 15).clamp(1, rows.max(1));
    pool.each(chunks, |chunk| {
        for row in rows * chunk / chunks..rows * (chunk + 1) / chunks {
            // SAFETY: the caller's promise; rows of the result are disjoint.
            unsafe {
                let to = out.add((row * width) as isize);
                let class = class(index, index_access, row, classes);
                match class.and_then(|c| Some((c, row_start(table_access, row)?))) {
                    Some((class, start)) => {
                        let start = start + class as isize * class_stride;
                        columns(table.add(0).cast_const(), start, &table_access.cols, to);
                    }
                    None => std::slice::from_raw_parts_mut(to, width).fill(0.0),
                }
            }
        }
    });
}

/// `out[class, inner] = sum over rows with index[row] == class of value[row, inner]`
///
/// Rows are added in order, so that the sum does not depend on the number of threads.
///
/// # Safety
/// The pointers are valid for everything that the maps reach; `out` for `classes * inner` writes.
pub unsafe fn scatter_add(
    pool: &Pool,
    value: Shared,
    value_access: &TileAccess,
    index: Shared,
    index_access: &TileAccess,
    classes: usize,
    out: Shared,
) {
    let (rows, width) = (size(&index_access.rows), size(&value_access.cols));
    let parts = PARTS.min(classes);
    pool.each(parts, |part| {
        let (from, to) = (classes * part / parts, classes * (part + 1) / parts);
        // SAFETY: the caller's promise; the parts of the classes are disjoint.
        unsafe {
            let start = out.add((from * width) as isize);
            std::slice::from_raw_parts_mut(start, (to - from) * width).fill(0.0);
            for row in 0..rows {
                let Some(class) = class(index, index_access, row, classes) else {
                    continue;
                };
                if class < from || class >= to {
                    continue;
                }
                let Some(first) = row_start(value_access, row) else {
                    continue;
                };
                let sum = std::slice::from_raw_parts_mut(out.add((class * width) as isize), width);
                match &value_access.cols[..] {
                    [axis] if axis.stride == 1 && !axis.is_guarded() => {
                        let x = std::slice::from_raw_parts(value.add(first), width);
                        sum.iter_mut().zip(x).for_each(|(s, x)| *s += x);
                    }
                    axes => add_strided(value.add(0).cast_const(), first, axes, sum),
                }
            }
        }
    });
}

/// # Safety
/// `source` is valid for every element that the axes reach from `start`.
unsafe fn add_strided(
    source: *const f32,
    start: isize,
    axes: &[ablate_compiler::access::Axis],
    sum: &mut [f32],
) {
    let Some((axis, rest)) = axes.split_first() else {
        if let Some(first) = sum.first_mut() {
            // SAFETY: the caller's promise.
            *first += unsafe { *source.offset(start) };
        }
        return;
    };
    let width = sum.len() / axis.size;
    for i in axis.lo..axis.hi {
        let part = &mut sum[i * width..(i + 1) * width];
        // SAFETY: the caller's promise.
        unsafe { add_strided(source, start + axis.stride * i as isize, rest, part) };
    }
}
