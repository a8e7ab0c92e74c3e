//! How many launches an encoder layer is.

mod model;

use ablate_compiler::compile;
use ablate_cuda::print::{print, Work};
use ablate_graph::ir::Phase;

/// Launches of a step of a BERT in training, with dropout: kernels, matrix products, calls of the library for
/// these.
fn launches(sizes: model::Sizes, layers: usize, phase: Phase) -> [usize; 3] {
    let sizes = model::Sizes { layers, ..sizes };
    let case = model::bert(sizes).expect("builds");
    let program = compile(&case.graph.lower().expect("lowers")).expect("compiles");
    let mut found = [0; 3];
    for (step, work) in program.steps.iter().zip(print(&program).steps) {
        if step.phase != phase {
            continue;
        }
        match work {
            Work::Kernels(kernels) => found[0] += kernels.len(),
            Work::Product(product) => {
                found[1] += 1;
                found[2] += product.offsets.len();
            }
            // A copy is a launch too.
            Work::Copy(..) => found[0] += 1,
        }
    }
    found
}

/// `core/PERFORMANCE.md` holds these numbers against stock luminal_cuda and PyTorch.
#[test]
fn launches_of_an_encoder_layer() {
    let long = model::Sizes {
        seq: 32,
        ..model::EVEN
    };
    for sizes in [long, model::EVEN, model::ODD] {
        let (seq, heads) = (sizes.seq, sizes.heads);
        println!("one encoder layer, {seq} tokens, {heads} heads  kernels  products  calls");
        // Attention is one kernel forward and two backward, if its scores are larger than queries and keys. Else
        // scores are kept for the backward. The products that are left run over batch and heads; cuBLAS takes
        // one of them in a call, so that each of these is a call for every head (or example, if these are fewer).
        let (forward, backward) = match seq {
            32 => ([7, 6, 6], [14, 12, 12]),
            _ => ([7, 8, 6 + 2 * heads], [14, 13, 12 + heads]),
        };
        for (phase, expected) in [(Phase::Forward, forward), (Phase::Backward, backward)] {
            let (two, three) = (launches(sizes, 2, phase), launches(sizes, 3, phase));
            let layer = [0, 1, 2].map(|i| three[i] - two[i]);
            println!("{phase:?}: {layer:?}");
            assert_eq!(layer, expected, "{phase:?}");
        }
    }
}
