//! Pass `epilogue`: what only adds a bias to a product is done by the product, and so is its gradient.
//!
//! A linear layer's bias is added by a row kernel. Where that kernel does nothing else (query, key and value of
//! attention), it would read and write the whole result again; a product adds the bias to a sum when the sum is
//! complete. Where the kernel goes on (a GELU, a layer norm), the bias costs it nothing and stays.
//!
//! The gradient of a bias is the sum of the result's gradient over its rows. The product that makes the gradient of
//! the weight reads the same numbers in the same order, and some libraries can sum them on the side.
//!
//! Owns: which kernels those are. Must not know: how a device adds a bias.

use crate::ir::{Binary, Gemm, Reduction};
use crate::program::{BufferId, Instr, Kernel, Place, Program, RowKernel, TileAccess};

/// A row kernel that adds one number a column to a whole buffer.
struct Bias {
    /// What it is added to.
    to: BufferId,
    bias: BufferId,
    out: BufferId,
    cols: usize,
}

/// Runs the pass, before buffers have places. `kept` are buffers whose values are wanted after the run.
pub fn run(program: &mut Program, kept: &[BufferId]) {
    let mut number = 0;
    while number < program.steps.len() {
        match folded(program, number, kept) {
            Some((product, bias)) => {
                if let Kernel::Gemm { c, bias: b, .. } = &mut program.steps[product].kernel {
                    (*c, *b) = (bias.out, Some(bias.bias));
                }
                program.steps.remove(number);
            }
            None => number += 1,
        }
    }
}

/// Gives sums over rows to products that sum over the same rows, for a backend that can do both at once.
pub fn sums(program: &mut Program) {
    let mut number = 0;
    while number < program.steps.len() {
        match summed(program, number) {
            Some((product, out)) => {
                if let Kernel::Gemm { sums, .. } = &mut program.steps[product].kernel {
                    *sums = Some(out);
                }
                program.steps.remove(number);
            }
            None => number += 1,
        }
    }
}

/// The product that can make a step's sums, and where they go.
fn summed(program: &Program, number: usize) -> Option<(usize, BufferId)> {
    let Kernel::Row(kernel) = &program.steps[number].kernel else {
        return None;
    };
    let ([Instr::Load { buffer, access }], [], [sum]) = (
        &kernel.instrs[..],
        &kernel.stores[..],
        &kernel.accumulates[..],
    ) else {
        return None;
    };
    let (rows, cols) = (kernel.rows, kernel.cols);
    let whole = is_whole(access, rows, cols) && program.buffers[*buffer].len == rows * cols;
    if !whole || !sum.full || sum.op != Reduction::Sum {
        return None;
    }
    let fits = |kernel: &Kernel| match kernel {
        Kernel::Gemm {
            gemm,
            a,
            bias: None,
            sums: None,
            ..
        } => {
            let [m, k] = [gemm.m, gemm.k];
            let stored = (m.size, m.a, k.size, k.a) == (cols, 1, rows, cols as isize);
            *a == *buffer && gemm.batch.is_empty() && gemm.offset[0] == 0 && stored
        }
        _ => false,
    };
    let product = program.steps.iter().position(|s| fits(&s.kernel))?;
    // Where the product comes later, no one may want the sums before.
    let early = program.steps.get(number..product).unwrap_or_default();
    let wanted = early.iter().any(|s| s.kernel.reads().contains(&sum.buffer));
    (!wanted).then_some((product, sum.buffer))
}

