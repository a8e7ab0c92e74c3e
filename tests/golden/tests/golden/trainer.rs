//! Whole training against PyTorch: the trainer's own graphs, clipping and update on a backend.

use std::sync::atomic::AtomicBool;
use std::sync::Arc;

use ablate_bert::{Init, Layout};
use ablate_compiler::{Backend, ReferenceBackend};
use ablate_cpu::CpuBackend;
use ablate_graph::RandomKey;
use ablate_train::graphs::{gradient, gradient_name, scale_name, ForwardShape};
use ablate_train::window::label;
use ablate_train::{
    schedule, BatchSource, CheckpointPolicy, Decision, Ending, Event, Objective, Optimizer, Parts,
    PluginError, PreparedBatch, SourceError, Split, StoppingRule, TrainEvent, Trainer,
    TrainerConfig, VocabularyFacts, Window,
};

use crate::case::{Case, CASES};
use crate::compare::{assert_close, distance, norm, to_f64};
use crate::objectives::{InGraph, Masked, Next};
use crate::plugins;

/// Where objectives and optimizer come from.
pub type Objectives = fn(&Case) -> Vec<Box<dyn Objective>>;
/// The optimizer with the frozen settings.
pub type MakeOptimizer = fn(&Case) -> Box<dyn Optimizer>;

pub fn prepared(case: &Case) -> PreparedBatch {
    let b = &case.batch;
    PreparedBatch {
        rows: b.batch,
        batch: b.batch,
        seq: b.seq,
        input_ids: b.input_ids.clone(),
        token_type_ids: b.token_type_ids.clone(),
        attention_mask: b.attention_mask.clone(),
        special_tokens_mask: b.input_ids.iter().map(|id| *id < 4).collect(),
        next_sentence_label: Some(b.next_sentence_label.clone()),
        example_ids: (0..b.batch as u64).collect(),
        row_keys: vec![0; b.batch],
        vocabulary: Arc::new(VocabularyFacts {
            size: case.config.vocab_size,
            pad_id: 0,
            unknown_id: 1,
            cls_id: 2,
            sep_id: 3,
            mask_id: 4,
            special_ids: (0..5).collect(),
            continuation: vec![false; case.config.vocab_size],
        }),
        ..PreparedBatch::default()
    }
}

/// The same batch at every step.
struct Again(PreparedBatch);

impl BatchSource for Again {
    fn next_window(&mut self) -> Result<Window, SourceError> {
        Ok(Window {
            epoch: 0,
            batches: vec![self.0.clone()],
        })
    }

    fn cursor(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn restore(&mut self, _: &serde_json::Value) -> Result<(), SourceError> {
        Ok(())
    }

    fn evaluation(
        &mut self,
        _: Split,
    ) -> Result<Box<dyn Iterator<Item = PreparedBatch> + '_>, SourceError> {
        Ok(Box::new(std::iter::empty()))
    }
}

/// Stops after this many steps.
struct After(u64);

impl StoppingRule for After {
    fn name(&self) -> &str {
        "after"
    }

    fn observe(&mut self, event: &Event<'_>) -> Result<Decision, PluginError> {
        Ok(if event.step >= self.0 {
            Decision::Stop {
                reason: "enough".into(),
            }
        } else {
            Decision::Continue
        })
    }

    fn save(&self) -> Result<Vec<u8>, PluginError> {
        Ok(Vec::new())
    }

    fn load(&mut self, _: &[u8]) -> Result<(), PluginError> {
        Ok(())
    }
}

/// Every case as PyTorch has it, and to be packed: with rows long enough for several examples.
fn cases_and_layouts() -> impl Iterator<Item = (&'static str, Case, bool)> {
    let both = |name| {
        let (case, wide) = (Case::load(name), Case::load(name).with_longest_rows());
        [(name, case, false), (name, wide, true)]
    };
    CASES.into_iter().flat_map(both)
}

