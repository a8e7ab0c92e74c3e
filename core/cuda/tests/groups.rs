//! Groups of steps as fused kernels on the software CUDA device: the numbers are those of an evaluation in f64, in
//! all shapes, and do not depend on the order of threads.

use ablate_compiler::{compile, Backend, Program};
use ablate_conformance::{check, Case};
use ablate_cuda::print::{print, print_with, Groups, Printed};
use ablate_cuda::CudaBackend;
use ablate_graph::{GraphError, RandomKey};
use ablate_soft_cuda::{installed, is_child, rerun, test_name};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// What is made of the scores.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Weights {
    /// Probabilities with dropout, of scores with a bias for each example and key.
    Dropout,
    /// The same without dropout.
    Softmax,
    /// Squares of what is above zero, by a fed number for each query and key: nothing is reduced.
    Gated,
    /// The scores themselves.
    Scores,
    /// Probabilities, which are read back too.
    ReadBack,
}

/// `queries` of an example attend to `keys` of it; `[batch, heads, queries, keys]`.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    /// Columns of a head in queries and keys.
    head: usize,
    /// Columns of a head in values.
    value: usize,
    weights: Weights,
}

/// Attention with the sum of its weighted contexts as loss and every gradient.
fn attention(s: Sizes) -> Result<Case, GraphError> {
    let mut case = Case::default();
    let hidden = 6;
    let from = case.parameter("from", &[s.batch, s.queries, hidden])?;
    let to = case.parameter("to", &[s.batch, s.keys, hidden])?;
    let mut heads = |name: &str, x, seq: usize, columns: usize| {
        let w = case.parameter(name, &[s.heads * columns, hidden])?;
        let g = &mut case.graph;
        let y = g.linear(x, &w, None)?;
        let y = g.reshape(&y, &[s.batch, seq, s.heads, columns])?;
        g.permute(&y, &[0, 2, 1, 3])
    };
    let query = heads("query", &from, s.queries, s.head)?;
    let key = heads("key", &to, s.keys, s.head)?;
    let value = heads("value", &to, s.keys, s.value)?;
    let shape = [s.batch, s.heads, s.queries, s.keys];
    let bias = case.input("bias", &[s.batch, 1, 1, s.keys])?;
    let gate = case.input("gate", &[s.queries, s.keys])?;
    let g = &mut case.graph;
    let scores = g.matmul_t(&query, &key)?;
    let weights = match s.weights {
        Weights::Scores => scores,
        Weights::Gated => {
            let x = g.relu(&scores)?;
            let x = g.square(&x)?;
            let gate = g.expand(&gate, &shape)?;
            g.mul(&x, &gate)?
        }
        Weights::Dropout | Weights::Softmax | Weights::ReadBack => {
            let bias = g.expand(&bias, &shape)?;
            let x = g.add(&scores, &bias)?;
            let x = g.softmax(&x, 3)?;
            match s.weights {
                Weights::Dropout => g.dropout(&x, 0.3, "probabilities")?,
                _ => x,
            }
        }
    };
    let context = g.matmul(&weights, &value)?;
    let context = g.permute(&context, &[0, 2, 1, 3])?;
    let context = g.reshape(&context, &[s.batch, s.queries, s.heads * s.value])?;
    let out = case.parameter("out", &[5, s.heads * s.value])?;
    let g = &mut case.graph;
    let y = g.linear(&context, &out, None)?;
    let y = g.square(&y)?;
    let loss = g.sum_all(&y)?;
    if s.weights == Weights::ReadBack {
        case.output(&weights)?;
    }
    case.output(&loss)?;
    case.gradients(&loss)?;
    Ok(case)
}

fn program(sizes: Sizes) -> Program {
    let case = attention(sizes).expect("builds");
    compile(&case.graph.lower().expect("lowers")).expect("compiles")
}

/// The backend on the software device, or nothing where there is none.
fn backend() -> Option<CudaBackend> {
    let soft = installed()?;
    soft.load();
    let backend = CudaBackend::new().expect("the software device is there");
    Some(
        backend
            .with_cache(Some(soft.images()))
            .expect("NVRTC is there"),
    )
}

/// As the backbone of a model has it.
const PLAIN: Sizes = Sizes {
    batch: 2,
    heads: 2,
    queries: 40,
    keys: 40,
    head: 8,
    value: 8,
    weights: Weights::Dropout,
};