/// The product that can do a step's work, with that work.
fn folded(program: &Program, number: usize, kept: &[BufferId]) -> Option<(usize, Bias)> {
    let Kernel::Row(kernel) = &program.steps[number].kernel else {
        return None;
    };
    let bias = adds(kernel)?;
    let buffers = &program.buffers;
    // A bias that is there from the start: the product comes earlier than the kernel.
    let ready = matches!(
        buffers[bias.bias].place,
        Place::State(_) | Place::Input { .. }
    );
    let whole =
        buffers[bias.to].len == kernel.rows * kernel.cols && buffers[bias.bias].len == kernel.cols;
    let reads = |s: &&crate::program::Step| s.kernel.reads().contains(&bias.to);
    if !ready
        || !whole
        || kept.contains(&bias.to)
        || program.steps.iter().filter(reads).count() != 1
    {
        return None;
    }
    let steps = program.steps[..number].iter();
    let product = steps
        .rev()
        .position(|s| s.kernel.writes().contains(&bias.to))?;
    let product = number - 1 - product;
    match &program.steps[product].kernel {
        Kernel::Gemm {
            gemm,
            bias: None,
            sums: None,
            ..
        } if columns_are(gemm, bias.cols) => Some((product, bias)),
        _ => None,
    }
}

/// What a kernel adds, if that is all that it does.
fn adds(kernel: &RowKernel) -> Option<Bias> {
    let ([first, second, Instr::Binary(Binary::Add, x, y)], [store], []) = (
        &kernel.instrs[..],
        &kernel.stores[..],
        &kernel.accumulates[..],
    ) else {
        return None;
    };
    let (
        Instr::Load {
            buffer: p,
            access: at,
        },
        Instr::Load {
            buffer: q,
            access: also,
        },
    ) = (first, second)
    else {
        return None;
    };
    let both = [(*x, *y), (*y, *x)].contains(&(0, 1));
    if !both || store.value != 2 || !store.full {
        return None;
    }
    let (rows, cols) = (kernel.rows, kernel.cols);
    let (to, bias) = match (is_whole(at, rows, cols), is_column(also, cols)) {
        (true, true) => (*p, *q),
        _ if is_whole(also, rows, cols) && is_column(at, cols) => (*q, *p),
        _ => return None,
    };
    Some(Bias {
        to,
        bias,
        out: store.buffer,
        cols,
    })
}

/// Whether an access reads a buffer of rows and columns as it lies.
fn is_whole(access: &TileAccess, rows: usize, cols: usize) -> bool {
    let axes = access.rows.iter().chain(&access.cols).copied().collect();
    let access = crate::access::Access {
        axes,
        offset: access.offset,
    };
    access.is_dense() && access.len() == rows * cols
}

/// Whether an access reads the same run of numbers in each row.
fn is_column(access: &TileAccess, cols: usize) -> bool {
    let still = access.rows.iter().all(|a| a.stride == 0 && !a.is_guarded());
    let [axis] = &access.cols[..] else {
        return false;
    };
    let run = axis.size == cols && axis.stride == 1 && !axis.is_guarded();
    still && run && cols > 1 && access.offset == 0
}

