//! The bias of a product that the library does not add: the row kernel that it was before.

use super::{row, About, KernelSource};
use ablate_compiler::access::Axis;
use ablate_compiler::ir::Binary;
use ablate_compiler::program::{BufferId, Instr, RowKernel, Span, Store, TileAccess};

/// Prints the kernel that adds a number a column to a buffer of rows with `cols` columns.
pub fn print(cols: usize, to: BufferId, bias: BufferId, about: &About) -> Option<KernelSource> {
    let len = about.buffers.get(to)?.len;
    let rows = len / cols;
    let load = |buffer, step| Instr::Load {
        buffer,
        access: TileAccess {
            rows: vec![Axis::new(rows, step)],
            cols: vec![Axis::new(cols, 1)],
            offset: 0,
        },
    };
    let kernel = RowKernel {
        rows,
        cols,
        instrs: vec![
            load(to, cols as isize),
            load(bias, 0),
            Instr::Binary(Binary::Add, 0, 1),
        ],
        spans: vec![Span::Full, Span::Column, Span::Full],
        stores: vec![Store {
            value: 2,
            buffer: to,
            full: true,
            in_place: true,
        }],
        accumulates: vec![],
    };
    let about = About {
        scope: about.scope.clone(),
        // What it reads, and the result once more.
        bytes: ((2 * len + cols) * size_of::<f32>()) as u64,
        ..*about
    };
    row::print(&kernel, &about).kernels.pop()
}
