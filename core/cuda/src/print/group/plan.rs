//! What a group of steps is, seen from the matrix that its blocks keep to themselves.
//!
//! Owns: which step makes the tile (rows x columns of one block), which works on it row by row, which sums it up
//! along its rows or its columns; and which groups are none of these. Must not know: CUDA, sizes of memory.

use ablate_compiler::ir::{Gemm, Level};
use ablate_compiler::program::{BufferId, Group, Instr, Kernel, Program, RowKernel};
use std::collections::{BTreeMap, BTreeSet};

/// A matrix of each block in a buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// The buffer.
    pub buffer: BufferId,
    /// First element of the first block.
    pub offset: isize,
    /// Levels of the batch, outermost first: size and stride.
    pub batch: Vec<(usize, isize)>,
    /// Elements from position to position of both axes.
    pub strides: [isize; 2],
}

/// `tile[row, column] = sum over k of left[row, k] * right[k, column]`
#[derive(Clone, Debug, PartialEq)]
pub struct Make {
    /// The local buffer.
    pub tile: BufferId,
    /// `[row, k]`
    pub left: Matrix,
    /// `[k, column]`
    pub right: Matrix,
    /// Summed positions.
    pub summed: usize,
}

/// `out[kept, n] = sum over the tile's other axis of tile * right[summed, n]`
#[derive(Clone, Debug, PartialEq)]
pub struct Sum {
    /// The local buffer.
    pub tile: BufferId,
    /// `[summed, n]`
    pub right: Matrix,
    /// `[kept, n]`
    pub out: Matrix,
    /// Positions of `n`.
    pub width: usize,
}

/// One step of a group.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// A product whose result is a tile.
    Make(Make),
    /// A row kernel on tiles.
    Rows(RowKernel),
    /// A product that sums a tile along its rows: a result for each row.
    AlongRows(Sum),
    /// A product that sums a tile along its columns: a result for each column.
    AlongColumns(Sum),
}

/// A group.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Blocks.
    pub blocks: usize,
    /// Rows of a block.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Its steps in order.
    pub parts: Vec<Part>,
    /// Local matrices with the place of each: those of one place are never needed at the same time, or are
    /// written element by element where the other was read.
    pub tiles: BTreeMap<BufferId, usize>,
    /// Local buffers of one number a row.
    pub numbers: BTreeSet<BufferId>,
}

/// Rows and columns of a result whose columns lie together.
fn shape(gemm: &Gemm) -> Option<(usize, usize)> {
    let (m, n) = (gemm.m, gemm.n);
    let lies = |rows: &Level, cols: &Level| cols.c == 1 && rows.c == cols.size as isize;
    match () {
        () if lies(&m, &n) => Some((m.size, n.size)),
        () if lies(&n, &m) => Some((n.size, m.size)),
        () => None,
    }
}

/// The operand of a product with the strides of two of its levels.
fn matrix(gemm: &Gemm, buffer: BufferId, operand: usize, axes: [&Level; 2]) -> Matrix {
    let stride = |l: &Level| [l.a, l.b, l.c][operand];
    Matrix {
        buffer,
        offset: gemm.offset.get(operand).copied().unwrap_or(0),
        batch: gemm.batch.iter().map(|l| (l.size, stride(l))).collect(),
        strides: axes.map(stride),
    }
}

impl Plan {
    /// The plan of a group; nothing for one that is of another kind.
    pub fn new(program: &Program, group: &Group) -> Option<Plan> {
        let steps = &program.steps[group.steps.clone()];
        let local = |b: BufferId| group.locals.iter().find(|l| l.buffer == b);
        // The tile is what a product makes.
        let (rows, cols) = steps.iter().find_map(|s| match &s.kernel {
            Kernel::Gemm { gemm, c, .. } if local(*c).is_some() => shape(gemm),
            _ => None,
        })?;
        if rows < 2 || cols < 2 {
            return None;
        }
        let mut plan = Plan {
            blocks: group.blocks,
            rows,
            cols,
            parts: vec![],
            tiles: BTreeMap::new(),
            numbers: BTreeSet::new(),
        };
        let offsets: BTreeSet<usize> = group.locals.iter().map(|l| l.offset).collect();
        for local in &group.locals {
            if local.len == rows * cols {
                let place = offsets.iter().position(|o| *o == local.offset)?;
                plan.tiles.insert(local.buffer, place);
            } else if local.len == rows {
                plan.numbers.insert(local.buffer);
            } else {
                return None;
            }
        }
        for step in steps {
            let part = match &step.kernel {
                Kernel::Gemm {
                    gemm,
                    a,
                    b,
                    c,
                    bias: None,
                    sums: None,
                } => plan.product(gemm, [*a, *b, *c])?,
                Kernel::Row(kernel) => plan.row(kernel)?,
                _ => return None,
            };
            plan.parts.push(part);
        }
        plan.is_apart(steps.iter().map(|s| &s.kernel))
            .then_some(plan)
    }

