//! A product that makes a tile, as loops over shared memory.
//!
//! Every thread makes a small tile of the result in registers. An element is one chain of fused multiply-adds
//! in the order of the summed positions, whoever makes it, so that all kernels have the same scores. Owns: those
//! loops. Must not know: what is multiplied, or which kernel asks.

use super::plan::Make;
use super::writer::{Axis, Piece, Writer, PAD, VECTOR};

/// Summed positions of a product that makes a tile, that are in shared memory at a time.
pub const DEPTH: usize = 8;

/// How threads share a tile that they make.
#[derive(Clone, Debug)]
pub struct MakeShape {
    /// Threads of the block.
    pub threads: usize,
    /// Rows of the tile.
    pub rows: usize,
    /// Threads side by side, each with [`VECTOR`] columns.
    pub across: usize,
    /// Vectors of rows that a thread has.
    pub down: usize,
    /// Elements from row to row of the tile.
    pub pitch: usize,
    /// The first of the tile's columns, as C; empty for zero.
    pub first_column: &'static str,
    /// Columns of the tile.
    pub cols: usize,
}

impl MakeShape {
    /// Columns that are made at a time.
    pub fn width(&self) -> usize {
        self.across * VECTOR
    }

    /// Elements of shared memory for the operands.
    pub fn shared(&self) -> usize {
        DEPTH * (self.rows + PAD + self.width() + PAD)
    }
}

/// Prints a product that makes a tile. `rows` is the axis of the tile's rows, `cols` the size of the whole matrix's
/// columns; `left` and what follows it is shared memory for operands.
pub fn make(w: &mut Writer, make: &Make, shape: &MakeShape, tile: &str, rows: Axis, cols: usize) {
    let MakeShape {
        threads,
        across,
        down,
        pitch,
        ..
    } = *shape;
    let width = shape.width();
    let (left_pitch, right_pitch) = (shape.rows + PAD, width + PAD);
    let many = shape.cols > width;
    w.line("{");
    w.line(format!(
        "const Index a = {}, b = {};",
        Writer::start(&make.left),
        Writer::start(&make.right)
    ));
    w.line(format!(
        "const int x = threadIdx.x % {across}, y = threadIdx.x / {across};"
    ));
    w.line(format!(
        "float *const right = left + {};",
        DEPTH * left_pitch
    ));
    let first = match (many, shape.first_column) {
        (true, "") => "column".to_string(),
        (true, first) => format!("{first} + column"),
        (false, first) => first.to_string(),
    };
    if many {
        w.line(format!(
            "for (Index column = 0; column < {}; column += {width}) {{",
            shape.cols
        ));
    }
    w.line(format!("float sum[{down}][{VECTOR}][{VECTOR}] = {{}};"));
    w.line(format!(
        "for (Index k = 0; k < {}; k += {DEPTH}) {{",
        make.summed
    ));
    w.line("__syncthreads();");
    let k = || Axis::new(DEPTH, make.summed, "k");
    w.copy(
        &Piece {
            from: &make.left,
            base: "a",
            along: 0,
            axes: [rows, k()],
            to: "left",
            pitch: left_pitch,
        },
        threads,
    );
    let columns = Axis {
        // The last piece of a segment may end where the matrix does.
        ends: !cols.is_multiple_of(width) || !cols.is_multiple_of(shape.cols),
        ..Axis::new(width, cols, first)
    };
    w.copy(
        &Piece {
            from: &make.right,
            base: "b",
            along: 1,
            axes: [k(), columns],
            to: "right",
            pitch: right_pitch,
        },
        threads,
    );
    w.line("__syncthreads();");
    w.unrolled('s', DEPTH);
    w.line(format!("float l[{down}][{VECTOR}], r[{VECTOR}];"));
    w.unrolled('q', down);
    w.line(format!(
        "load(l[q], left + s * {left_pitch} + (y * {down} + q) * {VECTOR});"
    ));
    w.line("}");
    w.line(format!(
        "load(r, right + s * {right_pitch} + x * {VECTOR});"
    ));
    w.unrolled('q', down);
    w.unrolled('i', VECTOR);
    w.unrolled('j', VECTOR);
    w.line("sum[q][i][j] = fmaf(l[q][i], r[j], sum[q][i][j]);");
    w.close(5);
    let column = if many { "column + " } else { "" };
    if !shape.cols.is_multiple_of(width) {
        w.line(format!("if ({column}x * {VECTOR} < {}) {{", shape.cols));
    }
    w.unrolled('q', down);
    w.unrolled('i', VECTOR);
    w.line(format!(
        "store({tile} + ((y * {down} + q) * {VECTOR} + i) * {pitch} + {column}x * {VECTOR}, sum[q][i]);"
    ));
    w.close(2);
    w.close(usize::from(!shape.cols.is_multiple_of(width)) + usize::from(many) + 1);
}