/// Losses and gradient norm of every step, and where the parameters end.
pub fn check_training(backend: &dyn Backend, objectives: Objectives, optimizer: MakeOptimizer) {
    for (name, case, packed) in cases_and_layouts() {
        let steps = case.golden.steps.len();
        let config = TrainerConfig {
            model: case.config.clone(),
            init: Init::Zeros,
            initial: case.parameters.clone(),
            seed: 1,
            packed,
            clip_norm: Some(case.golden.optimizer.clip_norm),
            learning_rate: case.golden.optimizer.lr,
            evaluate_every: None,
            metrics: None,
            checkpoint: CheckpointPolicy::default(),
            fingerprint: String::new(),
        };
        let parts = Parts {
            session: backend.session().unwrap(),
            objectives: objectives(&case),
            optimizer: optimizer(&case),
            schedule: Box::new(schedule::Constant),
            rules: vec![Box::new(After(steps as u64))],
            source: Box::new(Again(prepared(&case))),
        };
        let mut trainer = Trainer::new(config, parts).unwrap();
        let mut rows = Vec::new();
        let outcome = trainer
            .run(
                &mut |event| {
                    if let TrainEvent::Step(row) = event {
                        rows.push(row.clone());
                    }
                },
                &AtomicBool::new(false),
            )
            .unwrap();
        assert!(
            matches!(outcome.ending, Ending::Stopped { .. }),
            "{outcome:?}"
        );
        assert_eq!(rows.len(), steps);
        for (row, wanted) in rows.iter().zip(&case.golden.steps) {
            let value = |key: &str| row.values.iter().find(|(n, _)| n == key).unwrap().1;
            for (what, found, wanted, tolerance) in [
                ("mlm_loss", value("mlm_loss"), wanted.mlm_loss, 1e-5),
                ("nsp_loss", value("nsp_loss"), wanted.nsp_loss, 1e-5),
                ("loss", row.loss, wanted.mlm_loss + wanted.nsp_loss, 1e-5),
                ("grad_norm", row.grad_norm, wanted.grad_norm, 1e-4),
            ] {
                let what = format!("{name}: step {}: {what}", row.step);
                assert_close(&what, &[found], &[wanted], tolerance);
            }
        }
        for tensor in trainer.tensors().unwrap() {
            let (parameter, found) = (tensor.name, tensor.values);
            // Adam makes steps of full length out of the rounding where the gradient is zero.
            if parameter.ends_with("attention.self.key.bias") {
                continue;
            }
            let wanted = to_f64(&case.after[&parameter].1);
            let start = to_f64(&case.parameters[&parameter].1);
            let error = distance(&to_f64(&found), &wanted) / distance(&wanted, &start);
            assert!(
                error <= 1e-3,
                "{name}: {parameter} is off by {error:.2e} of its movement"
            );
        }
    }
}

/// The gradient that the trainer's graph leaves in its states at step 0.
pub fn check_gradients(backend: &dyn Backend, objectives: Objectives) {
    for (_, case, packed) in cases_and_layouts() {
        let mut objectives = objectives(&case);
        let batch = label(&mut objectives, prepared(&case))
            .unwrap()
            .packed(packed);
        // Two entries to spare: they weigh nothing.
        let capacities: Vec<usize> = batch.predictions().iter().map(|n| n + 2).collect();
        let shape = ForwardShape::of(&batch, &capacities);
        if let Layout::Packed { rows } = shape.layout {
            assert!(rows < shape.batch, "no two examples share a row");
        }
        let built = gradient(&case.config, &mut objectives, &shape, false).unwrap();
        let names: Vec<String> = objectives.iter().map(|o| o.name().to_owned()).collect();
        let mut feeds = batch.feeds(&names, &capacities);
        for (objective, units) in objectives.iter().zip(&batch.units) {
            let scale = (objective.weight() / units) as f32;
            feeds.set(scale_name(objective.name()), vec![scale]);
        }
        let mut session = backend.session().unwrap();
        let parameters = built.parameters.clone();
        assert_eq!(parameters.len(), case.gradients.len());
        let program = session.load(built.graph).unwrap();
        for (parameter, (_, values)) in &case.parameters {
            session.set_state(parameter, values).unwrap();
        }
        session.run(program, &feeds, RandomKey::default()).unwrap();
        let whole = case.golden.steps[0].grad_norm;
        for spec in &parameters {
            let found = to_f64(&session.state(&gradient_name(&spec.name)).unwrap());
            let wanted = to_f64(&case.gradients[&spec.name].1);
            // The keys' biases have no gradient, see `heads`.
            if norm(&wanted) < 1e-6 * whole {
                assert!(norm(&found) < 1e-6 * whole, "{} is not zero", spec.name);
            } else {
                assert_close(&spec.name, &found, &wanted, 1e-4);
            }
        }
    }
}

fn own_objectives(case: &Case) -> Vec<Box<dyn Objective>> {
    vec![Box::new(Masked::new(case)), Box::new(Next)]
}

fn own_optimizer(case: &Case) -> Box<dyn Optimizer> {
    Box::new(InGraph(case.golden.optimizer.clone()))
}

#[test]
fn the_trainer_on_stock_luminal_has_pytorchs_gradients() {
    check_gradients(&ReferenceBackend, own_objectives);
}

#[test]
fn the_trainer_on_stock_luminal_follows_pytorch_over_ten_steps() {
    check_training(&ReferenceBackend, own_objectives, own_optimizer);
}

#[test]
fn the_trainer_on_the_cpu_has_pytorchs_gradients() {
    check_gradients(&CpuBackend::new(2).unwrap(), own_objectives);
}

#[test]
fn the_trainer_on_the_cpu_follows_pytorch_over_ten_steps() {
    check_training(&CpuBackend::new(2).unwrap(), own_objectives, own_optimizer);
}

#[test]
fn the_plugins_on_the_cpu_have_pytorchs_gradients() {
    check_gradients(&CpuBackend::new(2).unwrap(), plugins::objectives);
}

#[test]
fn the_plugins_on_the_cpu_follow_pytorch_over_ten_steps() {
    let backend = CpuBackend::new(2).unwrap();
    check_training(&backend, plugins::objectives, plugins::optimizer);
}
