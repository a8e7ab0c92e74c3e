//! Correctness against the processor, step times and the share of what the device can do.

use ablate_bench::{measure, median, parts, Configuration, Plan};
use ablate_compiler::Backend;
use ablate_conformance::{cases, check, check_against_stock, random};
use ablate_cpu::CpuBackend;
use ablate_cuda::{CudaBackend, Precision};
use ablate_graph::{Feeds, Graph, RandomKey};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

const SIZES: &[&str] = &["tiny", "mini", "small", "medium", "base", "large"];
const PRECISIONS: &[(&str, Precision)] = &[
    ("f32", Precision::F32),
    ("tf32", Precision::Tf32),
    ("bf16", Precision::Bf16),
];

/// One test at a time has the device.
static TURN: Mutex<()> = Mutex::new(());

/// The device, or nothing where there is none.
fn device() -> Option<(CudaBackend, MutexGuard<'static, ()>)> {
    let turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    match CudaBackend::new() {
        Ok(backend) => {
            println!("{}", backend.description());
            Some((backend, turn))
        }
        Err(reason) => {
            println!("SKIPPED: no CUDA device: {reason}");
            None
        }
    }
}

fn sizes() -> Vec<Configuration> {
    let asked = std::env::var("ABLATE_GPU_SIZES");
    let names: Vec<&str> = match &asked {
        Ok(names) => names.split(',').collect(),
        Err(_) => SIZES.to_vec(),
    };
    let preset =
        |name: &str| Configuration::preset(name).unwrap_or_else(|| panic!("no size {name}"));
    names.into_iter().map(preset).collect()
}

#[test]
fn conformance() {
    let Some((backend, _turn)) = device() else {
        return;
    };
    backend.try_out().expect("a small step");
    for (name, build) in cases::CASES {
        let case = cases::build(*build).expect("builds");
        check(&backend, case, 2e-5).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    for seed in 0..24 {
        check_against_stock(&backend, || random::graph(seed, 12), 1e-4)
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
    println!(
        "conformance: {} cases and 24 random graphs pass",
        cases::CASES.len()
    );
}

/// Losses of the first steps of training.
fn losses(configuration: &Configuration, backend: &dyn Backend, steps: usize) -> Vec<f64> {
    (1..=steps)
        .map(|steps| {
            let plan = Plan {
                warmup: 0,
                steps,
                profiled: 0,
            };
            let (config, parts) = parts(configuration, backend).expect("parts of a trial");
            measure(config, parts, plan).expect("steps").loss
        })
        .collect()
}

#[test]
fn training_follows_the_processor_and_repeats_its_bits() {
    let Some((backend, _turn)) = device() else {
        return;
    };
    let cpu = CpuBackend::new(0).expect("threads");
    let configuration = Configuration {
        batch: 8,
        ..Configuration::preset("tiny").expect("a preset")
    };
    let expected = losses(&configuration, &cpu, 3);
    for (name, precision) in PRECISIONS {
        let backend = backend.clone().with_precision(*precision);
        let found = losses(&configuration, &backend, 3);
        println!("tiny, {name}: losses {found:?}, processor {expected:?}");
        let tolerance = if *precision == Precision::F32 {
            1e-4
        } else {
            1e-2
        };
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= tolerance * expected, "{name}");
        }
        assert_eq!(losses(&configuration, &backend, 3), found, "{name}");
    }
}

/// The rate of a large product through a session, in floating-point operations a second.
fn peak(backend: &dyn Backend) -> f64 {
    const SIDE: usize = 4096;
    const RUNS: usize = 20;
    let mut g = Graph::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| g.state(name, &[SIDE, SIDE]).expect("a state"));
    let product = g.matmul_t(&a, &b).expect("a product");
    g.assign(&c, &product).expect("an assignment");
    let corner = g
        .slice(&a, 0, 0, 1)
        .and_then(|row| g.slice(&row, 1, 0, 1))
        .expect("a corner");
    g.output("corner", &corner).expect("an output");
    let mut session = backend.session().expect("a session");
    session
        .set_state("a", &vec![0.5; SIDE * SIDE])
        .expect("a state");
    session
        .set_state("b", &vec![0.25; SIDE * SIDE])
        .expect("a state");
    let program = session.load(g).expect("compiles");
    let mut run = |count: usize| {
        let start = Instant::now();
        for _ in 0..count {
            session
                .run(program, &Feeds::new(), RandomKey::default())
                .expect("runs");
        }
        // A run is queued; reading an output waits for it.
        session.output(program, "corner").expect("an output");
        session.flops(program) * count as f64 / start.elapsed().as_secs_f64()
    };
    run(3);
    run(RUNS)
}

#[test]
fn step_times_and_share_of_peak() {
    let Some((backend, _turn)) = device() else {
        return;
    };
    println!("size    precision  parameters   batch   first step  median step    tokens/s    TFLOP/s  share of a 4096^3 product");
    for (name, precision) in PRECISIONS {
        let backend = backend.clone().with_precision(*precision);
        let sizes = sizes();
        let peak = if sizes.is_empty() {
            return;
        } else {
            peak(&backend)
        };
        for configuration in sizes {
            let (config, parts) = parts(&configuration, &backend).expect("parts of a trial");
            let plan = Plan {
                warmup: 3,
                steps: 20,
                profiled: 3,
            };
            let m = measure(config, parts, plan).expect("steps");
            let step_s = median(&m.step_s);
            assert!(
                m.loss.is_finite() && m.loss > 0.0,
                "{}: loss {}",
                configuration.size,
                m.loss
            );
            println!(
                "{:7} {name:9} {:11} {:4}x{:3} {:9.1} ms {:9.3} ms {:11.0} {:10.2} {:6.1} %",
                configuration.size,
                m.parameters,
                configuration.batch,
                configuration.seq,
                m.first_step_s * 1e3,
                step_s * 1e3,
                m.tokens / step_s,
                m.flops / step_s * 1e-12,
                100.0 * m.flops / step_s / peak,
            );
            if *precision == Precision::F32 {
                println!("{}", m.kernel_table());
            }
        }
    }
}
