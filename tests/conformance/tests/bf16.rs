//! Activations stored as bfloat16: near the truth, and the same bits whoever computes them.

use ablate_compiler::program::Storage;
use ablate_compiler::{compile_with, Backend};
use ablate_conformance::{cases, check_norms, check_same_bits, Case};
use ablate_cpu::{CpuBackend, Precision};
use ablate_graph::GraphError;

type Build = fn(&mut Case) -> Result<(), GraphError>;

/// Graphs whose activations are large enough to be stored rounded.
const LARGE: &[(&str, Build)] = &[
    ("attention", attention),
    ("classes", classes),
    ("odd rows", odd_rows),
];

fn all() -> impl Iterator<Item = (&'static str, Build)> {
    let again = cases::CASES
        .iter()
        .filter(|c| c.0 == "made again in the backward");
    LARGE.iter().chain(again).copied()
}

fn backend(threads: usize) -> CpuBackend {
    let backend = CpuBackend::new(threads).expect("threads can be started");
    backend.with_precision(Precision::Bf16)
}

fn attention(case: &mut Case) -> Result<(), GraphError> {
    let (batch, seq, heads, dim) = (4, 24, 3, 16);
    let hidden = heads * dim;
    let x = case.input("x", &[batch, seq, hidden])?;
    let mut parts = vec![];
    for name in ["q", "k", "v"] {
        let w = case.parameter(name, &[hidden, hidden])?;
        let b = case.parameter(&format!("{name}.bias"), &[hidden])?;
        let w = case.graph.mul_scalar(&w, 0.3)?;
        let y = case.graph.linear(&x, &w, Some(&b))?;
        let y = case.graph.reshape(&y, &[batch, seq, heads, dim])?;
        parts.push(case.graph.permute(&y, &[0, 2, 1, 3])?);
    }
    let g = &mut case.graph;
    let s = g.matmul_t(&parts[0], &parts[1])?;
    let s = g.mul_scalar(&s, 0.25)?;
    let p = g.softmax(&s, 3)?;
    let p = g.dropout(&p, 0.2, "attention")?;
    let y = g.matmul(&p, &parts[2])?;
    let y = g.permute(&y, &[0, 2, 1, 3])?;
    let y = g.reshape(&y, &[batch, seq, hidden])?;
    let w = case.parameter("o", &[hidden, hidden])?;
    let y = case.graph.linear(&y, &w, None)?;
    let y = case.graph.tanh(&y)?;
    case.output(&y)?;
    let loss = case.graph.sum_all(&y)?;
    case.gradients(&loss)
}

/// Cross-entropy over logits that are stored rounded, with a table that is looked up and multiplied with.
fn classes(case: &mut Case) -> Result<(), GraphError> {
    let (rows, vocab, hidden) = (48, 131, 20);
    let table = case.parameter("table", &[vocab, hidden])?;
    let ids = case.index("ids", &[rows], vocab)?;
    let labels = case.index("labels", &[rows], vocab)?;
    let mix = case.parameter("mix", &[hidden, hidden])?;
    let g = &mut case.graph;
    let x = g.gather(&table, &ids)?;
    let x = g.matmul(&x, &mix)?;
    let logits = g.matmul_t(&x, &table)?;
    let logs = g.log_softmax(&logits, 1)?;
    let picked = g.take_along(&logs, &labels)?;
    let loss = g.sum_all(&picked)?;
    case.output(&loss)?;
    case.gradients(&loss)
}

/// Rows that end within a vector, read turned and whole.
fn odd_rows(case: &mut Case) -> Result<(), GraphError> {
    let x = case.input("x", &[75, 40])?;
    let up = case.parameter("up", &[77, 40])?;
    let down = case.parameter("down", &[75, 33])?;
    let g = &mut case.graph;
    let h = g.linear(&x, &up, None)?;
    let h = g.gelu(&h)?;
    let turned = g.transpose(&h, 0, 1)?;
    let p = g.softmax(&turned, 1)?;
    let y = g.matmul(&p, &down)?;
    case.output(&y)?;
    let squares = case.graph.square(&y)?;
    let total = case.graph.sum_all(&squares)?;
    case.output(&total)?;
    case.gradients(&total)
}

#[test]
fn every_case_stores_rounded_activations() {
    for (name, build) in all() {
        let case = cases::build(build).expect("builds");
        let lowered = case.graph.lower().expect("lowers");
        let program = compile_with(&lowered, Storage::Bf16).expect("compiles");
        let rounded = program
            .buffers
            .iter()
            .filter(|b| b.storage == Storage::Bf16);
        assert!(rounded.count() >= 2, "{name}: {program}");
    }
}

/// Numbers are rounded by up to 2^-9 of themselves wherever they are stored or multiplied.
#[test]
fn rounded_activations_stay_near() {
    for backend in [
        backend(1),
        backend(2),
        backend(1).avx2(),
        backend(1).portable(),
        backend(2).interpreted(),
        backend(2).with_emulated_amx(),
        backend(1).portable().with_emulated_amx(),
    ] {
        for (name, build) in all() {
            let case = cases::build(build).unwrap_or_else(|e| panic!("{name}: {e}"));
            check_norms(&backend, case, 2e-2)
                .unwrap_or_else(|e| panic!("{name}, {}: {e}", backend.description()));
        }
    }
}

#[test]
fn threads_and_machine_code_change_no_bit() {
    for (name, build) in all() {
        for other in [
            backend(2),
            backend(1).interpreted(),
            backend(2).interpreted(),
        ] {
            check_same_bits(&backend(1), &other, || cases::build(build))
                .unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        let tiles = |threads| backend(threads).with_emulated_amx();
        for other in [tiles(2), tiles(2).interpreted()] {
            check_same_bits(&tiles(1), &other, || cases::build(build))
                .unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}
