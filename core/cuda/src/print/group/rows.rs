//! The kernel that has whole rows: a block takes some rows of one block of the group, by all columns.

use super::super::row::Tile;
use super::super::{About, KernelSource};
use super::make::{self, MakeShape};
use super::plan::{Part, Plan};
use super::sum::{self, SumShape};
use super::writer::{Axis, Writer, PAD, VECTOR};
use super::{places, tiles, Frame};

/// Rows of a tile, as many as fit.
const ROWS: [usize; 3] = [32, 16, 8];
/// Threads for each row of a tile.
const THREADS_A_ROW: usize = 8;
/// Shared memory that a block takes beside its own (CUDA C++ Programming Guide, compute capability 8.x).
const RESERVED_BYTES: usize = 1 << 10;

/// The shapes of a kernel's products.
struct Shapes<'a> {
    plan: &'a Plan,
    rows: usize,
}

impl Shapes<'_> {
    fn threads(&self) -> usize {
        self.rows * THREADS_A_ROW
    }

    /// Elements from row to row of a tile.
    fn pitch(&self) -> usize {
        self.plan.cols.next_multiple_of(VECTOR) + PAD
    }

    /// A thread has eight rows of four columns where that does not make the tile wider than the matrix is, else
    /// four.
    fn make(&self) -> MakeShape {
        let down = if self.plan.cols > 32 * VECTOR { 2 } else { 1 };
        MakeShape {
            threads: self.threads(),
            rows: self.rows,
            across: self.threads() * down * VECTOR / self.rows,
            down,
            pitch: self.pitch(),
            first_column: "",
            cols: self.plan.cols,
        }
    }

    fn sum(&self, width: usize) -> SumShape {
        SumShape::new(self.threads(), self.rows, width, self.pitch())
    }

    fn staged(&self, parts: &[Part]) -> usize {
        let of = |part: &Part| match part {
            Part::Make(_) => self.make().shared(),
            Part::AlongRows(sum) | Part::AlongColumns(sum) => self.sum(sum.width).shared(),
            Part::Rows(_) => 0,
        };
        parts.iter().map(of).max().unwrap_or(0)
    }
}

/// Prints the kernel; nothing if not even few rows fit.
pub fn print(
    plan: &Plan,
    parts: &[Part],
    about: &About,
    shared_bytes: u32,
) -> Option<KernelSource> {
    let places = places(plan, parts);
    let frame = |rows: usize| {
        let shapes = Shapes { plan, rows };
        Frame {
            kind: "rows",
            blocks: plan.blocks * plan.rows.div_ceil(rows),
            threads: shapes.threads(),
            side_by_side: 1,
            tile: rows * shapes.pitch(),
            tiles: places.len(),
            staged: shapes.staged(parts),
            head: head(plan, rows),
        }
    };
    // Rather two blocks side by side than one of more rows.
    let room = shared_bytes as usize;
    let half = (room / 2).saturating_sub(RESERVED_BYTES);
    let fits = |most: usize| {
        let mut rows = ROWS.into_iter();
        rows.find(move |rows| frame(*rows).shared_bytes() <= most)
    };
    let rows = fits(half).or_else(|| fits(room))?;
    let shapes = Shapes { plan, rows };
    let names = tiles(plan, &places);
    let tile = Tile {
        names: names.clone(),
        start: format!("r * {}", shapes.pitch()),
        segment: None,
        threads: shapes.threads(),
    };
    let mut w = Writer::default();
    let cut = !plan.rows.is_multiple_of(rows);
    for part in parts {
        match part {
            Part::Make(make) => {
                let axis = Axis::new(rows, plan.rows, "first");
                let to = &names[&make.tile];
                make::make(&mut w, make, &shapes.make(), to, axis, plan.cols);
            }
            Part::Rows(kernel) => w.rows(kernel, about, &tile),
            Part::AlongRows(sum) => {
                let (shape, from) = (shapes.sum(sum.width), &names[&sum.tile]);
                let count = cut.then_some("count");
                sum::along_rows(&mut w, sum, &shape, from, plan.cols, count);
            }
            Part::AlongColumns(_) => {}
        }
    }
    let mut frame = frame(rows);
    frame.side_by_side += usize::from(frame.shared_bytes() <= half);
    i32::try_from(frame.blocks).ok()?;
    Some(frame.finish(plan, parts, about, w))
}

/// Which rows a block has.
fn head(plan: &Plan, rows: usize) -> Vec<String> {
    let (all, tiles) = (plan.rows, plan.rows.div_ceil(rows));
    let count = match all.is_multiple_of(rows) {
        true => rows.to_string(),
        false => format!("{all} - first < {rows} ? {all} - first : {rows}"),
    };
    vec![
        format!("const Index batch = blockIdx.x / {tiles}, first = blockIdx.x % {tiles} * {rows};"),
        format!("const int count = {count};"),
        format!("const Index first_row = batch * {all} + first;"),
    ]
}
