//! Matrix products as calls of a library with column-major matrices and leading dimensions.
//!
//! Owns: how strides become transpositions, leading dimensions and strided batches. Must not know: which
//! library, which device.

use ablate_compiler::ir::{Gemm, Level};
use ablate_compiler::program::{BufferId, Storage};

/// A batch of `D = op(A) op(B)` in column-major order, as often as there are `offsets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryProduct {
    /// Buffers of the first operand, the second and the result.
    pub buffers: [BufferId; 3],
    /// How these are stored. Both operands alike, and rounded if the result is.
    pub storage: [Storage; 3],
    /// Whether the operands are transposed.
    pub transposed: [bool; 2],
    /// Rows of the result, its columns, and the length of the sums.
    pub sizes: [usize; 3],
    /// Elements from column to column of the operands and the result.
    pub leading: [usize; 3],
    /// Elements from matrix to matrix of the batch.
    pub strides: [isize; 3],
    /// Matrices of the batch.
    pub batch: usize,
    /// First elements of the operands and the result of each call.
    pub offsets: Vec<[isize; 3]>,
}

impl LibraryProduct {
    /// The types of the operands and the result in memory, for people.
    pub fn types(&self) -> [&'static str; 3] {
        self.storage.map(|storage| match storage {
            Storage::F32 => "f32",
            Storage::Bf16 => "bf16",
        })
    }
}

/// Whether a matrix of `rows` and `columns` with these strides is stored transposed, and its leading
/// dimension; nothing where neither direction is contiguous.
fn stored(rows: usize, columns: usize, strides: [isize; 2]) -> Option<(bool, usize)> {
    let leading = |run: usize, runs: usize, stride: isize| {
        let leading = if runs == 1 {
            run
        } else {
            usize::try_from(stride).ok()?
        };
        (leading >= run && i32::try_from(leading).is_ok()).then_some(leading)
    };
    let [down, across] = strides;
    if down == 1 || rows == 1 {
        if let Some(leading) = leading(rows, columns, across) {
            return Some((false, leading));
        }
    }
    if across == 1 || columns == 1 {
        return Some((true, leading(columns, rows, down)?));
    }
    None
}

/// The calls of a product, if a library can do it.
pub fn library(gemm: &Gemm, [a, b, c]: [BufferId; 3]) -> Option<LibraryProduct> {
    let (m, n, k) = (gemm.m, gemm.n, gemm.k);
    // The result's columns lie together: the library computes the transposed result of the exchanged
    // operands. Else its rows may.
    let exchanged = stored(n.size, m.size, [n.c, m.c])
        .filter(|c| !c.0)
        .and_then(|c| {
            let first = stored(n.size, k.size, [n.b, k.b])?;
            let second = stored(k.size, m.size, [k.a, m.a])?;
            Some((true, first, second, c.1))
        });
    let straight = || {
        let c = stored(m.size, n.size, [m.c, n.c]).filter(|c| !c.0)?;
        let first = stored(m.size, k.size, [m.a, k.a])?;
        let second = stored(k.size, n.size, [k.b, n.b])?;
        Some((false, first, second, c.1))
    };
    let (swap, first, second, leading) = exchanged.or_else(straight)?;
    let fits = |size: usize| i32::try_from(size).is_ok();
    if ![m.size, n.size, k.size].into_iter().all(fits) || !gemm.batch.iter().all(|l| fits(l.size)) {
        return None;
    }
    let order = |level: &Level| match swap {
        true => [level.b, level.a, level.c],
        false => [level.a, level.b, level.c],
    };
    let mut levels = gemm.batch.clone();
    let largest = (0..levels.len()).max_by_key(|i| levels[*i].size);
    let (batch, strides) = match largest {
        Some(largest) => {
            let level = levels.remove(largest);
            (level.size, order(&level))
        }
        None => (1, [0; 3]),
    };
    let [left, right] = gemm.offset;
    let mut offsets = vec![if swap {
        [right, left, 0]
    } else {
        [left, right, 0]
    }];
    for level in &levels {
        let step = order(level);
        let moved = |from: &[isize; 3], i: usize| {
            [0, 1, 2].map(|operand| from[operand] + step[operand] * i as isize)
        };
        offsets = offsets
            .iter()
            .flat_map(|from| (0..level.size).map(move |i| moved(from, i)))
            .collect();
    }
    Some(LibraryProduct {
        buffers: if swap { [b, a, c] } else { [a, b, c] },
        storage: [Storage::F32; 3],
        transposed: [first.0, second.0],
        sizes: if swap {
            [n.size, m.size, k.size]
        } else {
            [m.size, n.size, k.size]
        },
        leading: [first.1, second.1, leading],
        strides,
        batch,
        offsets,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(size: usize, a: isize, b: isize, c: isize) -> Level {
        Level { size, a, b, c }
    }

    #[test]
    fn a_row_major_product_is_the_transposed_one_of_exchanged_operands() {
        let gemm = Gemm {
            batch: vec![],
            m: level(5, 3, 0, 7),
            n: level(7, 0, 1, 1),
            k: level(3, 1, 7, 0),
            offset: [0, 2],
        };
        let found = library(&gemm, [10, 11, 12]).unwrap();
        assert_eq!(found.buffers, [11, 10, 12]);
        assert_eq!(found.transposed, [false, false]);
        assert_eq!((found.sizes, found.leading), ([7, 5, 3], [7, 3, 7]));
        assert_eq!(found.offsets, [[2, 0, 0]]);
    }

    #[test]
    fn the_outer_levels_of_a_batch_are_calls() {
        let gemm = Gemm {
            batch: vec![level(2, 600, 600, 100), level(3, 20, 20, 25)],
            m: level(5, 60, 0, 5),
            n: level(5, 0, 60, 1),
            k: level(20, 1, 1, 0),
            offset: [0, 0],
        };
        let found = library(&gemm, [0, 1, 2]).unwrap();
        assert_eq!((found.batch, found.strides), (3, [20, 20, 25]));
        assert_eq!(found.offsets, [[0, 0, 0], [600, 600, 100]]);
        assert_eq!(found.transposed, [true, false]);
    }

    #[test]
    fn a_result_that_is_contiguous_in_no_direction_is_none_of_its() {
        let gemm = Gemm {
            batch: vec![],
            m: level(5, 3, 0, 14),
            n: level(7, 0, 1, 2),
            k: level(3, 1, 7, 0),
            offset: [0, 0],
        };
        assert_eq!(library(&gemm, [0, 1, 2]), None);
    }
}
