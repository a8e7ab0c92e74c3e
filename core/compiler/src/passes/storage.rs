//! Pass `storage`: which buffers hold bfloat16 numbers.
//!
//! Owns the rule, which is that of mixed precision as users of PyTorch's autocast know it. Results of
//! matrix products are stored rounded, and so is what only matrix products read, as they round their
//! operands anyway. Everything else stays single precision: sums and what is one number a row or column,
//! values that a layer norm makes for a residual, losses, outputs, states (parameters, gradients,
//! optimizer slots) and what is fed.
//!
//! Must not know: how a device rounds. Source: Micikevicius et al., "Mixed precision training", ICLR
//! 2018, arXiv:1710.03740.

use crate::program::{BufferId, Kernel, Place, Program, Storage, LONGEST_ROUNDED_SUM};

/// Smaller buffers are not worth rounding.
const LARGE: usize = 1 << 12;

/// How a buffer is used.
#[derive(Clone, Copy, Default)]
struct Use {
    /// Writers whose result may be rounded.
    products: usize,
    /// Writers of one number a row and column.
    rows: usize,
    /// Readers.
    by_products: usize,
    by_rows: usize,
    /// Other readers and writers.
    others: usize,
}

/// Runs the pass: marks buffers of the arena.
pub fn run(program: &mut Program) {
    let mut uses = vec![Use::default(); program.buffers.len()];
    for step in &program.steps {
        match &step.kernel {
            Kernel::Gemm {
                gemm,
                a,
                b,
                c,
                bias,
                sums,
            } => {
                uses[*a].by_products += 1;
                uses[*b].by_products += 1;
                bias.iter().chain(sums).for_each(|b| uses[*b].others += 1);
                match gemm.k.size <= LONGEST_ROUNDED_SUM {
                    true => uses[*c].products += 1,
                    false => uses[*c].others += 1,
                }
            }
            Kernel::Row(kernel) => {
                step.kernel
                    .reads()
                    .iter()
                    .for_each(|b| uses[*b].by_rows += 1);
                for store in &kernel.stores {
                    // With one column, one number a row is the whole grid.
                    match store.full || kernel.cols == 1 {
                        true => uses[store.buffer].rows += 1,
                        false => uses[store.buffer].others += 1,
                    }
                }
                let sums = kernel.accumulates.iter();
                sums.for_each(|a| uses[a.buffer].others += 1);
            }
            other => {
                let used = other.reads().into_iter().chain(other.writes());
                used.for_each(|b| uses[b].others += 1);
            }
        }
    }
    let outputs: Vec<BufferId> = program.outputs.iter().map(|o| o.1).collect();
    for (id, (buffer, used)) in program.buffers.iter_mut().zip(uses).enumerate() {
        let in_arena = matches!(buffer.place, Place::Arena { .. });
        let product = used.products == 1 && used.rows == 0;
        let operand = used.rows == 1 && used.products == 0 && used.by_rows == 0;
        let read = used.by_products + used.by_rows > 0;
        if in_arena
            && buffer.len >= LARGE
            && (product || operand)
            && read
            && used.others == 0
            && !outputs.contains(&id)
        {
            buffer.storage = Storage::Bf16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Buffer;
    use ablate_graph::Graph;

    /// GELU of a product, read by another one; the first product's result is read by row kernels only.
    fn graph() -> Graph {
        let mut g = Graph::new();
        let x = g.input("x", &[64, 64]).expect("fits");
        let up = g.parameter("up", &[128, 64]).expect("fits");
        let down = g.parameter("down", &[64, 128]).expect("fits");
        let h = g.linear(&x, &up, None).expect("fits");
        let h = g.gelu(&h).expect("fits");
        let y = g.linear(&h, &down, None).expect("fits");
        let y = g.add(&y, &x).expect("fits");
        let z = g.linear(&y, &up, None).expect("fits");
        g.output("y", &y).expect("new");
        g.output("z", &z).expect("new");
        g
    }

    #[test]
    fn products_and_their_operands_are_rounded_and_nothing_else() {
        let lowered = graph().lower().expect("lowers");
        let program = crate::compile_with(&lowered, Storage::Bf16).expect("compiles");
        let rounded = |b: &BufferId| program.buffers[*b].storage == Storage::Bf16;
        let written: Vec<bool> = program
            .steps
            .iter()
            .flat_map(|s| s.kernel.writes())
            .map(|b| rounded(&b))
            .collect();
        // The first product, its GELU and the second product; not the sum, nor the output.
        assert_eq!(written, [true, true, true, false, false], "{program}");
        for buffer in &program.buffers {
            let arena = matches!(buffer.place, Place::Arena { .. });
            assert!(arena || buffer.storage == Storage::F32, "{program}");
        }
    }

    #[test]
    fn single_precision_is_the_default_and_takes_more_room() {
        let lowered = graph().lower().expect("lowers");
        let single = crate::compile(&lowered).expect("compiles");
        let half = crate::compile_with(&lowered, Storage::Bf16).expect("compiles");
        assert!(single.buffers.iter().all(|b| b.storage == Storage::F32));
        // Kernels are the same but for what is written in place.
        assert_eq!(half.counts(), single.counts());
        let words = |p: &Program| -> usize { p.buffers.iter().map(Buffer::words).sum() };
        assert!(words(&half) < words(&single), "{half}");
    }
}
