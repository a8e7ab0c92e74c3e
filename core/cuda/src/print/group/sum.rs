//! Products that sum a tile up, along its rows or its columns, as loops over shared memory.
//!
//! Every thread has a small tile of the result in registers. An element is one chain of fused multiply-adds in
//! the order of the summed positions. Owns: those loops. Must not know: what is multiplied, or which kernel asks.

use super::plan::Sum;
use super::writer::{is_vector, Axis, Piece, Writer, PAD, VECTOR};

/// Columns of a result along `n` in registers at a time at most.
const WIDEST: usize = 32 * VECTOR;

/// How threads share a product that sums a tile up.
#[derive(Clone, Debug)]
pub struct SumShape {
    /// Threads of the block.
    pub threads: usize,
    /// Results that are kept at a time: rows or columns of the tile.
    pub kept: usize,
    /// Threads side by side, each with [`VECTOR`] positions of `n`.
    pub across: usize,
    /// Kept positions of a thread.
    pub down: usize,
    /// Times `across` until all positions of `n` are done.
    pub pieces: usize,
    /// Summed positions that are in shared memory at a time.
    pub depth: usize,
    /// Elements from row to row of the tile.
    pub pitch: usize,
}

impl SumShape {
    /// The shape for a result of `kept` positions, each `width` wide.
    pub fn new(threads: usize, kept: usize, width: usize, pitch: usize) -> Self {
        let across = width.div_ceil(VECTOR).next_power_of_two();
        // No wider than leaves each thread a vector of kept positions, where there are so many.
        let across = across
            .min(WIDEST / VECTOR)
            .min((VECTOR * threads / kept).max(1));
        SumShape {
            threads,
            kept,
            across,
            down: (kept * across).div_ceil(threads),
            pieces: width.div_ceil(across * VECTOR),
            depth: if across > 16 { 16 } else { 32 },
            pitch,
        }
    }

    /// Positions of `n` at a time.
    fn width(&self) -> usize {
        self.across * VECTOR
    }

    /// Elements of shared memory for the operand.
    pub fn shared(&self) -> usize {
        self.depth * (self.width() + PAD)
    }

    /// Threads that have something to do.
    fn busy(&self) -> usize {
        self.kept.div_ceil(self.down) * self.across
    }

    /// Numbers of a thread that wait from tile to tile.
    pub fn held(&self) -> usize {
        self.pieces * self.down * VECTOR
    }

    fn copy(&self, w: &mut Writer, sum: &Sum, summed: Axis, n: &str) {
        let width = self.width();
        w.copy(
            &Piece {
                from: &sum.right,
                base: "b",
                along: 1,
                axes: [summed, Axis::new(width, sum.width, n)],
                to: "left",
                pitch: width + PAD,
            },
            self.threads,
        );
    }

    /// `sum += l * r` for all that a thread has; `l` and `r` are at hand.
    fn add(&self, w: &mut Writer, sum: &str, l: &str) {
        w.unrolled('i', self.down);
        w.unrolled('j', VECTOR);
        w.line(format!("{sum}[i][j] = fmaf({l}, r[j], {sum}[i][j]);"));
        w.close(2);
    }

    fn threads(&self, w: &mut Writer) {
        let across = self.across;
        w.line(format!(
            "const int x = threadIdx.x % {across}, y = threadIdx.x / {across} * {};",
            self.down
        ));
    }

    fn guard(&self, w: &mut Writer) -> usize {
        if self.busy() < self.threads {
            w.line(format!("if (threadIdx.x < {}) {{", self.busy()));
        }
        usize::from(self.busy() < self.threads)
    }

    /// Writes what a thread has summed; `at` is the kept position of row or column 0, `limit` what it stays below.
    fn write(&self, w: &mut Writer, sum: &Sum, from: &str, n: &str, at: &str, limit: Option<&str>) {
        let name = w.names.buffer(sum.out.buffer);
        let [kept, wide] = sum.out.strides;
        w.line(format!("const Index c = {};", Writer::start(&sum.out)));
        w.unrolled('i', self.down);
        w.line(format!("const Index p = {at} + y + i;"));
        let n = match n {
            "" => format!("x * {VECTOR}"),
            n => format!("{n} + x * {VECTOR}"),
        };
        w.line(format!("const Index n = {n};"));
        let whole = sum.width.is_multiple_of(self.width());
        let mut guards: Vec<String> = limit.iter().map(|l| format!("y + i < {l}")).collect();
        if !whole {
            guards.push(format!("n < {}", sum.width));
        }
        if !guards.is_empty() {
            w.line(format!("if ({}) {{", guards.join(" && ")));
        }
        if is_vector(&sum.out, 1, sum.width) {
            w.line(format!("store({name} + c + p * {kept} + n, {from}[i]);"));
        } else {
            w.unrolled('j', VECTOR);
            let inside = match sum.width.is_multiple_of(VECTOR) {
                true => String::new(),
                false => format!("if (n + j < {}) ", sum.width),
            };
            w.line(format!(
                "{inside}{name}[c + p * {kept} + (n + j) * {wide}] = {from}[i][j];"
            ));
            w.line("}");
        }
        w.close(1 + usize::from(!guards.is_empty()));
    }
}

