//! Stock luminal_cuda on the software CUDA device: what of the conformance suite it passes, and how many
//! launches an encoder layer costs it.

mod encoder;

use ablate_compiler::Backend;
use ablate_conformance::{cases, check};
use ablate_luminal_cuda::LuminalCudaBackend;
use ablate_soft_cuda::{installed, is_child, rerun, test_name, Counts, Library, SoftCuda};
use encoder::encoder;

/// The backend on the software device, or nothing where there is none.
fn backend() -> Option<LuminalCudaBackend> {
    installed()?.load();
    Some(LuminalCudaBackend::new().expect("the software device is there"))
}

/// What stock luminal_cuda cannot do, with a part of what it says. Its compiler takes out nodes that a
/// result still hangs on.
const FAILS: &[(&str, &str)] = &[("elementwise", "stock luminal_cuda failed to run")];

/// Sizes that one kernel for each operation, emulated, is too slow for.
const TOO_LARGE: &[&str] = &["long rows", "many rows"];

#[test]
fn the_conformance_suite() {
    let Some(backend) = backend() else { return };
    for (name, build) in cases::CASES {
        if TOO_LARGE.contains(name) {
            continue;
        }
        println!("{name}");
        let case = cases::build(*build).unwrap_or_else(|e| panic!("{name}: {e}"));
        let checked = check(&backend, case, 2e-5).map_err(|e| e.to_string());
        match FAILS.iter().find(|(fails, _)| fails == name) {
            None => assert!(checked.is_ok(), "{name}: {checked:?}"),
            Some((_, says)) => {
                let text = checked.expect_err("it passes now: take it off the list");
                assert!(text.contains(says), "{name}: {text}");
            }
        }
    }
}

/// Kernels and matrix products of one run of an encoder.
fn launches(backend: &LuminalCudaBackend, layers: usize, gradients: bool) -> (u64, u64) {
    let case = encoder(layers, gradients).expect("builds");
    let mut session = backend.session().expect("a session");
    for (name, values) in &case.states {
        session.set_state(name, values).expect("a state");
    }
    let program = session.load(case.graph).expect("compiles");
    let before = Counts::now();
    let key = ablate_graph::RandomKey { seed: 1, step: 0 };
    session.run(program, &case.feeds, key).expect("runs");
    let counts = Counts::now().since(before);
    (counts.kernels, counts.products)
}

/// The same of this project's compiler.
fn compiled(layers: usize, gradients: bool) -> (u64, u64) {
    let case = encoder(layers, gradients).expect("builds");
    let program = ablate_compiler::compile(&case.graph.lower().expect("lowers")).expect("compiles");
    let counts = program.counts();
    let products = counts.iter().filter(|((_, kind), _)| *kind == "gemm");
    let products: usize = products.map(|(_, count)| count).sum();
    let all: usize = counts.values().sum();
    ((all - products) as u64, products as u64)
}

#[test]
fn launches_of_an_encoder_layer() {
    let name = test_name!();
    // In a process of its own, for the counts are the whole device's.
    if !is_child(name) {
        let Some(soft) = installed() else { return };
        let finished = rerun(soft, name, &[]);
        print!("{}", finished.stdout);
        assert!(finished.passed, "{}", finished.stderr);
        return;
    }
    let backend = backend().expect("the parent has found the device");
    // What one more layer adds.
    let layer = |count: &dyn Fn(usize, bool) -> (u64, u64), gradients| {
        let (one, two) = (count(1, gradients), count(2, gradients));
        (two.0 - one.0, two.1 - one.1)
    };
    let stock = |layers, gradients| launches(&backend, layers, gradients);
    println!("one encoder layer         luminal_cuda             ablate");
    println!("                      kernels products   kernels products");
    // Stock finds the six linear layers, and backward their gradients by input: its patterns know
    // reductions over the last axis of two or three alone, so not attention and no gradient by weight.
    for (gradients, expected) in [(false, (82, 6)), (true, (189, 12))] {
        let (a, b) = (layer(&stock, gradients), layer(&compiled, gradients));
        let what = if gradients {
            "forward and backward"
        } else {
            "forward"
        };
        println!("{what:20} {:8} {:8} {:9} {:8}", a.0, a.1, b.0, b.1);
        assert_eq!(a, expected, "{what}");
        assert!(a.0 + a.1 > 4 * (b.0 + b.1) && a.1 < b.1, "{what}: {b:?}");
    }
}

#[test]
fn an_encoder_layer_with_every_gradient() {
    let Some(backend) = backend() else { return };
    check(&backend, encoder(1, true).expect("builds"), 5e-5).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn what_is_missing_is_named() {
    let name = test_name!();
    if is_child(name) {
        match LuminalCudaBackend::new() {
            Ok(_) => println!("says nothing."),
            Err(e) => println!("says {e}."),
        }
        return;
    }
    if installed().is_none() {
        return;
    }
    let soft = SoftCuda::install_only(&[Library::Driver]).expect("installed above");
    let finished = rerun(&soft, name, &[]);
    assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
    if finished.stdout.contains("says nothing.") {
        println!("SKIPPED: this machine has NVRTC and cuBLAS of its own");
        return;
    }
    assert!(
        finished.stdout.contains("is not there"),
        "{}",
        finished.stdout
    );
}