/// Several tiles of rows and of columns, both cut short, and nothing a multiple of four.
const ODD: Sizes = Sizes {
    batch: 2,
    heads: 3,
    queries: 71,
    keys: 133,
    head: 9,
    value: 7,
    weights: Weights::Dropout,
};

#[test]
fn attention_is_three_kernels_and_its_scores_are_not_in_memory() {
    let program = program(PLAIN);
    let printed = print(&program);
    assert_eq!(printed.groups.len(), 2, "{program}");
    let kernels: Vec<_> = printed
        .kernels()
        .filter(|k| k.dynamic_shared_bytes > 0)
        .collect();
    let names: Vec<&str> = kernels.iter().map(|k| k.name.as_str()).collect();
    assert_eq!(names, ["rows 4x40x40", "rows 4x40x40", "columns 4x40x40"]);
    assert_eq!(printed.arena_len, program.arena_len_in_blocks);
    assert!(printed.arena_len < program.arena_len);
    // No kernel is given what is local.
    let local = |b: usize| {
        let mut locals = program.groups.iter().flat_map(|g| &g.locals);
        locals.any(|l| l.buffer == b)
    };
    for argument in printed.kernels().flat_map(|k| &k.arguments) {
        if let ablate_cuda::print::Argument::Buffer(b) = argument {
            assert!(!local(*b), "{program}");
        }
    }
    // What a kernel moves is far less than the scores, and what it computes is all products.
    let operand = 4 * (PLAIN.batch * PLAIN.heads * PLAIN.queries * PLAIN.head) as u64;
    let forward = kernels[0];
    assert!(
        (4 * operand..5 * operand).contains(&forward.bytes_moved),
        "{}",
        forward.bytes_moved
    );
    let product = 2 * (4 * 40 * 40 * 8) as u64;
    assert!(forward.flops > 2 * product && kernels[2].flops > 4 * product);
}

#[test]
fn a_group_that_does_not_fit_runs_step_by_step() {
    let program = program(PLAIN);
    let fused = |bytes| {
        let printed = print_with(
            &program,
            Groups::Fused {
                shared_bytes: bytes,
            },
        );
        let largest = printed.kernels().map(|k| k.dynamic_shared_bytes).max();
        assert!(largest.expect("kernels") <= bytes);
        printed
    };
    let steps = print_with(&program, Groups::Steps);
    let whole = |p: &Printed| p.arena_len == program.arena_len;
    assert!(steps.groups.is_empty() && whole(&steps));
    assert!(fused(4 << 10).groups.is_empty());
    // The forward's tile is smaller.
    let half = fused(16 << 10);
    assert!(half.groups.len() == 1 && whole(&half));
    assert_eq!(fused(64 << 10).groups.len(), 2);
}

/// Every number against an evaluation in f64, with all groups fused.
fn right(backend: &CudaBackend, sizes: Sizes, groups: usize) {
    let printed = print(&program(sizes));
    assert_eq!(
        printed.groups.len(),
        groups,
        "{sizes:?}\n{}",
        program(sizes)
    );
    let case = attention(sizes).expect("builds");
    check(backend, case, 1e-4).unwrap_or_else(|e| panic!("{sizes:?}: {e}"));
}

#[test]
fn lengths_of_real_models() {
    let Some(backend) = backend() else { return };
    let sizes = |batch, heads, seq, head| Sizes {
        batch,
        heads,
        queries: seq,
        keys: seq,
        head,
        value: head,
        weights: Weights::Dropout,
    };
    right(&backend, sizes(2, 2, 128, 32), 2);
    right(&backend, sizes(1, 2, 200, 64), 2);
    right(&backend, sizes(1, 2, 512, 64), 2);
}