/// Prints a product that sums a tile along its `cols` columns and writes the result. `first` is the tile's first
/// row, `count` how many rows there are, if some tile is cut short.
pub fn along_rows(
    w: &mut Writer,
    sum: &Sum,
    shape: &SumShape,
    tile: &str,
    cols: usize,
    count: Option<&str>,
) {
    let SumShape {
        down, depth, pitch, ..
    } = *shape;
    let width = shape.width();
    w.line("{");
    w.line(format!("const Index b = {};", Writer::start(&sum.right)));
    shape.threads(w);
    let n = if shape.pieces > 1 { "piece" } else { "" };
    if shape.pieces > 1 {
        w.line(format!(
            "for (Index piece = 0; piece < {}; piece += {width}) {{",
            sum.width
        ));
    }
    w.line(format!("float sum[{down}][{VECTOR}] = {{}};"));
    w.line(format!("for (Index k = 0; k < {cols}; k += {depth}) {{"));
    w.line("__syncthreads();");
    shape.copy(w, sum, Axis::new(depth, cols, "k"), n);
    w.line("__syncthreads();");
    let guarded = shape.guard(w);
    let step = if cols.is_multiple_of(VECTOR) {
        VECTOR
    } else {
        1
    };
    let end = match cols.is_multiple_of(depth) {
        true => depth.to_string(),
        false => {
            w.line(format!(
                "const int end = {cols} - k < {depth} ? {cols} - k : {depth};"
            ));
            "end".into()
        }
    };
    w.line(format!("for (int s = 0; s < {end}; s += {step}) {{"));
    w.line(format!("float l[{down}][{step}];"));
    w.unrolled('i', down);
    w.line(format!("load(l[i], {tile} + (y + i) * {pitch} + k + s);"));
    w.line("}");
    w.unrolled('t', step);
    w.line(format!("float r[{VECTOR}];"));
    w.line(format!(
        "load(r, left + (s + t) * {} + x * {VECTOR});",
        width + PAD
    ));
    shape.add(w, "sum", "l[i][t]");
    w.close(3 + guarded);
    let guarded = shape.guard(w);
    shape.write(w, sum, "sum", n, "first", count);
    w.close(guarded + usize::from(shape.pieces > 1) + 1);
}

/// Declares what [`along_columns`] adds to.
pub fn open_columns(w: &mut Writer, shape: &SumShape, name: &str) {
    let SumShape { pieces, down, .. } = *shape;
    w.line(format!("float {name}[{pieces}][{down}][{VECTOR}] = {{}};"));
}

/// Prints a product that adds a tile, summed along its rows `first..first + count`, to `name`.
pub fn along_columns(
    w: &mut Writer,
    sum: &Sum,
    shape: &SumShape,
    name: &str,
    tile: &str,
    [rows, tile_rows]: [usize; 2],
) {
    let SumShape {
        down, depth, pitch, ..
    } = *shape;
    let width = shape.width();
    w.line("{");
    w.line(format!("const Index b = {};", Writer::start(&sum.right)));
    shape.threads(w);
    let n = if shape.pieces > 1 {
        w.line("#pragma unroll");
        w.line(format!(
            "for (int piece = 0; piece < {}; piece++) {{",
            shape.pieces
        ));
        format!("piece * {width}")
    } else {
        String::new()
    };
    w.line(format!("for (int k = 0; k < {tile_rows}; k += {depth}) {{"));
    w.line("__syncthreads();");
    let summed = Axis {
        ends: !rows.is_multiple_of(tile_rows),
        ..Axis::new(depth, rows, "(first + k)")
    };
    shape.copy(w, sum, summed, &n);
    w.line("__syncthreads();");
    let guarded = shape.guard(w);
    let end = match rows.is_multiple_of(tile_rows) {
        true => depth.to_string(),
        false => {
            // Rows behind the last one hold nothing.
            w.line(format!(
                "const int end = count - k < {depth} ? count - k : {depth};"
            ));
            "end".into()
        }
    };
    w.line(format!("for (int s = 0; s < {end}; s++) {{"));
    w.line(format!("float l[{down}], r[{VECTOR}];"));
    w.line(format!("load(l, {tile} + (k + s) * {pitch} + y);"));
    w.line(format!(
        "load(r, left + s * {} + x * {VECTOR});",
        width + PAD
    ));
    let piece = if shape.pieces > 1 { "piece" } else { "0" };
    shape.add(w, &format!("{name}[{piece}]"), "l[i]");
    w.close(2 + guarded + usize::from(shape.pieces > 1) + 1);
}

/// Writes what [`along_columns`] has summed up for the columns from `first` on; `count` of them, if some tile is cut
/// short.
pub fn close_columns(
    w: &mut Writer,
    sum: &Sum,
    shape: &SumShape,
    name: &str,
    first: &str,
    count: Option<&str>,
) {
    w.line("{");
    shape.threads(w);
    let guarded = shape.guard(w);
    let (piece, n) = match shape.pieces {
        1 => ("0", String::new()),
        pieces => {
            w.line("#pragma unroll");
            w.line(format!("for (int piece = 0; piece < {pieces}; piece++) {{"));
            ("piece", format!("piece * {}", shape.width()))
        }
    };
    shape.write(w, sum, &format!("{name}[{piece}]"), &n, first, count);
    w.close(guarded + usize::from(shape.pieces > 1) + 1);
}
