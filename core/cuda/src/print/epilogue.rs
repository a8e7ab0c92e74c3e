//! What a product does beside multiplying, for libraries that do not do it: the row kernels that it was before.

use super::library::Epilogue;
use super::{row, About, Kernels};
use ablate_compiler::access::Axis;
use ablate_compiler::ir::{Binary, Reduction};
use ablate_compiler::program::{Accumulate, BufferId, Instr, RowKernel, Span, Store, TileAccess};

/// Prints the kernels of an epilogue of a product whose left operand and result, of `cols` columns, these are.
pub fn print(epilogue: Epilogue, a: BufferId, c: BufferId, cols: usize, about: &About) -> Kernels {
    let (on, vector) = match epilogue {
        Epilogue::Bias(bias) => (c, bias),
        Epilogue::Sums(sums) => (a, sums),
    };
    // Both are buffers of the program.
    let len = about.buffers.get(on).map_or(0, |buffer| buffer.len);
    let (rows, result) = match epilogue {
        Epilogue::Bias(_) => (len / cols, len),
        Epilogue::Sums(_) => (len / cols, 0),
    };
    let load = |buffer, step| Instr::Load {
        buffer,
        access: TileAccess {
            rows: vec![Axis::new(rows, step)],
            cols: vec![Axis::new(cols, 1)],
            offset: 0,
        },
    };
    let whole = load(on, cols as isize);
    let mut kernel = RowKernel {
        rows,
        cols,
        instrs: vec![whole],
        spans: vec![Span::Full],
        ..RowKernel::default()
    };
    match epilogue {
        Epilogue::Bias(bias) => {
            kernel.instrs.push(load(bias, 0));
            kernel.instrs.push(Instr::Binary(Binary::Add, 0, 1));
            kernel.spans.extend([Span::Column, Span::Full]);
            kernel.stores.push(Store {
                value: 2,
                buffer: c,
                full: true,
                in_place: true,
            });
        }
        Epilogue::Sums(_) => kernel.accumulates.push(Accumulate {
            value: 0,
            op: Reduction::Sum,
            buffer: vector,
            full: true,
        }),
    }
    let about = About {
        scope: about.scope.clone(),
        bytes: ((len + cols + result) * size_of::<f32>()) as u64,
        ..*about
    };
    row::print(&kernel, &about)
}
