//! `Precision::Bf16` on the software CUDA device: activations stored as bfloat16, held against the processor,
//! which stores the same ones so.

mod model;

use ablate_compiler::program::{Instr, Kernel, Place, Storage};
use ablate_compiler::{compile, compile_with, Backend, Program};
use ablate_conformance::{cases, check_near, check_norms, Case};
use ablate_cpu::CpuBackend;
use ablate_cuda::print::{print, Work};
use ablate_cuda::{CudaBackend, Precision};
use ablate_graph::ir::Phase;
use ablate_graph::{GraphError, RandomKey};
use ablate_soft_cuda::{installed, is_child, rerun, test_name};
use std::collections::BTreeMap;

/// Of a tensor's norm, against the exact numbers: the bound of the processor's own tests.
const BF16: f64 = 5e-2;
/// Of a tensor's norm, from one backend to the other. Sums in another order differ in the last bits of single
/// precision; now and then that takes a number across a boundary of rounding, where it moves by `2^-8`.
const OTHER_ORDER: f64 = 1e-2;

/// The backend on the software device, or nothing where there is none.
fn backend() -> Option<CudaBackend> {
    let soft = installed()?;
    soft.load();
    let backend = CudaBackend::new().expect("the software device is there");
    let backend = backend
        .with_cache(Some(soft.images()))
        .expect("NVRTC is there");
    Some(backend.with_precision(Precision::Bf16))
}

/// The processor with the same activations rounded; with AMX it would round none.
fn processor() -> CpuBackend {
    let backend = CpuBackend::new(2).expect("threads can be started");
    backend
        .with_precision(ablate_cpu::Precision::Bf16)
        .without_amx()
}

fn program(case: &Case, precision: Precision) -> Program {
    compile_with(&case.graph.lower().expect("lowers"), precision).expect("compiles")
}