/// Whether the columns of a product's results are columns of a buffer with rows of `cols`.
fn columns_are(gemm: &Gemm, cols: usize) -> bool {
    let row = |stride: isize| stride % cols as isize == 0;
    gemm.n.size == cols
        && gemm.n.c == 1
        && (gemm.m.size == 1 || row(gemm.m.c))
        && gemm
            .batch
            .iter()
            .all(|level| level.size == 1 || row(level.c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ablate_graph::Graph;

    /// Products with a bias, and the row kernels beside them.
    fn counts(graph: &Graph) -> (usize, usize) {
        let program = crate::compile(&graph.lower().expect("lowers")).expect("compiles");
        let biased = |k: &Kernel| matches!(k, Kernel::Gemm { bias: Some(_), .. });
        let rows = |k: &Kernel| matches!(k, Kernel::Row(_));
        let count =
            |of: &dyn Fn(&Kernel) -> bool| program.steps.iter().filter(|s| of(&s.kernel)).count();
        (count(&biased), count(&rows))
    }

    fn linear(g: &mut Graph) -> ablate_graph::Tensor {
        let x = g.input("x", &[6, 8]).expect("fits");
        let w = g.parameter("w", &[5, 8]).expect("fits");
        let b = g.parameter("b", &[5]).expect("fits");
        g.linear(&x, &w, Some(&b)).expect("fits")
    }

    #[test]
    fn a_bias_and_nothing_else_is_the_products() {
        let mut g = Graph::new();
        let y = linear(&mut g);
        g.output("y", &y).expect("new");
        assert_eq!(counts(&g), (1, 0));
    }

    #[test]
    fn a_kernel_that_goes_on_keeps_its_bias() {
        let mut g = Graph::new();
        let y = linear(&mut g);
        let y = g.gelu(&y).expect("fits");
        g.output("y", &y).expect("new");
        assert_eq!(counts(&g), (0, 1));
    }

    #[test]
    fn a_product_that_is_wanted_without_its_bias_stays() {
        let mut g = Graph::new();
        let x = g.input("x", &[6, 8]).expect("fits");
        let w = g.parameter("w", &[5, 8]).expect("fits");
        let b = g.parameter("b", &[5]).expect("fits");
        let bare = g.linear(&x, &w, None).expect("fits");
        let y = g.add(&bare, &b).expect("fits");
        g.output("bare", &bare).expect("new");
        g.output("y", &y).expect("new");
        assert_eq!(counts(&g), (0, 1));
    }

    /// A layer whose result has a gradient that only products read, so that sums over it are a kernel.
    fn trained() -> Graph {
        let mut g = Graph::new();
        let x = g.input("x", &[6, 8]).expect("fits");
        let w = g.parameter("w", &[5, 8]).expect("fits");
        let b = g.parameter("b", &[5]).expect("fits");
        let v = g.parameter("v", &[4, 5]).expect("fits");
        let y = g.linear(&x, &w, Some(&b)).expect("fits");
        let z = g.linear(&y, &v, None).expect("fits");
        let z = g.square(&z).expect("fits");
        let loss = g.sum_all(&z).expect("fits");
        let gradients = g.gradients(&loss, &[w, b]).expect("differentiable");
        g.output("of w", &gradients[0]).expect("new");
        g.output("of b", &gradients[1]).expect("new");
        g
    }

    #[test]
    fn the_gradient_of_a_bias_is_made_with_that_of_its_weight_where_asked_for() {
        let lowered = trained().lower().expect("lowers");
        let count = |sums| {
            let abilities = crate::Abilities {
                sums,
                ..Default::default()
            };
            let program = crate::compile_for(&lowered, abilities).expect("compiles");
            let with = |k: &Kernel| matches!(k, Kernel::Gemm { sums: Some(_), .. });
            let found = program.steps.iter().filter(|s| with(&s.kernel)).count();
            (found, program.steps.len())
        };
        let (without, with) = (count(false), count(true));
        assert_eq!((without.0, with.0), (0, 1));
        assert_eq!(with.1, without.1 - 1);
    }

    #[test]
    fn a_bias_along_the_rows_stays() {
        let mut g = Graph::new();
        let x = g.input("x", &[6, 8]).expect("fits");
        let w = g.parameter("w", &[6, 8]).expect("fits");
        let b = g.parameter("b", &[6, 1]).expect("fits");
        let y = g.linear(&x, &w, None).expect("fits");
        let y = g.add(&y, &b).expect("fits");
        g.output("y", &y).expect("new");
        assert_eq!(counts(&g), (0, 1));
    }

    #[test]
    fn a_bias_that_is_made_by_the_program_stays() {
        let mut g = Graph::new();
        let x = g.input("x", &[6, 8]).expect("fits");
        let w = g.parameter("w", &[5, 8]).expect("fits");
        let b = g.parameter("b", &[5]).expect("fits");
        let b = g.exp(&b).expect("fits");
        let y = g.linear(&x, &w, Some(&b)).expect("fits");
        g.output("y", &y).expect("new");
        assert_eq!(counts(&g).0, 0);
    }
}