#[test]
fn shapes_and_weights() {
    let Some(backend) = backend() else { return };
    for weights in [
        Weights::Dropout,
        Weights::Softmax,
        Weights::Gated,
        Weights::Scores,
        Weights::ReadBack,
    ] {
        right(&backend, Sizes { weights, ..ODD }, 2);
        right(&backend, Sizes { weights, ..PLAIN }, 2);
    }
    // Heads that no block sums at once.
    right(&backend, Sizes { value: 70, ..ODD }, 2);
    right(
        &backend,
        Sizes {
            value: 160,
            ..PLAIN
        },
        2,
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, rng_seed: RngSeed::Fixed(5), ..ProptestConfig::default() })]

    /// The numbers of fused groups are those of one step after the other, but for the order of sums.
    #[test]
    fn groups_have_the_numbers_of_their_steps(
        (batch, heads) in (1usize..3, 1usize..4),
        (queries, keys) in (2usize..90, 2usize..90),
        (head, value) in (1usize..20, 1usize..20),
        weights in prop_oneof![Just(Weights::Dropout), Just(Weights::Gated), Just(Weights::ReadBack)],
    ) {
        let sizes = Sizes { batch, heads, queries, keys, head, value, weights };
        let Some(fused) = backend() else { return Ok(()) };
        let (expected, found) = (runs(&fused.clone().step_by_step(), sizes), runs(&fused, sizes));
        for (number, (expected, found)) in expected.iter().zip(&found).enumerate() {
            let squares: f32 = expected.iter().map(|x| x * x).sum();
            let scale = (squares / expected.len() as f32).sqrt();
            for (a, b) in expected.iter().zip(found) {
                prop_assert!((a - b).abs() <= 1e-4 * (scale + a.abs()) + 1e-6, "{sizes:?}, {number}: {a} and {b}");
            }
        }
    }
}

/// Every output after three runs, the last of which is a replayed graph.
fn runs(backend: &CudaBackend, sizes: Sizes) -> Vec<Vec<f32>> {
    let case = attention(sizes).expect("builds");
    let names: Vec<String> = case.graph.outputs().iter().map(|o| o.0.clone()).collect();
    let mut session = backend.session().expect("a session");
    for (name, values) in &case.states {
        session.set_state(name, values).expect("a state");
    }
    let program = session.load(case.graph).expect("compiles");
    for step in 0..3 {
        let key = RandomKey { seed: 5, step };
        session.run(program, &case.feeds, key).expect("runs");
    }
    let read = |name: &String| session.output(program, name).expect("an output").to_vec();
    names.iter().map(read).collect()
}

/// Runs what tiles of many sizes have in a process with these settings, and gives a digest of all bits.
fn digest(name: &str, settings: &[(&str, &str)]) -> Option<String> {
    let finished = rerun(installed()?, name, settings);
    assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
    assert!(
        !finished.stderr.contains("soft-cuda:") && !finished.stderr.contains("AddressSanitizer"),
        "{}",
        finished.stderr
    );
    let line = finished.stdout.lines().find(|l| l.contains("digest"));
    Some(line.expect("a digest").split("digest ").nth(1)?.to_string())
}

fn print_digest() {
    let backend = backend().expect("the parent has found the device");
    let mut digest = 7u64;
    for sizes in [
        ODD,
        PLAIN,
        Sizes {
            value: 70,
            weights: Weights::Gated,
            ..ODD
        },
    ] {
        for value in runs(&backend, sizes).iter().flatten() {
            digest = (digest ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3);
        }
    }
    println!("digest {digest:x}");
}

#[test]
fn every_order_of_threads_gives_the_same_bits() {
    let name = test_name!();
    if is_child(name) {
        return print_digest();
    }
    let forward = digest(name, &[]);
    for order in ["reverse", "shuffled:1", "shuffled:2"] {
        assert_eq!(
            digest(name, &[("SOFT_CUDA_ORDER", order)]),
            forward,
            "{order}"
        );
    }
}

#[test]
fn the_address_sanitizer_finds_nothing() {
    let name = test_name!();
    if is_child(name) {
        return print_digest();
    }
    let Some(soft) = installed() else { return };
    let Some(settings) = soft.address_sanitizer() else {
        println!("SKIPPED: this compiler has no address sanitizer");
        return;
    };
    let settings: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
    digest(name, &settings);
}

/// A device with little shared memory has tiles of fewer rows; one with too little none, and the same numbers.
#[test]
fn devices_with_other_shared_memory() {
    let name = test_name!();
    if is_child(name) {
        let backend = backend().expect("the parent has found the device");
        for (queries, keys, value) in [(37, 150, 9), (21, 330, 8), (9, 1200, 4)] {
            let sizes = Sizes {
                batch: 1,
                heads: 2,
                queries,
                keys,
                head: value,
                value,
                weights: Weights::Dropout,
            };
            check(&backend, attention(sizes).expect("builds"), 1e-4)
                .unwrap_or_else(|e| panic!("{sizes:?}: {e}"));
        }
        println!("digest 0");
        return;
    }
    // 64, 99 and 227 KiB of shared memory.
    for architecture in ["75", "86", "90"] {
        digest(name, &[("SOFT_CUDA_ARCH", architecture)]);
    }
}
