//! Correctness against the processor, step times and the share of what the device can do: on a machine with a
//! GPU. Elsewhere the three tests say `SKIPPED`, and a fourth runs them on the software device.

use ablate_bench::{measure, median, parts, Configuration, Plan};
use ablate_compiler::Backend;
use ablate_conformance::{cases, check, check_against_stock, random};
use ablate_cpu::CpuBackend;
use ablate_cuda::{CudaBackend, Precision};
use ablate_graph::{Feeds, Graph, RandomKey};
use ablate_soft_cuda::installed;
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

/// What the software device is called. What it computes is right or wrong; how long it takes means nothing.
const SOFTWARE: &str = "Software CUDA device";

/// A device with its turn.
struct Tested {
    backend: CudaBackend,
    /// Whether this is the device of `tests/soft-cuda`.
    software: bool,
    _turn: MutexGuard<'static, ()>,
}

/// The device, or nothing where there is none.
fn device() -> Option<Tested> {
    let turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    match CudaBackend::new() {
        Ok(backend) => {
            println!("{}", backend.description());
            let software = backend.description().contains(SOFTWARE);
            if software {
                println!("SOFTWARE DEVICE: a rehearsal at the smallest sizes. Nothing here was run on hardware.");
            }
            Some(Tested {
                backend,
                software,
                _turn: turn,
            })
        }
        Err(reason) => {
            println!("SKIPPED: no CUDA device: {reason}");
            None
        }
    }
}

/// The size of a rehearsal on the software device.
fn smallest() -> Configuration {
    Configuration {
        size: "soft".to_owned(),
        layers: 1,
        hidden: 32,
        heads: 2,
        intermediate: 64,
        vocab: 200,
        seq: 24,
        batch: 4,
        ..Configuration::preset("tiny").expect("a preset")
    }
}

fn sizes(software: bool) -> Vec<Configuration> {
    if software {
        return vec![smallest()];
    }
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
    let Some(tested) = device() else { return };
    let backend = &tested.backend;
    let graphs = if tested.software { 4 } else { 24 };
    backend.try_out().expect("a small step");
    for (name, build) in cases::CASES {
        let case = cases::build(*build).expect("builds");
        check(backend, case, 2e-5).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    for seed in 0..graphs {
        check_against_stock(backend, || random::graph(seed, 12), 1e-4)
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
    println!(
        "conformance: {} cases and {graphs} random graphs pass",
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
    let Some(tested) = device() else { return };
    let cpu = CpuBackend::new(0).expect("threads");
    let configuration = match tested.software {
        true => smallest(),
        false => Configuration {
            batch: 8,
            ..Configuration::preset("tiny").expect("a preset")
        },
    };
    let expected = losses(&configuration, &cpu, 3);
    for (name, precision) in PRECISIONS {
        let backend = tested.backend.clone().with_precision(*precision);
        let found = losses(&configuration, &backend, 3);
        println!(
            "{}, {name}: losses {found:?}, processor {expected:?}",
            configuration.size
        );
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

/// The rate of a product of square matrices through a session, in floating-point operations a second.
fn peak(backend: &dyn Backend, side: usize) -> f64 {
    const RUNS: usize = 20;
    let mut g = Graph::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| g.state(name, &[side, side]).expect("a state"));
    let product = g.matmul_t(&a, &b).expect("a product");
    g.assign(&c, &product).expect("an assignment");
    let corner = g
        .slice(&a, 0, 0, 1)
        .and_then(|row| g.slice(&row, 1, 0, 1))
        .expect("a corner");
    g.output("corner", &corner).expect("an output");
    let mut session = backend.session().expect("a session");
    session
        .set_state("a", &vec![0.5; side * side])
        .expect("a state");
    session
        .set_state("b", &vec![0.25; side * side])
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
    let Some(tested) = device() else { return };
    let sizes = sizes(tested.software);
    if sizes.is_empty() {
        return;
    }
    let (side, steps) = if tested.software { (64, 2) } else { (4096, 20) };
    println!("size    precision  parameters   batch   first step  median step    tokens/s    TFLOP/s  share of a {side}^3 product");
    for (name, precision) in PRECISIONS {
        let backend = tested.backend.clone().with_precision(*precision);
        let peak = peak(&backend, side);
        for configuration in &sizes {
            let (config, parts) = parts(configuration, &backend).expect("parts of a trial");
            let plan = Plan {
                warmup: 3,
                steps,
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

/// This very file, run to its end on the software device, so that its code is known to work before there is
/// hardware. Nothing of what it prints is a measurement.
#[test]
fn rehearsal_on_the_software_device() {
    const REHEARSAL: &str = "ABLATE_GPU_REHEARSAL";
    if std::env::var_os(REHEARSAL).is_some() {
        return;
    }
    let Some(soft) = installed() else { return };
    let cache = tempfile::tempdir().expect("a folder");
    let mut command = soft.command(std::env::current_exe().expect("a running program has a path"));
    let run = command
        .args(["--nocapture", "--test-threads=1"])
        .env(REHEARSAL, "1")
        .env("XDG_CACHE_HOME", cache.path())
        .output()
        .expect("the test binary runs again");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    for line in stdout.lines() {
        println!("rehearsal in software | {line}");
    }
    assert!(run.status.success(), "{stderr}");
    assert!(!stderr.contains("soft-cuda:"), "{stderr}");
    assert!(!stdout.contains("SKIPPED"), "the device was not found");
    // Every test that has a device says which one.
    assert_eq!(stdout.matches("SOFTWARE DEVICE: ").count(), 3);
    let rows = stdout.lines().filter(|l| l.starts_with("soft    "));
    assert_eq!(rows.count(), PRECISIONS.len());
}
