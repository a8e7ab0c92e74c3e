//! A row kernel on a tile in shared memory: a warp, or a part of one, takes a row of the tile.
//!
//! Owns: which threads take which row, and how local buffers are named. Must not know: what else the kernel around
//! it does. The text is that of the row printer; only where local buffers lie is another place.

use super::super::analysis::Analysis;
use super::super::shape::Shape;
use super::super::About;
use super::printer::Printer;
use ablate_compiler::program::{BufferId, RowKernel};
use std::collections::BTreeMap;

/// Names that the parts of a kernel share.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Buffers: parameter `b0`, `b1` and so on.
    pub buffers: Vec<BufferId>,
    /// Random streams: parameter `s0`, its key `k0`.
    pub streams: Vec<String>,
}

impl Names {
    /// The C name of a buffer, which becomes a parameter.
    pub fn buffer(&mut self, id: BufferId) -> String {
        let number = self.buffers.iter().position(|b| *b == id);
        let number = number.unwrap_or_else(|| {
            self.buffers.push(id);
            self.buffers.len() - 1
        });
        format!("b{number}")
    }
}

/// Where the tiles of local buffers are.
#[derive(Clone, Debug)]
pub struct Tile {
    /// C names of the tiles.
    pub names: BTreeMap<BufferId, String>,
    /// Where column 0 of row `r` of a tile is, as C. It may lie before the tile, if that holds a segment.
    pub start: String,
    /// Columns of a segment, of which this is number `segment`; nothing if the tile has all columns.
    pub segment: Option<usize>,
    /// Threads of the block.
    pub threads: usize,
}

/// Prints a kernel for the rows `0..count` of a tile whose first is row `first_row` of all. Without a segment rows may
/// be reduced.
pub fn on_tile(
    kernel: &RowKernel,
    about: &About,
    tile: &Tile,
    names: &mut Names,
    depth: usize,
) -> String {
    let analysis = Analysis::new(kernel, false);
    let shape = Shape::tile(kernel, &analysis, tile, about);
    let mut printer = Printer::new(kernel, &analysis, &shape, about);
    printer.tile = Some(tile);
    printer.depth = depth;
    printer.buffers = std::mem::take(&mut names.buffers);
    printer.streams = std::mem::take(&mut names.streams);
    // What was made before is read, and what is overwritten has been read.
    printer.line("__syncthreads();");
    printer.line("{");
    printer.scalars();
    let (lanes, teams) = (shape.lanes, shape.teams());
    printer.line(format!("const int lane = threadIdx.x % {lanes};"));
    printer.line(format!(
        "for (int r = threadIdx.x / {lanes}; r < count; r += {teams}) {{"
    ));
    printer.line("const Index row = first_row + r;");
    printer.one_row();
    printer.line("}");
    printer.line("}");
    names.buffers = printer.buffers;
    names.streams = printer.streams;
    printer.out
}
