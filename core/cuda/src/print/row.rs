//! A row kernel as CUDA C.
//!
//! A team of threads takes a row through the kernel's loops: each makes the values of its columns, adds
//! them up for the reductions that the next loop waits for, and stores what is final. Values that wait
//! from loop to loop stay in registers; where a row is too long for that, each loop makes them again.

mod frame;
mod loops;
mod printer;

use super::analysis::{is_element, Analysis};
use super::fold::{self, Part};
use super::shape::{can_cut, Shape};
use super::{About, Argument, Kernels};
use ablate_compiler::access::Axis;
use ablate_compiler::ir::Reduction;
use ablate_compiler::program::{Instr, RowKernel, Span, TileAccess};
use printer::Printer;

/// Prints a kernel: one launch, or two where partial results are folded.
pub fn print(kernel: &RowKernel, about: &About) -> Kernels {
    let kernel = &unflattened(kernel);
    let reductions = Analysis::new(kernel, true);
    if can_cut(kernel, &reductions) {
        return cut(kernel, &reductions, about);
    }
    let analysis = Analysis::new(kernel, false);
    let shape = Shape::new(kernel, &analysis, about);
    let mut printer = Printer::new(kernel, &analysis, &shape, about);
    let mut parts = vec![];
    let mut scratch = 0;
    for acc in &kernel.accumulates {
        let width = if acc.full { kernel.cols } else { 1 };
        let to = match shape.row_teams {
            1 => Argument::Buffer(acc.buffer),
            _ => Argument::Scratch(scratch * size_of::<f32>()),
        };
        printer.partials.push(to.clone());
        if shape.row_teams > 1 {
            parts.push(Part {
                from: to,
                to: Argument::Buffer(acc.buffer),
                width,
                op: acc.op,
            });
            scratch += (width * shape.row_teams).next_multiple_of(32);
        }
    }
    let mut kernels = vec![printer.finish()];
    if !parts.is_empty() {
        kernels.push(fold::print(&parts, shape.row_teams, about));
    }
    Kernels { kernels, scratch }
}

/// Work without rows has been laid out as one column; threads walk along columns, so it is turned back.
fn unflattened(kernel: &RowKernel) -> RowKernel {
    let mut kernel = kernel.clone();
    let reduces = kernel.instrs.iter().any(|i| matches!(i, Instr::Reduce(..)));
    if kernel.cols != 1 || kernel.rows == 1 || reduces || !kernel.accumulates.is_empty() {
        return kernel;
    }
    for (instr, span) in kernel.instrs.iter_mut().zip(&mut kernel.spans) {
        if let Instr::Load { access, .. } = instr {
            access.cols = std::mem::take(&mut access.rows);
        }
        if *span != Span::Scalar {
            *span = Span::Full;
        }
    }
    kernel.stores.iter_mut().for_each(|s| s.full = true);
    (kernel.rows, kernel.cols) = (1, kernel.rows);
    kernel
}

/// Few rows, each so long that many blocks reduce it: one kernel for segments, one for the rest.
fn cut(kernel: &RowKernel, analysis: &Analysis, about: &About) -> Kernels {
    let shape = Shape::cut(kernel, about);
    let mut first = Printer::new(kernel, analysis, &shape, about);
    let mut rest = RowKernel {
        rows: kernel.rows,
        cols: shape.segments,
        instrs: kernel.instrs.clone(),
        spans: kernel.spans.clone(),
        stores: kernel.stores.clone(),
        accumulates: vec![],
    };
    let mut scratch = 0;
    let mut loads = vec![];
    for (id, instr) in kernel.instrs.iter().enumerate() {
        let Instr::Reduce(op, x) = instr else {
            continue;
        };
        if !is_element(kernel, *x) {
            continue;
        }
        first
            .cut
            .push((id, Argument::Scratch(scratch * size_of::<f32>())));
        // A buffer behind those of the program stands for the partial results.
        let load = Instr::Load {
            buffer: about.buffers.len() + scratch,
            access: TileAccess {
                rows: vec![Axis::new(kernel.rows, shape.segments as isize)],
                cols: vec![Axis::new(shape.segments, 1)],
                offset: 0,
            },
        };
        loads.push((id, *op, load));
        scratch += (kernel.rows * shape.segments).next_multiple_of(32);
    }
    // The reductions now read what the first kernel left.
    let moved = loads.len();
    let mut instrs: Vec<Instr> = loads.iter().map(|l| l.2.clone()).collect();
    let mut spans = vec![Span::Full; moved];
    for (id, instr) in rest.instrs.iter().enumerate() {
        let partial = loads.iter().position(|l| l.0 == id);
        instrs.push(match (instr, partial) {
            (_, Some(load)) => Instr::Reduce(loads[load].1, load),
            (Instr::Unary(op, x), _) => Instr::Unary(*op, x + moved),
            (Instr::Binary(op, x, y), _) => Instr::Binary(*op, x + moved, y + moved),
            (Instr::Reduce(op, x), _) => Instr::Reduce(*op, x + moved),
            (other, _) => other.clone(),
        });
        spans.push(rest.spans[id]);
    }
    (rest.instrs, rest.spans) = (instrs, spans);
    rest.stores.iter_mut().for_each(|s| s.value += moved);
    let first = first.finish();
    let analysis = Analysis::new(&rest, false);
    let shape = Shape::new(&rest, &analysis, about);
    let mut second = Printer::new(&rest, &analysis, &shape, about);
    // A sum over the columns of what is one number a row counts the columns of the whole kernel.
    second.width = kernel.cols;
    Kernels {
        kernels: vec![first, second.finish()],
        scratch,
    }
}

/// What a reduction begins with.
pub(super) fn start(op: Reduction) -> &'static str {
    match op {
        Reduction::Sum => "0.0f",
        Reduction::Max => "lowest()",
    }
}

/// Elementwise operations and additions.
fn flops(kernel: &RowKernel) -> u64 {
    let of = |span: Span| match span {
        Span::Scalar => 1,
        Span::Column => kernel.cols,
        Span::Row => kernel.rows,
        Span::Full => kernel.rows * kernel.cols,
    };
    let instrs = kernel.instrs.iter().enumerate().map(|(id, i)| match i {
        Instr::Unary(..) | Instr::Binary(..) => of(kernel.spans[id]),
        Instr::Reduce(_, x) => of(kernel.spans[*x]),
        _ => 0,
    });
    let accumulated = kernel.accumulates.iter().map(|a| of(kernel.spans[a.value]));
    instrs.chain(accumulated).sum::<usize>() as u64
}
