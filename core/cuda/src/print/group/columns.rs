//! The kernel that has whole columns: a block takes some columns of one block of the group and goes through all
//! rows.

use super::super::row::Tile;
use super::super::{About, KernelSource};
use super::make::{self, MakeShape};
use super::plan::{Part, Plan};
use super::sum::{self, SumShape};
use super::writer::{Axis, Writer, PAD, VECTOR};
use super::{places, tiles, Frame};

/// Rows and columns of a tile.
const SIDE: usize = 64;
/// Threads of a block: each makes four rows of four columns.
const THREADS: usize = SIDE * SIDE / (VECTOR * VECTOR);
const PITCH: usize = SIDE + PAD;
/// Sums that a thread keeps in registers at most.
const MOST_HELD: usize = 96;

fn make_shape() -> MakeShape {
    MakeShape {
        threads: THREADS,
        rows: SIDE,
        across: SIDE / VECTOR,
        down: 1,
        pitch: PITCH,
        first_column: "first_column",
        cols: SIDE,
    }
}

fn sum_shape(width: usize) -> SumShape {
    SumShape::new(THREADS, SIDE, width, PITCH)
}

/// Prints the kernel; nothing if the sums are too wide for registers or a tile is too large.
pub fn print(
    plan: &Plan,
    parts: &[Part],
    about: &About,
    shared_bytes: u32,
) -> Option<KernelSource> {
    let Plan {
        blocks, rows, cols, ..
    } = *plan;
    let places = places(plan, parts);
    let names = tiles(plan, &places);
    let sums: Vec<_> = parts.iter().filter_map(sum).collect();
    let held: usize = sums.iter().map(|s| sum_shape(s.width).held()).sum();
    let staged = sums.iter().map(|s| sum_shape(s.width).shared());
    let segments = cols.div_ceil(SIDE);
    let frame = Frame {
        kind: "columns",
        blocks: blocks * segments,
        threads: THREADS,
        side_by_side: if held > MOST_HELD / 2 { 1 } else { 2 },
        tile: SIDE * PITCH,
        tiles: places.len(),
        staged: staged.max().unwrap_or(0).max(make_shape().shared()),
        head: vec![
            format!(
                "const Index batch = blockIdx.x / {segments}, segment = blockIdx.x % {segments};"
            ),
            format!("const Index first_column = segment * {SIDE};"),
        ],
    };
    i32::try_from(frame.blocks).ok()?;
    if held > MOST_HELD || frame.shared_bytes() > shared_bytes as usize {
        return None;
    }
    let mut w = Writer::default();
    for (number, sum) in sums.iter().enumerate() {
        sum::open_columns(&mut w, &sum_shape(sum.width), &format!("sum{number}"));
    }
    w.line(format!(
        "for (Index first = 0; first < {rows}; first += {SIDE}) {{"
    ));
    w.line(match rows.is_multiple_of(SIDE) {
        true => format!("const int count = {SIDE};"),
        false => {
            format!("const int count = {rows} - first < {SIDE} ? {rows} - first : {SIDE};")
        }
    });
    w.line(format!("const Index first_row = batch * {rows} + first;"));
    let tile = Tile {
        names: names.clone(),
        start: format!("r * {PITCH} - first_column"),
        segment: Some(SIDE),
        threads: THREADS,
    };
    let mut number = 0;
    for part in parts {
        match part {
            Part::Make(make) => {
                let axis = Axis::new(SIDE, rows, "first");
                let to = &names[&make.tile];
                make::make(&mut w, make, &make_shape(), to, axis, cols);
            }
            Part::Rows(kernel) => w.rows(kernel, about, &tile),
            Part::AlongColumns(sum) => {
                let (shape, from) = (sum_shape(sum.width), &names[&sum.tile]);
                let name = format!("sum{number}");
                sum::along_columns(&mut w, sum, &shape, &name, from, [rows, SIDE]);
                number += 1;
            }
            Part::AlongRows(_) => {}
        }
    }
    w.line("}");
    let count = (!cols.is_multiple_of(SIDE)).then(|| format!("{cols} - first_column"));
    for (number, sum) in sums.iter().enumerate() {
        let name = format!("sum{number}");
        let shape = sum_shape(sum.width);
        sum::close_columns(&mut w, sum, &shape, &name, "first_column", count.as_deref());
    }
    Some(frame.finish(plan, parts, about, w))
}

fn sum(part: &Part) -> Option<&super::plan::Sum> {
    match part {
        Part::AlongColumns(sum) => Some(sum),
        _ => None,
    }
}
