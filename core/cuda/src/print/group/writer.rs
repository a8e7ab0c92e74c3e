//! The text of a group's kernel in the making.
//!
//! Owns: names of buffers and streams, and copies from a buffer to shared memory. Must not know: what a group is.

use super::super::row::{self, Names, Tile};
use super::super::About;
use super::plan::Matrix;
use ablate_compiler::program::RowKernel;
use std::fmt::Write as _;

/// Elements of a vector.
pub const VECTOR: usize = 4;
/// Elements that lie behind a line in shared memory, so that lines begin at other banks.
pub const PAD: usize = VECTOR;

/// Text with the names that it uses.
#[derive(Default)]
pub struct Writer {
    /// Names of buffers and streams.
    pub names: Names,
    /// The lines so far.
    pub out: String,
    depth: usize,
}

/// One axis of a piece that is copied to shared memory.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Positions in shared memory.
    pub count: usize,
    /// Positions of the whole axis in the buffer.
    pub size: usize,
    /// The first of the piece's positions, as C; empty for zero.
    pub first: String,
    /// Whether the axis ends inside of some piece.
    pub ends: bool,
}

impl Axis {
    /// An axis that is cut into pieces of `count` positions.
    pub fn new(count: usize, size: usize, first: impl Into<String>) -> Self {
        Axis {
            count,
            size,
            first: first.into(),
            ends: !size.is_multiple_of(count),
        }
    }
}

/// A piece of a matrix and where it goes: `to[inner * pitch + outer]`.
pub struct Piece<'a> {
    /// The matrix.
    pub from: &'a Matrix,
    /// C name of the index of its first element in this block.
    pub base: &'a str,
    /// The axis along which shared memory lies: 0 or 1.
    pub along: usize,
    /// Both axes of the piece.
    pub axes: [Axis; 2],
    /// C name of the shared memory.
    pub to: &'a str,
    /// Elements from line to line there, a multiple of [`VECTOR`].
    pub pitch: usize,
}

impl Writer {
    /// Appends a line.
    pub fn line(&mut self, text: impl AsRef<str>) {
        let text = text.as_ref();
        if text.starts_with('}') {
            self.depth -= 1;
        }
        let indent = if text.starts_with('#') {
            0
        } else {
            self.depth + 1
        };
        let _ = writeln!(self.out, "{}{text}", "  ".repeat(indent));
        if text.ends_with('{') {
            self.depth += 1;
        }
    }

    /// Appends a loop without a counter of its own at run time.
    pub fn unrolled(&mut self, name: char, count: usize) {
        self.line("#pragma unroll");
        self.line(format!(
            "for (int {name} = 0; {name} < {count}; {name}++) {{"
        ));
    }

    /// Closes braces.
    pub fn close(&mut self, count: usize) {
        (0..count).for_each(|_| self.line("}"));
    }

    /// Appends a row kernel on tiles.
    pub fn rows(&mut self, kernel: &RowKernel, about: &About, tile: &Tile) {
        let depth = self.depth + 1;
        self.out += &row::on_tile(kernel, about, tile, &mut self.names, depth);
    }

    /// Where a matrix of block `batch` begins, as C.
    pub fn start(matrix: &Matrix) -> String {
        let mut inner: usize = matrix.batch.iter().map(|(size, _)| size).product();
        let total = inner;
        let mut terms = vec![];
        if matrix.offset != 0 {
            terms.push(matrix.offset.to_string());
        }
        for (size, stride) in &matrix.batch {
            let outermost = size * (inner / size) == total;
            inner /= size;
            if *size == 1 || *stride == 0 {
                continue;
            }
            let digit = match (outermost, inner) {
                (true, 1) => "batch".to_string(),
                (true, _) => format!("batch / {inner}"),
                (false, 1) => format!("batch % {size}"),
                (false, _) => format!("batch / {inner} % {size}"),
            };
            terms.push(format!("{digit} * {stride}"));
        }
        match terms.is_empty() {
            true => "0".into(),
            false => terms.join(" + "),
        }
    }

    /// Copies a piece to shared memory, zeros where the matrix has ended. All `threads` of the block take part.
    pub fn copy(&mut self, piece: &Piece, threads: usize) {
        let name = self.names.buffer(piece.from.buffer);
        let [i, j] = [piece.along, 1 - piece.along];
        let (outer, inner) = (&piece.axes[i], &piece.axes[j]);
        let (to, pitch) = (piece.to, piece.pitch);
        let vector = [i, j].into_iter().find(|axis| {
            is_vector(piece.from, *axis, piece.axes[*axis].size)
                && piece.axes[*axis].count.is_multiple_of(VECTOR)
        });
        // The axis that lies together in the buffer is the one that neighbouring threads walk along.
        let stride = |axis: usize| piece.from.strides[axis].unsigned_abs();
        let fast = vector.unwrap_or(if stride(j) < stride(i) { j } else { i });
        let width = if vector.is_some() { VECTOR } else { 1 };
        let runs = piece.axes[fast].count / width;
        let total = runs * piece.axes[1 - fast].count;
        self.line(format!(
            "for (int t = threadIdx.x; t < {total}; t += {threads}) {{"
        ));
        let scale = match width {
            1 => String::new(),
            _ => format!(" * {width}"),
        };
        let (o, n) = if fast == i { ("o", "n") } else { ("n", "o") };
        self.line(format!(
            "const Index {o} = t % {runs}{scale}, {n} = t / {runs};"
        ));
        let position = |axis: &Axis, digit: &str| match axis.first.is_empty() {
            true => digit.to_string(),
            false => format!("({} + {digit})", axis.first),
        };
        let (at_outer, at_inner) = (position(outer, "o"), position(inner, "n"));
        let mut guards = vec![];
        for (axis, at) in [(outer, &at_outer), (inner, &at_inner)] {
            if axis.ends {
                guards.push(format!("{at} < {}", axis.size));
            }
        }
        let guard = guards.join(" && ");
        let term = |at: &str, stride: isize| match stride {
            1 => at.to_string(),
            _ => format!("{at} * {stride}"),
        };
        let from = format!(
            "{name} + {} + {} + {}",
            piece.base,
            term(&at_outer, piece.from.strides[i]),
            term(&at_inner, piece.from.strides[j])
        );
        self.line(format!("float v[{width}] = {{}};"));
        let load = format!("load(v, {from});");
        self.line(match guard.is_empty() {
            true => load,
            false => format!("if ({guard}) {load}"),
        });
        match (width, fast == i) {
            (1, _) => self.line(format!("{to}[n * {pitch} + o] = v[0];")),
            (_, true) => self.line(format!("store({to} + n * {pitch} + o, v);")),
            (_, false) => {
                self.unrolled('j', VECTOR);
                self.line(format!("{to}[(n + j) * {pitch} + o] = v[j];"));
                self.line("}");
            }
        }
        self.line("}");
    }
}

/// True when positions of an axis lie together in fours, each aligned to its size.
pub fn is_vector(matrix: &Matrix, axis: usize, size: usize) -> bool {
    let whole = |stride: isize| stride % VECTOR as isize == 0;
    matrix.strides[axis] == 1
        && size.is_multiple_of(VECTOR)
        && whole(matrix.strides[1 - axis])
        && whole(matrix.offset)
        && matrix.batch.iter().all(|(size, s)| *size == 1 || whole(*s))
}
