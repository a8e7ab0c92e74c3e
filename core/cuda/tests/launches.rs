//! How many launches an encoder layer is.

mod model;

use ablate_cuda::print::{print, Work};
use ablate_cuda::{compile, Precision};
use ablate_graph::ir::Phase;

/// Launches of a step of a BERT in training, with dropout: kernels and matrix products, each of them one call
/// of the library.
fn launches(sizes: model::Sizes, layers: usize, phase: Phase) -> [usize; 2] {
    let sizes = model::Sizes { layers, ..sizes };
    let case = model::bert(sizes).expect("builds");
    let program = compile(&case.graph.lower().expect("lowers"), Precision::F32).expect("compiles");
    let mut found = [0; 2];
    for (step, work) in program.steps.iter().zip(print(&program).steps) {
        if step.phase != phase {
            continue;
        }
        match work {
            Work::Kernels(kernels) => found[0] += kernels.len(),
            Work::Product(_) => found[1] += 1,
            Work::Apart(_, kernels) => {
                found[0] += kernels.len();
                found[1] += 1;
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
        println!("one encoder layer, {seq} tokens, {heads} heads  kernels  products");
        // Attention is one kernel forward and two backward, if its scores are larger than queries and keys. Else
        // scores are kept for the backward.
        let (forward, backward) = match seq {
            32 => ([4, 6], [8, 12]),
            _ => ([4, 8], [8, 13]),
        };
        for (phase, expected) in [(Phase::Forward, forward), (Phase::Backward, backward)] {
            let (two, three) = (launches(sizes, 2, phase), launches(sizes, 3, phase));
            let layer = [0, 1].map(|i| three[i] - two[i]);
            println!("{phase:?}: {layer:?}");
            assert_eq!(layer, expected, "{phase:?}");
        }
    }
}
