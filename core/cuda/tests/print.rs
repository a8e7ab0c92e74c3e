//! Kernels as text, and whether a compiler takes them.

mod model;

use ablate_compiler::{compile, compile_with};
use ablate_cuda::print::{print, Argument, KernelSource, Printed, PRELUDE};
use ablate_cuda::Precision;
use ablate_graph::Graph;
use ablate_soft_cuda::installed;
use cudarc::nvrtc::{compile_ptx_with_opts, CompileOptions};
use std::collections::BTreeMap;

fn printed(graph: &Graph) -> Printed {
    print(&compile(&graph.lower().expect("lowers")).expect("compiles"))
}

fn only(graph: &Graph) -> Vec<KernelSource> {
    printed(graph).kernels().cloned().collect()
}

fn snapshot(kernels: &[KernelSource]) -> String {
    let one = |k: &KernelSource| {
        format!(
            "{}: grid {:?}, block {:?}, {} bytes moved, {} operations, arguments {:?}\n{}",
            k.name, k.grid, k.block, k.bytes_moved, k.flops, k.arguments, k.body
        )
    };
    kernels.iter().map(one).collect::<Vec<_>>().join("\n")
}

#[test]
fn softmax_with_dropout_is_one_kernel_of_a_warp_a_row() {
    let mut g = Graph::new();
    let x = g.input("x", &[64, 128]).unwrap();
    let p = g.softmax(&x, 1).unwrap();
    let p = g.dropout(&p, 0.1, "attention").unwrap();
    g.output("p", &p).unwrap();
    insta::assert_snapshot!(snapshot(&only(&g)));
}

#[test]
fn layer_norm_with_its_gradient_is_a_block_a_row_and_a_fold() {
    let mut g = Graph::new();
    let x = g.parameter("x", &[4096, 768]).unwrap();
    let gamma = g.parameter("gamma", &[768]).unwrap();
    let beta = g.parameter("beta", &[768]).unwrap();
    let y = g.layer_norm(&x, &gamma, &beta, 1e-5).unwrap();
    let squares = g.square(&y).unwrap();
    let loss = g.sum_all(&squares).unwrap();
    let gradients = g.gradients(&loss, &[x, gamma, beta]).unwrap();
    for (i, gradient) in gradients.iter().enumerate() {
        g.output(&format!("gradient{i}"), gradient).unwrap();
    }
    let kernels = only(&g);
    let is_scratch = |a: &Argument| matches!(a, Argument::Scratch(_));
    let folded = kernels
        .into_iter()
        .filter(|k| k.arguments.iter().any(is_scratch));
    let shown: Vec<KernelSource> = folded.collect();
    insta::assert_snapshot!(snapshot(&shown));
}

/// The sum goes on in single precision and, rounded, into the product; the hyperbolic tangent reads and writes halves, eight at
/// once.
#[test]
fn rounded_activations_are_read_and_written_as_vectors() {
    let mut g = Graph::new();
    let x = g.input("x", &[64, 128]).unwrap();
    let w = g.parameter("w", &[128, 128]).unwrap();
    let x = g.add(&x, &x).unwrap();
    let h = g.linear(&x, &w, None).unwrap();
    let h = g.tanh(&h).unwrap();
    let y = g.linear(&h, &w, None).unwrap();
    let y = g.add(&y, &x).unwrap();
    g.output("y", &y).unwrap();
    let lowered = g.lower().unwrap();
    let printed = print(&compile_with(&lowered, Precision::Bf16).unwrap());
    let kernels: Vec<KernelSource> = printed.kernels().cloned().collect();
    insta::assert_snapshot!(snapshot(&kernels));
}

#[test]
fn equal_layers_share_their_kernels() {
    let count = |layers: usize| {
        let case = model::bert(model::Sizes {
            layers,
            ..model::EVEN
        })
        .unwrap();
        let printed = printed(&case.graph);
        let entries: BTreeMap<_, _> = printed.kernels().map(|k| (k.entry.clone(), ())).collect();
        entries.len()
    };
    assert_eq!(count(3), count(4));
}

#[test]
fn every_kernel_of_a_bert_step_compiles() {
    let Some(soft) = installed() else { return };
    soft.load();
    for sizes in [model::EVEN, model::ODD] {
        let printed = printed(&model::bert(sizes).unwrap().graph);
        let bodies: BTreeMap<&str, &str> = printed
            .kernels()
            .map(|k| (k.entry.as_str(), k.body.as_str()))
            .collect();
        let text: Vec<&str> = bodies.values().copied().collect();
        let source = format!("{PRELUDE}\n{}", text.join("\n"));
        let options = CompileOptions {
            arch: Some("sm_80"),
            ..CompileOptions::default()
        };
        compile_ptx_with_opts(&source, options).unwrap_or_else(|e| panic!("{e}\n{source}"));
    }
}