#[test]
fn the_conformance_suite() {
    let Some(backend) = backend() else { return };
    for (name, build) in cases::CASES {
        println!("{name}");
        let case = cases::build(*build).unwrap_or_else(|e| panic!("{name}: {e}"));
        check_norms(&backend, case, BF16).unwrap_or_else(|e| panic!("{name}: {e}"));
        check_near(&processor(), &backend, || cases::build(*build), OTHER_ORDER)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn bert_with_every_gradient() {
    let Some(backend) = backend() else { return };
    for sizes in [model::LARGE, model::LARGE_ODD, model::ODD] {
        let case = bert(sizes).expect("builds");
        check_norms(&backend, case, BF16).unwrap_or_else(|e| panic!("{e}"));
        check_near(&processor(), &backend, || bert(sizes), OTHER_ORDER)
            .unwrap_or_else(|e| panic!("{e}"));
    }
}

/// With weights as small as those that training begins with: with larger ones the model amplifies whatever
/// rounding leaves, on every backend.
fn bert(sizes: model::Sizes) -> Result<Case, GraphError> {
    let mut case = model::bert(sizes)?;
    for (name, values) in &mut case.states {
        if !name.contains("LayerNorm.weight") && name != "norm.weight" {
            values.iter_mut().for_each(|v| *v *= 0.2);
        }
    }
    Ok(case)
}

/// A step of gradient descent on every parameter.
fn training(sizes: model::Sizes) -> Case {
    let mut case = bert(sizes).expect("builds");
    let g = &mut case.graph;
    let parameters: Vec<_> = g.parameters().iter().map(|p| p.1.clone()).collect();
    let outputs: Vec<_> = g.outputs().iter().map(|o| o.1.clone()).collect();
    // The first output is the loss, then come the gradients of all parameters.
    for (parameter, gradient) in parameters.iter().zip(&outputs[1..]) {
        let step = g.mul_scalar(gradient, -0.02).expect("a step");
        let moved = g.add(parameter, &step).expect("a sum");
        g.assign(parameter, &moved).expect("an assignment");
    }
    case
}

#[test]
fn training_follows_the_processor() {
    let Some(backend) = backend() else { return };
    let losses = |backend: &dyn Backend| {
        let case = training(model::LARGE);
        let mut session = backend.session().expect("a session");
        for (name, values) in &case.states {
            session.set_state(name, values).expect("a state");
        }
        let program = session.load(case.graph).expect("compiles");
        let run = |step| {
            session
                .run(program, &case.feeds, RandomKey { seed: 5, step })
                .expect("runs");
            f64::from(session.output(program, "out1").expect("a loss")[0])
        };
        (0..12).map(run).collect::<Vec<f64>>()
    };
    let (cpu, cuda) = (losses(&processor()), losses(&backend));
    println!("processor {cpu:?}\ndevice    {cuda:?}");
    assert!(cuda[11] < 0.7 * cuda[0], "it learns: {cuda:?}");
    for (step, (cpu, cuda)) in cpu.iter().zip(&cuda).enumerate() {
        assert!((cpu - cuda).abs() < 5e-3 * cpu, "{step}: {cpu} and {cuda}");
    }
}

/// Activations are rounded; what lives between runs, what is fed and what is read is not.
#[test]
fn states_inputs_and_outputs_stay_in_single_precision() {
    for sizes in [model::LARGE, model::LARGE_ODD] {
        let case = model::bert(sizes).expect("builds");
        let program = program(&case, Precision::Bf16);
        let mut rounded = 0;
        for (id, buffer) in program.buffers.iter().enumerate() {
            let outside = !matches!(buffer.place, Place::Arena { .. })
                || program.outputs.iter().any(|(_, output)| *output == id);
            assert!(
                !outside || buffer.storage == Storage::F32,
                "{id}: {buffer:?}"
            );
            rounded += usize::from(buffer.storage == Storage::Bf16);
        }
        assert!(rounded > 10, "{program}");
    }
}

/// What cuBLAS takes, and nothing is rounded twice: a weight once a run, whoever reads it.
#[test]
fn operands_are_alike_and_each_weight_is_rounded_once() {
    let case = model::bert(model::LARGE).expect("builds");
    let program = program(&case, Precision::Bf16);
    let mut rounded = 0;
    for work in print(&program).steps {
        if let Work::Product(product) = work {
            let [a, b, c] = product.storage;
            assert!(a == b && (c == a || c == Storage::F32), "{product:?}");
            rounded += usize::from(a == Storage::Bf16);
        }
    }
    // All but those of the heads, whose values are few.
    assert!(
        rounded >= 2 * 24,
        "{rounded} products read rounded operands"
    );
    let mut readers: BTreeMap<&str, usize> = BTreeMap::new();
    for step in &program.steps {
        let Kernel::Row(kernel) = &step.kernel else {
            continue;
        };
        // A load and a store, of a state: a copy.
        if let ([Instr::Load { buffer, .. }], [_]) = (&kernel.instrs[..], &kernel.stores[..]) {
            if let Place::State(name) = &program.buffers[*buffer].place {
                *readers.entry(name).or_default() += 1;
            }
        }
    }
    let count = |name: &str| readers.get(name).copied().unwrap_or(0);
    for layer in 0..model::LARGE.layers {
        for weight in [
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
            "intermediate.dense",
            "output.dense",
        ] {
            let name = readers
                .keys()
                .find(|n| n.contains(&format!("layer.{layer}.{weight}.weight")));
            let name = name.unwrap_or_else(|| panic!("{layer} {weight}: {readers:?}\n{program}"));
            assert_eq!(count(name), 1, "{name}");
        }
    }
}

/// Kernels, without products, that one more layer adds to the forward and the backward.
fn kernels_of_a_layer(precision: Precision) -> [usize; 2] {
    let count = |layers: usize, phase: Phase| {
        let sizes = model::Sizes {
            layers,
            ..model::LARGE
        };
        let program = program(&model::bert(sizes).expect("builds"), precision);
        let steps = program.steps.iter().zip(print(&program).steps);
        let kernels = steps.filter(|(step, _)| step.phase == phase);
        let launched = kernels.map(|(_, work)| match work {
            Work::Kernels(kernels) | Work::Apart(_, kernels) => kernels.len(),
            Work::Product(_) | Work::Copy(..) => 0,
        });
        launched.sum::<usize>()
    };
    [Phase::Forward, Phase::Backward].map(|phase| count(3, phase) - count(2, phase))
}

/// `core/PERFORMANCE.md` has these numbers.
#[test]
fn a_layer_is_as_many_kernels_and_one_for_each_weight() {
    let rounded = kernels_of_a_layer(Precision::Bf16);
    println!("kernels of a layer with rounded activations: {rounded:?}");
    // Attention runs step by step, biases are kernels, and six round the layer's weights.
    assert_eq!(rounded, [7 + 6, 13]);
}

#[test]
fn the_arena_shrinks_and_so_do_the_bytes_that_kernels_move() {
    // As much more of activations than of weights as in training.
    let sizes = model::Sizes {
        batch: 32,
        ..model::LARGE
    };
    let case = model::bert(sizes).expect("builds");
    let single = compile(&case.graph.lower().expect("lowers")).expect("compiles");
    let rounded = program(&case, Precision::Bf16);
    let (before, after) = (single.arena_len as f64, rounded.arena_len as f64);
    println!("arena: {} and {} bytes", 4.0 * before, 4.0 * after);
    assert!(after < 0.7 * before, "{after} of {before}");
    let moved = |p: &Program| p.kernel_times().iter().map(|t| t.bytes).sum::<u64>() as f64;
    let (before, after) = (moved(&single), moved(&rounded));
    println!("moved: {before} and {after} bytes");
    assert!(after < 0.75 * before, "{after} of {before}");
    let Some(backend) = backend() else { return };
    let mut session = backend.session().expect("a session");
    session.load(case.graph).expect("compiles");
    let bytes = session.memory().arena_bytes;
    assert!(bytes >= 4 * rounded.arena_len as u64 && bytes < 4 * rounded.arena_len as u64 + 256);
}

/// Outputs and gradients of a step after three runs, as a digest.
fn digest(backend: &CudaBackend) -> String {
    let case = model::bert(model::LARGE).expect("builds");
    let names: Vec<String> = case.graph.outputs().iter().map(|o| o.0.clone()).collect();
    let mut session = backend.session().expect("a session");
    for (name, values) in &case.states {
        session.set_state(name, values).expect("a state");
    }
    let program = session.load(case.graph).expect("compiles");
    for step in 0..3 {
        session
            .run(program, &case.feeds, RandomKey { seed: 5, step })
            .expect("runs");
    }
    let mut hash = 7u64;
    for name in &names {
        for value in session.output(program, name).expect("an output") {
            hash = (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("digest {hash:x}")
}

/// No kernel depends on the order of its threads and blocks, and none leaves its buffers.
#[test]
fn every_order_of_threads_gives_the_same_bits_and_no_access_is_outside() {
    let name = test_name!();
    if is_child(name) {
        println!("{}", digest(&backend().expect("the parent has found it")));
        return;
    }
    let Some(soft) = installed() else { return };
    let run = |settings: &[(&str, &str)]| {
        let finished = rerun(soft, name, settings);
        assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
        for mistake in ["soft-cuda:", "AddressSanitizer"] {
            assert!(!finished.stderr.contains(mistake), "{}", finished.stderr);
        }
        let line = finished
            .stdout
            .lines()
            .find_map(|l| l.split("digest ").nth(1));
        line.expect("a digest").to_string()
    };
    let forward = run(&[]);
    for order in ["reverse", "shuffled:1", "shuffled:2"] {
        assert_eq!(run(&[("SOFT_CUDA_ORDER", order)]), forward, "{order}");
    }
    assert_eq!(run(&[("SOFT_CUDA_WHEN", "eager")]), forward);
    let Some(settings) = soft.address_sanitizer() else {
        println!("SKIPPED: this compiler has no address sanitizer");
        return;
    };
    let settings: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
    assert_eq!(run(&settings), forward);
}
