//! The encoder with heads of this test, on every engine.

use ablate_bert::ParameterSpec;
use ablate_compiler::ReferenceBackend;
use ablate_cpu::CpuBackend;

use crate::adamw::Optimizer;
use crate::case::{Case, CASES};
use crate::compare::{assert_close, distance, norm, to_f64};
use crate::engine::{Engine, InF64, OnBackend, Values};
use crate::model::{gradient_of, Model};

/// How far an engine may be off, relative.
#[derive(Clone, Copy)]
struct Tolerance {
    loss: f64,
    state: f64,
    gradient: f64,
    /// Of the movement of each parameter over ten steps.
    movement: f64,
}

const F32: Tolerance = Tolerance {
    loss: 1e-5,
    state: 1e-5,
    gradient: 1e-4,
    movement: 1e-3,
};

/// What is left is the approximation of erf and the f32 of the frozen files.
const F64: Tolerance = Tolerance {
    loss: 1e-6,
    state: 2e-6,
    gradient: 5e-6,
    movement: 1e-4,
};

/// Below this share of the whole gradient's norm a gradient counts as zero. The keys' biases shift
/// all scores of a query alike, which softmax takes out again: their true gradient is zero, and any
/// implementation leaves its own rounding there.
const ZERO: f64 = 1e-6;

type MakeEngine = fn(Model) -> Box<dyn Engine>;

fn reference(model: Model) -> Box<dyn Engine> {
    Box::new(OnBackend::new(&ReferenceBackend, model.graph))
}

/// Two threads, so that the work is split even where it is tiny.
fn cpu(model: Model) -> Box<dyn Engine> {
    let backend = CpuBackend::new(2).unwrap();
    Box::new(OnBackend::new(&backend, model.graph))
}

fn in_f64(model: Model) -> Box<dyn Engine> {
    Box::new(InF64(model.graph))
}

fn start(case: &Case) -> Values {
    let parameters = case.parameters.iter();
    parameters
        .map(|(name, (_, values))| (name.clone(), to_f64(values)))
        .collect()
}

/// The forward pass and every gradient at step 0.
fn check_step_zero(make: MakeEngine, allowed: Tolerance) {
    for name in CASES {
        let case = Case::load(name);
        let model = Model::build(&case).unwrap();
        let (specs, feeds) = (model.parameters.clone(), model.feeds.clone());
        let gradient_names = specs.iter().map(|s| gradient_of(&s.name));
        let outputs: Vec<String> = ["mlm_loss", "nsp_loss"]
            .map(String::from)
            .into_iter()
            .chain(case.forward.keys().cloned())
            .chain(gradient_names)
            .collect();
        let found = make(model).run(&start(&case), &feeds, &outputs);

        for (loss, wanted) in [
            ("mlm_loss", case.golden.mlm_loss),
            ("nsp_loss", case.golden.nsp_loss),
        ] {
            let what = format!("{name}: {loss}");
            assert_close(&what, &found[loss], &[wanted], allowed.loss);
        }
        for (state, (_, wanted)) in &case.forward {
            let what = format!("{name}: {state}");
            assert_close(&what, &found[state], &to_f64(wanted), allowed.state);
        }
        check_gradients(&case, &specs, &found, allowed.gradient);
    }
}

fn check_gradients(case: &Case, specs: &[ParameterSpec], found: &Values, tolerance: f64) {
    assert_eq!(specs.len(), case.gradients.len());
    let whole = case.golden.steps[0].grad_norm;
    let mut zeros = 0;
    for spec in specs {
        let (shape, wanted) = &case.gradients[&spec.name];
        assert_eq!(*shape, spec.shape, "{}", spec.name);
        let (wanted, found) = (to_f64(wanted), &found[&gradient_of(&spec.name)]);
        if norm(&wanted) < ZERO * whole {
            assert!(norm(found) < ZERO * whole, "{} is not zero", spec.name);
            zeros += 1;
        } else {
            assert_close(&gradient_of(&spec.name), found, &wanted, tolerance);
        }
    }
    assert_eq!(zeros, case.config.num_hidden_layers, "one key bias a layer");
}

/// Ten steps of AdamW with clipping.
fn check_ten_steps(make: MakeEngine, allowed: Tolerance) {
    for name in CASES {
        let case = Case::load(name);
        let model = Model::build(&case).unwrap();
        let (specs, feeds) = (model.parameters.clone(), model.feeds.clone());
        let mut engine = make(model);
        let mut optimizer = Optimizer::new(&case.golden.optimizer);
        let mut parameters = start(&case);
        let outputs: Vec<String> = ["mlm_loss", "nsp_loss"]
            .map(String::from)
            .into_iter()
            .chain(specs.iter().map(|s| gradient_of(&s.name)))
            .collect();
        for (n, wanted) in case.golden.steps.iter().enumerate() {
            let found = engine.run(&parameters, &feeds, &outputs);
            let gradients: Values = specs
                .iter()
                .map(|s| (s.name.clone(), found[&gradient_of(&s.name)].clone()))
                .collect();
            let grad_norm = optimizer.step(&specs, &mut parameters, &gradients);
            for (what, found, wanted, tolerance) in [
                (
                    "mlm_loss",
                    found["mlm_loss"][0],
                    wanted.mlm_loss,
                    allowed.loss,
                ),
                (
                    "nsp_loss",
                    found["nsp_loss"][0],
                    wanted.nsp_loss,
                    allowed.loss,
                ),
                ("grad_norm", grad_norm, wanted.grad_norm, allowed.gradient),
            ] {
                let what = format!("{name}: step {n}: {what}");
                assert_close(&what, &[found], &[wanted], tolerance);
            }
        }
        check_movement(&case, &specs, &parameters, allowed.movement);
    }
}

/// Compares how far each parameter went, which says more than where it is.
fn check_movement(case: &Case, specs: &[ParameterSpec], found: &Values, tolerance: f64) {
    let start = start(case);
    for spec in specs {
        // Adam makes steps of full length out of the rounding where the gradient is zero.
        if spec.name.ends_with("attention.self.key.bias") {
            continue;
        }
        let wanted = to_f64(&case.after[&spec.name].1);
        let off = distance(&found[&spec.name], &wanted);
        let moved = distance(&wanted, &start[&spec.name]);
        let error = off / moved;
        assert!(
            error <= tolerance,
            "{} is off by {error:.2e} of its movement, allowed {tolerance:.0e}",
            spec.name
        );
    }
}

#[test]
fn stock_luminal_matches_pytorch_at_step_zero() {
    check_step_zero(reference, F32);
}

#[test]
fn the_cpu_backend_matches_pytorch_at_step_zero() {
    check_step_zero(cpu, F32);
}

#[test]
fn the_cpu_backend_matches_pytorch_over_ten_steps() {
    check_ten_steps(cpu, F32);
}

#[test]
fn the_f64_interpreter_matches_pytorch_at_step_zero() {
    check_step_zero(in_f64, F64);
}

#[test]
fn stock_luminal_matches_pytorch_over_ten_steps() {
    check_ten_steps(reference, F32);
}

#[test]
fn the_f64_interpreter_matches_pytorch_over_ten_steps() {
    check_ten_steps(in_f64, F64);
}