    fn product(&self, gemm: &Gemm, [a, b, c]: [BufferId; 3]) -> Option<Part> {
        let is_local = |x: &BufferId| self.tiles.contains_key(x) || self.numbers.contains(x);
        let tile = |x: &BufferId| self.tiles.contains_key(x);
        let (m, n, k) = (&gemm.m, &gemm.n, &gemm.k);
        match [a, b, c].each_ref().map(is_local) {
            [false, false, true] if tile(&c) && shape(gemm)? == (self.rows, self.cols) => {
                let (left, right) = match m.c == self.cols as isize {
                    true => (matrix(gemm, a, 0, [m, k]), matrix(gemm, b, 1, [k, n])),
                    // The result is written transposed: operands change sides.
                    false => (matrix(gemm, b, 1, [n, k]), matrix(gemm, a, 0, [k, m])),
                };
                Some(Part::Make(Make {
                    tile: c,
                    left,
                    right,
                    summed: k.size,
                }))
            }
            [true, false, false] if tile(&a) => {
                let sum = Sum {
                    tile: a,
                    right: matrix(gemm, b, 1, [k, n]),
                    out: matrix(gemm, c, 2, [m, n]),
                    width: n.size,
                };
                self.side(gemm.offset[0], [(m.size, m.a), (k.size, k.a)], sum)
            }
            [false, true, false] if tile(&b) => {
                let sum = Sum {
                    tile: b,
                    right: matrix(gemm, a, 0, [k, m]),
                    out: matrix(gemm, c, 2, [n, m]),
                    width: m.size,
                };
                self.side(gemm.offset[1], [(n.size, n.b), (k.size, k.b)], sum)
            }
            _ => None,
        }
    }

    /// Whether a product sums the tile along its rows or its columns; all of it.
    fn side(&self, offset: isize, [kept, summed]: [(usize, isize); 2], sum: Sum) -> Option<Part> {
        let rows = (self.rows, self.cols as isize);
        let cols = (self.cols, 1);
        match (kept, summed) {
            _ if offset != 0 => None,
            axes if axes == (rows, cols) => Some(Part::AlongRows(sum)),
            axes if axes == (cols, rows) => Some(Part::AlongColumns(sum)),
            _ => None,
        }
    }

    fn row(&self, kernel: &RowKernel) -> Option<Part> {
        let grid = (kernel.rows, kernel.cols) == (self.blocks * self.rows, self.cols);
        let stores = kernel.stores.iter().all(|s| {
            let (tile, number) = (
                self.tiles.contains_key(&s.buffer),
                self.numbers.contains(&s.buffer),
            );
            (!tile || s.full) && (!number || !s.full)
        });
        let fits = grid && stores && kernel.accumulates.is_empty();
        fits.then(|| Part::Rows(kernel.clone()))
    }

    /// True where steps hand to each other only tiles, and what row kernels make and read row by row: anything
    /// else would have to be whole before it is read.
    fn is_apart<'a>(&self, kernels: impl Iterator<Item = &'a Kernel> + Clone) -> bool {
        let rows = |k: &Kernel| matches!(k, Kernel::Row(_));
        let mut written = kernels
            .clone()
            .enumerate()
            .flat_map(|(i, k)| k.writes().into_iter().map(move |b| (i, k, b)));
        written.all(|(writer, kernel, buffer)| {
            let touches = |k: &Kernel| k.reads().contains(&buffer) || k.writes().contains(&buffer);
            let mut others = kernels.clone().enumerate().filter(|(i, _)| *i != writer);
            self.tiles.contains_key(&buffer)
                || others.all(|(_, k)| !touches(k) || rows(k) && rows(kernel))
        })
    }
}

/// Buffers that the live instructions of a kernel load.
pub fn loads<'a>(kernel: &'a RowKernel, live: &'a [bool]) -> impl Iterator<Item = BufferId> + 'a {
    let instrs = kernel.instrs.iter().zip(live).filter(|(_, live)| **live);
    instrs.filter_map(|(instr, _)| match instr {
        Instr::Load { buffer, .. } => Some(*buffer),
        _ => None,
    })
}
