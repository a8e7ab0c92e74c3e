//! The backend on the software CUDA device: the conformance suite, BERT with every gradient, and what the
//! device is asked to do.

mod model;

use ablate_compiler::Backend;
use ablate_conformance::{cases, check, check_against_stock, check_norms, random, Case};
use ablate_cuda::print::{print, print_with, Groups};
use ablate_cuda::{CudaBackend, Precision};
use ablate_graph::RandomKey;
use ablate_soft_cuda::{installed, is_child, rerun, test_name, Counts, Library, SoftCuda};
use std::path::PathBuf;

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

#[test]
fn the_conformance_suite() {
    let Some(backend) = backend() else { return };
    for (name, build) in cases::CASES {
        println!("{name}");
        let case = cases::build(*build).unwrap_or_else(|e| panic!("{name}: {e}"));
        check(&backend, case, 2e-5).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn random_graphs() {
    let Some(backend) = backend() else { return };
    for seed in 0..8 {
        println!("seed {seed}");
        check_against_stock(&backend, || random::graph(seed, 12), 1e-4)
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn bert_with_every_gradient() {
    let Some(backend) = backend() else { return };
    for sizes in [model::EVEN, model::ODD] {
        let case = model::bert(sizes).expect("builds");
        check(&backend, case, 5e-5).unwrap_or_else(|e| panic!("{e}"));
    }
}

/// A row of a vocabulary is read again in each loop instead of being held; sums of squares of a whole tensor
/// are cut into segments.
#[test]
fn rows_that_no_block_can_hold() {
    let Some(backend) = backend() else { return };
    let mut case = Case::default();
    let (rows, cols) = (40, 16_402);
    let x = case.parameter("x", &[rows, cols]).expect("a parameter");
    let bias = case.parameter("bias", &[cols]).expect("a parameter");
    let labels = case.index("labels", &[rows], cols).expect("labels");
    let g = &mut case.graph;
    let logits = g.add(&x, &bias).expect("logits");
    let losses = g.cross_entropy(&logits, &labels, None).expect("losses");
    let loss = g.sum_all(&losses).expect("a loss");
    let squares = g.square(&bias).expect("squares");
    let norm = g.sum_all(&squares).expect("a sum");
    case.output(&norm).expect("an output");
    case.output(&loss).expect("an output");
    case.gradients(&loss).expect("gradients");
    let lowered = case.graph.lower().expect("lowers");
    let program = ablate_cuda::compile(&lowered, Precision::F32).expect("compiles");
    let printed = ablate_cuda::print::print(&program);
    // What this test is about.
    let has = |text: &str| printed.kernels().any(|k| k.body.contains(text));
    assert!(
        has("row == first_row ?") && has("const Index end = segment *"),
        "{program}"
    );
    check(&backend, case, 1e-4).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn bert_with_rounded_operands_stays_near() {
    let Some(backend) = backend() else { return };
    for (precision, tolerance) in [(Precision::Tf32, 1.5e-2), (Precision::Bf16, 6e-2)] {
        let backend = backend.clone().with_precision(precision);
        let case = model::bert(model::EVEN).expect("builds");
        check_norms(&backend, case, tolerance).unwrap_or_else(|e| panic!("{e}"));
    }
}

/// Runs `body` alone in a process with the device and these settings, because the device counts what all
/// tests of a process do and stays broken after a fault.
fn alone(name: &str, settings: &[(&str, &str)], body: impl FnOnce(&CudaBackend)) {
    if is_child(name) {
        return body(&backend().expect("the parent has found the device"));
    }
    let Some(soft) = installed() else { return };
    let finished = rerun(soft, name, settings);
    print!("{}", finished.stdout);
    assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
    assert!(
        finished.stderr.is_empty() || is_quiet(&finished.stderr),
        "{}",
        finished.stderr
    );
}

/// The device writes a line for every mistake.
fn is_quiet(stderr: &str) -> bool {
    !stderr.contains("soft-cuda:")
}

/// Outputs and gradients of a BERT step after `steps` runs with keys of their own.
fn runs(backend: &CudaBackend, steps: u64) -> Vec<Vec<f32>> {
    let case = model::bert(model::EVEN).expect("builds");
    let names: Vec<String> = case.graph.outputs().iter().map(|o| o.0.clone()).collect();
    let mut session = backend.session().expect("a session");
    for (name, values) in &case.states {
        session.set_state(name, values).expect("a state");
    }
    let program = session.load(case.graph).expect("compiles");
    for step in 0..steps {
        session
            .run(program, &case.feeds, RandomKey { seed: 5, step })
            .expect("runs");
    }
    let read = |name: &String| session.output(program, name).expect("an output").to_vec();
    names.iter().map(read).collect()
}

/// The fourth run is a replayed graph; its numbers are those of a first run with the same key.
#[test]
fn a_captured_run_follows_key_and_feeds() {
    alone(test_name!(), &[], |backend| {
        let case = model::bert(model::EVEN).expect("builds");
        let mut session = backend.session().expect("a session");
        for (name, values) in &case.states {
            session.set_state(name, values).expect("a state");
        }
        let program = session.load(case.graph).expect("compiles");
        let mut losses = vec![];
        let before = Counts::now();
        for step in [0, 1, 2, 0] {
            session
                .run(program, &case.feeds, RandomKey { seed: 5, step })
                .expect("runs");
            losses.push(session.output(program, "out1").expect("a loss")[0].to_bits());
        }
        let counts = Counts::now().since(before);
        // One run piece by piece, three replayed; each waits once, for its own loss.
        assert_eq!(counts.graphs, 3);
        assert!(counts.waits <= 2 * 4, "{counts:?}");
        assert_eq!(counts.allocations, 0);
        assert_eq!(losses[0], losses[3]);
        assert!(losses[0] != losses[1] && losses[1] != losses[2]);
        let mut feeds = case.feeds.clone();
        feeds.set("next", vec![1.0; model::EVEN.batch]);
        session
            .run(program, &feeds, RandomKey { seed: 5, step: 0 })
            .expect("runs");
        assert_ne!(
            session.output(program, "out1").expect("a loss")[0].to_bits(),
            losses[0]
        );
    });
}

/// Products of a run as the device counts them, and as the program has them.
fn calls(backend: &CudaBackend, precision: Precision, sizes: model::Sizes) -> (u64, usize) {
    let case = model::bert(sizes).expect("builds");
    let lowered = case.graph.lower().expect("lowers");
    let program = ablate_cuda::compile(&lowered, precision).expect("compiles");
    // Fused attention multiplies in single precision.
    let printed = match precision {
        Precision::F32 => print(&program),
        Precision::Tf32 | Precision::Bf16 => print_with(&program, Groups::Steps),
    };
    let mut session = backend.session().expect("a session");
    for (name, values) in &case.states {
        session.set_state(name, values).expect("a state");
    }
    let program = session.load(case.graph).expect("compiles");
    let before = Counts::now();
    session
        .run(program, &case.feeds, RandomKey { seed: 5, step: 1 })
        .expect("runs");
    session.output(program, "out1").expect("a loss");
    (
        Counts::now().since(before).products,
        printed.products().count(),
    )
}

/// Each product is one call, those of attention over all heads of all examples too; but tensor cores are given no
/// list of matrices that lie at odd places.
#[test]
fn a_product_is_one_call() {
    alone(test_name!(), &[], |backend| {
        // Eight positions to sum, and heads of five numbers.
        let odd = model::Sizes {
            seq: 8,
            ..model::ODD
        };
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            let backend = backend.clone().with_precision(precision);
            let (called, products) = calls(&backend, precision, model::EVEN);
            assert_eq!(called as usize, products, "{precision:?}");
            let (called, products) = calls(&backend, precision, odd);
            match precision {
                Precision::F32 => assert_eq!(called as usize, products),
                _ => assert!(called as usize > products, "{precision:?}: {called}"),
            }
        }
        let backend = backend.clone().with_precision(Precision::Tf32);
        let case = model::bert(odd).expect("builds");
        check_norms(&backend, case, 1.5e-2).unwrap_or_else(|e| panic!("{e}"));
    });
}

/// Loading a larger program moves the arena: what was captured before is captured anew.
#[test]
fn a_graph_does_not_outlive_its_addresses() {
    alone(test_name!(), &[], |backend| {
        let (small, large) = (model::ODD, model::EVEN);
        let build = |sizes| model::bert(sizes).expect("builds");
        let first = build(small);
        let mut session = backend.session().expect("a session");
        for (name, values) in &first.states {
            session.set_state(name, values).expect("a state");
        }
        let program = session.load(first.graph).expect("compiles");
        let key = RandomKey { seed: 5, step: 1 };
        let loss = |session: &mut Box<dyn ablate_compiler::Session>| {
            session.run(program, &first.feeds, key).expect("runs");
            session.output(program, "out1").expect("a loss")[0].to_bits()
        };
        let before = [loss(&mut session), loss(&mut session), loss(&mut session)];
        // Another model in the same session, with names that do not collide.
        let mut other = ablate_graph::Graph::new();
        let x = other
            .input("wide", &[large.vocab * 100, large.hidden * 10])
            .expect("an input");
        let y = other.softmax(&x, 1).expect("a softmax");
        let y = other.softmax(&y, 0).expect("a softmax");
        other.output("y", &y).expect("an output");
        session.load(other).expect("compiles");
        let after = [loss(&mut session), loss(&mut session), loss(&mut session)];
        assert_eq!(before, [before[0]; 3]);
        assert_eq!(after, before);
    });
}

/// No kernel depends on the order of its threads and blocks.
#[test]
fn every_order_of_threads_gives_the_same_bits() {
    let name = test_name!();
    if is_child(name) {
        let backend = backend().expect("the parent has found the device");
        let all = runs(&backend, 3);
        let bits = all.iter().flatten().map(|v| u64::from(v.to_bits()));
        println!(
            "digest {:x}",
            bits.fold(7u64, |h, v| (h ^ v).wrapping_mul(0x0100_0000_01b3))
        );
        return;
    }
    let Some(soft) = installed() else { return };
    let digest = |settings: &[(&str, &str)]| {
        let finished = rerun(soft, name, settings);
        assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
        let line = finished.stdout.lines().find(|l| l.contains("digest"));
        line.expect("a digest")
            .split("digest ")
            .nth(1)
            .expect("a digest")
            .to_string()
    };
    let forward = digest(&[]);
    for order in ["reverse", "shuffled:1", "shuffled:2"] {
        assert_eq!(digest(&[("SOFT_CUDA_ORDER", order)]), forward, "{order}");
    }
    assert_eq!(digest(&[("SOFT_CUDA_WHEN", "eager")]), forward);
}

#[test]
fn the_address_sanitizer_finds_nothing() {
    let name = test_name!();
    if is_child(name) {
        runs(&backend().expect("the parent has found the device"), 3);
        return;
    }
    let Some(soft) = installed() else { return };
    let Some(settings) = soft.address_sanitizer() else {
        println!("SKIPPED: this compiler has no address sanitizer");
        return;
    };
    let settings: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let finished = rerun(soft, name, &settings);
    assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
    assert!(
        !finished.stderr.contains("AddressSanitizer"),
        "{}",
        finished.stderr
    );
}

/// What a machine without one of the libraries is told.
#[test]
fn what_is_missing_is_named() {
    let name = test_name!();
    if is_child(name) {
        match CudaBackend::new() {
            Ok(_) => println!("says nothing."),
            Err(e) => println!("says {e}."),
        }
        return;
    }
    if installed().is_none() {
        return;
    }
    let without = [
        (vec![Library::Driver], "NVRTC is missing (libnvrtc.so.12"),
        (
            vec![Library::Driver, Library::Nvrtc],
            "cuBLAS is missing (libcublas.so.12",
        ),
    ];
    for (libraries, message) in without {
        let soft = SoftCuda::install_only(&libraries).expect("installed above");
        let finished = rerun(&soft, name, &[]);
        assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
        if finished.stdout.contains("says nothing.") {
            println!("SKIPPED: this machine has NVRTC and cuBLAS of its own");
            return;
        }
        assert!(finished.stdout.contains(message), "{}", finished.stdout);
    }
}

/// The three biases of query, key and value of each layer are cuBLASLt's, and so are their gradients.
#[test]
fn products_add_their_biases() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let name = test_name!();
    let path = trace.to_string_lossy();
    alone(name, &[("SOFT_CUDA_TRACE", &path)], |backend| {
        assert_eq!(backend.advice(), None);
        runs(backend, 1);
    });
    if is_child(name) || installed().is_none() {
        return;
    }
    let lines = std::fs::read_to_string(&trace).expect("a trace");
    for epilogue in ["bias Added", "bias GradientOfB"] {
        let found = lines.lines().filter(|l| l.contains(epilogue));
        assert_eq!(found.count(), 3 * model::EVEN.layers, "{lines}");
    }
}

/// Without cuBLASLt kernels add the biases and sum their gradients, and the backend says why.
#[test]
fn cublaslt_can_be_done_without() {
    let name = test_name!();
    if is_child(name) {
        let backend = CudaBackend::new().expect("the parent has found the device");
        let norm = |values: &Vec<f32>| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let norms: Vec<String> = runs(&backend, 3)
            .iter()
            .map(|values| format!("{:e}", norm(values).sqrt()))
            .collect();
        let advice = backend.advice().unwrap_or("none");
        println!("norms {}. advice {advice}.", norms.join(" "));
        return;
    }
    let Some(soft) = installed() else { return };
    let libraries = [Library::Driver, Library::Nvrtc, Library::Cublas];
    let without = SoftCuda::install_only(&libraries).expect("installed above");
    let said = |soft: &SoftCuda| {
        let home = soft.images().to_string_lossy().into_owned();
        let finished = rerun(soft, name, &[("XDG_CACHE_HOME", &home)]);
        assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
        assert!(is_quiet(&finished.stderr), "{}", finished.stderr);
        let line = finished.stdout.lines().find(|l| l.contains("norms "));
        let (norms, advice) = line.and_then(|l| l.split_once(". advice ")).expect("both");
        let norms = norms.split("norms ").nth(1).expect("norms").split(' ');
        let norms: Vec<f64> = norms.map(|n| n.parse().expect("a number")).collect();
        (norms, advice.to_string())
    };
    let (with, none) = said(soft);
    let (norms, advice) = said(&without);
    assert_eq!(none, "none.");
    if advice == "none." {
        println!("SKIPPED: this machine has a cuBLASLt of its own");
        return;
    }
    assert!(
        advice.starts_with("cuBLASLt is missing (libcublasLt.so.12")
            && advice.contains("biases are added by kernels of their own"),
        "{advice}"
    );
    assert!(norms.len() == with.len() && norms.len() > 10);
    for (norm, with) in norms.iter().zip(&with) {
        // Sums in another order; the gradient of a key's bias is zero but for rounding.
        assert!(
            (norm - with).abs() <= 1e-5 * with + 1e-6,
            "{norm} and {with}"
        );
    }
}

#[test]
fn too_little_memory_says_how_much_and_what_to_change() {
    let name = test_name!();
    alone(name, &[("SOFT_CUDA_MEMORY_BYTES", "50000000")], |backend| {
        let mut g = ablate_graph::Graph::new();
        let x = g.input("x", &[4000, 1000]).expect("an input");
        let y = g.softmax(&x, 1).expect("a softmax");
        let z = g.matmul_t(&y, &y).expect("a product");
        let z = g.softmax(&z, 0).expect("a softmax");
        g.output("z", &z).expect("an output");
        let mut session = backend.session().expect("a session");
        let text = session
            .load(g)
            .expect_err("64 MB of scores do not fit")
            .to_string();
        println!("{text}");
        for part in [
            "cuda: ",
            " of device memory, ",
            " are free; lower train.batch_size",
        ] {
            assert!(text.contains(part), "{text}");
        }
    });
}

/// Compiled kernels are found on disk the next time, and a damaged file is made anew.
#[test]
fn compiled_kernels_are_kept_on_disk() {
    let Some(backend) = backend() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let backend = backend
        .with_cache(Some(folder.path().into()))
        .expect("NVRTC is there");
    let graph = || {
        let mut g = ablate_graph::Graph::new();
        let x = g.input("x", &[5]).expect("an input");
        let y = g.exp(&x).expect("an exponential");
        g.output("y", &y).expect("an output");
        g
    };
    let files = || {
        let entries = std::fs::read_dir(folder.path()).expect("a folder");
        let mut files: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
        files.sort();
        files
    };
    let run = || {
        let mut session = backend.session().expect("a session");
        let program = session.load(graph()).expect("compiles");
        let feeds = ablate_graph::Feeds::new().with("x", vec![0.0; 5]);
        session
            .run(program, &feeds, RandomKey::default())
            .expect("runs");
        assert_eq!(session.output(program, "y").expect("an output"), [1.0; 5]);
    };
    run();
    let first = files();
    assert_eq!(first.len(), 1, "{first:?}");
    let image = std::fs::read(&first[0]).expect("a file");
    run();
    assert_eq!(files(), first);
    std::fs::write(&first[0], &image[..image.len() / 2]).expect("a file");
    run();
    assert!(std::fs::read(&first[0]).expect("a file") == image);
    assert_eq!(files(), first);
}

/// A feed that does not fit is refused before anything runs.
#[test]
fn feeds_are_checked() {
    let Some(backend) = backend() else { return };
    let case = model::bert(model::EVEN).expect("builds");
    let mut session = backend.session().expect("a session");
    for (name, values) in &case.states {
        session.set_state(name, values).expect("a state");
    }
    let program = session.load(case.graph).expect("compiles");
    let mut wrong = |name: &str, values: Vec<f32>| {
        let mut feeds = case.feeds.clone();
        feeds.set(name, values);
        session
            .run(program, &feeds, RandomKey::default())
            .expect_err("refused")
            .to_string()
    };
    let cells = model::EVEN.batch * model::EVEN.seq;
    assert!(wrong("input_ids", vec![40.0; cells]).contains("40 is not a whole number in 0..40"));
    assert!(wrong("input_ids", vec![0.5; cells]).contains("0.5 is not a whole number"));
    assert!(wrong("input_ids", vec![0.0; 3]).contains("3 elements were fed"));
}
