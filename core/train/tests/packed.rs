//! Packed training is padded training: losses, gradients, ten steps, records, resume.

// Parts of it serve the other tests only.
#[allow(dead_code)]
mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use ablate_bert::{Layout, Role};
use ablate_compiler::{Backend, ReferenceBackend};
use ablate_graph::{GraphError, RandomKey};
use ablate_train::graphs::{gradient, gradient_name, output_name, scale_name, ForwardShape};
use ablate_train::window::{label, label_window};
use ablate_train::*;
use common::*;
use proptest::prelude::*;

/// Is the first word's id odd? A label for each sequence, predicted from the pooled state.
struct Odd;

impl Objective for Odd {
    fn name(&self) -> &str {
        "odd"
    }
    fn weight(&self) -> f64 {
        0.5
    }
    fn needs_pairs(&self) -> bool {
        false
    }
    fn duplicate(&self) -> Result<Box<dyn Objective>, PluginError> {
        Ok(Box::new(Odd))
    }
    fn prepare(&mut self, batch: &mut PreparedBatch) -> Result<f64, PluginError> {
        let label = |row: usize| match row < batch.rows {
            true => batch.input_ids[row * batch.seq] % 2,
            false => IGNORED,
        };
        let labels = Feature::PerSequence((0..batch.batch).map(label).collect());
        batch.features.insert("labels".into(), labels);
        Ok(batch.rows as f64)
    }
    fn build(&mut self, cx: &mut ObjectiveContext<'_>) -> Result<ObjectiveGraph, PluginError> {
        let pooled = cx.encoder.pooled(cx.graph);
        let pooled = pooled.map_err(|e| PluginError::new("odd", "build", e))?;
        let mut nodes = || -> Result<ObjectiveGraph, GraphError> {
            let weight = cx.parameter("odd.weight", &[2, pooled.shape()[1]], Role::Weight)?;
            let logits = cx.graph.linear(&pooled, &weight, None)?;
            let losses = cx.graph.cross_entropy(
                &logits,
                &cx.features["labels.values"],
                Some(&cx.features["labels.weights"]),
            )?;
            Ok(ObjectiveGraph {
                loss_sum: cx.graph.sum_all(&losses)?,
                metrics: Vec::new(),
            })
        };
        nodes().map_err(|e| PluginError::new("odd", "build", e))
    }
}

fn objectives() -> Vec<Box<dyn Objective>> {
    vec![Box::new(Words), Box::new(Odd)]
}

/// Examples of these lengths, the words all different, so that any mix-up shows.
fn rows(lengths: &[usize], batch: usize, accumulate: usize) -> Rows {
    let example = |(i, &length): (usize, &usize)| {
        (0..length)
            .map(|place| 5 + ((3 * i + 5 * place + i * place) % 6) as i64)
            .collect()
    };
    Rows {
        examples: lengths.iter().enumerate().map(example).collect(),
        batch,
        accumulate,
        at: (0, 0),
    }
}

/// Lengths up to [`SEQ`] whose windows of four need two, three or four rows.
const LENGTHS: [usize; 14] = [2, 3, 1, 4, 5, 5, 4, 5, 2, 2, 3, 3, 1, 2];

fn trainer_of(mut config: TrainerConfig, packed: bool, steps: u64) -> Trainer {
    config.packed = packed;
    let parts = Parts {
        session: ReferenceBackend.session().unwrap(),
        objectives: objectives(),
        optimizer: Box::new(Momentum),
        schedule: Box::new(schedule::Constant),
        rules: vec![Box::new(Until { steps, seen: 0 })],
        source: Box::new(rows(&LENGTHS, 4, 2)),
    };
    Trainer::new(config, parts).unwrap()
}

fn run(trainer: &mut Trainer) -> (Outcome, Vec<MetricsRow>) {
    let mut rows = Vec::new();
    let mut keep = |event: TrainEvent<'_>| match event {
        TrainEvent::Step(row) | TrainEvent::Evaluation(row) => rows.push(row.clone()),
        TrainEvent::Checkpoint { .. } => {}
    };
    let outcome = trainer.run(&mut keep, &AtomicBool::new(false)).unwrap();
    (outcome, rows)
}

fn bits(trainer: &Trainer) -> Vec<u32> {
    let tensors = trainer.tensors().unwrap();
    let values = tensors.iter().flat_map(|t| &t.values);
    values.map(|v| v.to_bits()).collect()
}

#[test]
fn ten_steps_and_every_evaluation_are_those_of_padded_training() {
    let mut settings = config(None);
    settings.evaluate_every = Some(3);
    settings.clip_norm = Some(1.0);
    let mut padded = trainer_of(settings.clone(), false, 10);
    let mut packed = trainer_of(settings, true, 10);
    let (whole, wanted) = run(&mut padded);
    let (less, found) = run(&mut packed);
    assert_eq!(wanted.len(), 10 + 3 + 1 + 1);
    for (f, w) in found.iter().zip(&wanted) {
        assert_eq!((f.step, f.split, f.tokens), (w.step, w.split, w.tokens));
        let names = |row: &MetricsRow| row.values.iter().map(|v| v.0.clone()).collect::<Vec<_>>();
        assert_eq!(names(f), names(w));
        let numbers = |row: &MetricsRow| {
            let values = row.values.iter().map(|v| v.1);
            values.chain([row.loss, row.grad_norm]).collect::<Vec<_>>()
        };
        for (x, y) in numbers(f).iter().zip(numbers(w)) {
            assert!((x - y).abs() <= 2e-5 * (1.0 + y.abs()), "{f:?}\n{w:?}");
        }
    }
    for (f, w) in packed
        .tensors()
        .unwrap()
        .iter()
        .zip(padded.tensors().unwrap())
    {
        assert_eq!(f.name, w.name);
        for (x, y) in f.values.iter().zip(&w.values) {
            assert!((x - y).abs() <= 1e-4, "{}: {x} is not {y}", f.name);
        }
    }
    // Ten steps moved the loss, and padding was not computed.
    assert!((wanted[0].loss - wanted[9].loss).abs() > 0.05);
    assert!(less.flops < 0.8 * whole.flops, "{less:?}\n{whole:?}");
    assert_eq!(less.tokens, whole.tokens);
}

#[test]
fn packed_training_resumes_to_the_same_bits() {
    let settings = |folder: &std::path::Path| {
        let mut c = config(Some(folder));
        c.model.hidden_dropout_prob = 0.2;
        c.model.attention_probs_dropout_prob = 0.2;
        c.evaluate_every = Some(4);
        c
    };
    // The windows differ in their number of rows, so that more than one program takes part.
    let mut source = rows(&LENGTHS, 4, 2);
    let mut layouts = Vec::new();
    for _ in 0..2 {
        let window = label_window(&mut objectives(), source.next_window().unwrap()).unwrap();
        for batch in window.packed(true).batches {
            layouts.push(ForwardShape::of(&batch, &[8, 0]).layout);
        }
    }
    let packed = |rows| Layout::Packed { rows };
    assert_eq!(layouts, [packed(2), packed(4), packed(2), packed(1)]);

    let whole = tempfile::tempdir().unwrap();
    let mut straight = trainer_of(settings(whole.path()), true, 9);
    run(&mut straight);
    let halted = tempfile::tempdir().unwrap();
    let interrupt = AtomicBool::new(false);
    let mut first = trainer_of(settings(halted.path()), true, 9);
    let ending = first.run(
        &mut |event| {
            if matches!(event, TrainEvent::Step(row) if row.step == 5) {
                interrupt.store(true, Ordering::Relaxed);
            }
        },
        &interrupt,
    );
    assert_eq!(ending.unwrap().ending, Ending::Interrupted);
    drop(first);
    let mut second = trainer_of(settings(halted.path()), true, 9);
    assert!(second.resumed() && second.step() == 5);
    run(&mut second);
    assert_eq!(bits(&straight), bits(&second));
    // Dropout is drawn by place, so packing draws another: not an error, but not nothing either.
    let other = tempfile::tempdir().unwrap();
    let mut padded = trainer_of(settings(other.path()), false, 9);
    run(&mut padded);
    assert_ne!(bits(&straight), bits(&padded));
}

/// Sums of losses and every gradient of one micro-batch.
fn gradients(batch: PreparedBatch, packed: bool) -> BTreeMap<String, Vec<f32>> {
    let mut objectives = objectives();
    let batch = label(&mut objectives, batch).unwrap().packed(packed);
    let capacities = batch.predictions();
    let shape = ForwardShape::of(&batch, &capacities);
    let settings = config(None);
    let built = gradient(&settings.model, &mut objectives, &shape, false).unwrap();
    let names: Vec<String> = objectives.iter().map(|o| o.name().to_owned()).collect();
    let mut feeds = batch.feeds(&names, &capacities);
    for name in &names {
        feeds.set(scale_name(name), vec![1.0]);
    }
    let mut session = ReferenceBackend.session().unwrap();
    for spec in &built.parameters {
        let values = settings.model.initial_values(spec, &settings.init, 3);
        session.set_state(&spec.name, &values).unwrap();
    }
    let parameters = built.parameters;
    let program = session.load(built.graph).unwrap();
    session.run(program, &feeds, RandomKey::default()).unwrap();
    let mut found = BTreeMap::new();
    for name in &names {
        let output = output_name(name, "loss_sum");
        let sum = session.output(program, &output).unwrap().to_vec();
        found.insert(output, sum);
    }
    for spec in &parameters {
        let name = gradient_name(&spec.name);
        found.insert(name.clone(), session.state(&name).unwrap());
    }
    found
}

proptest! {
    // Each case builds and runs two graphs on stock luminal.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn losses_and_gradients_are_the_same_for_any_lengths(
        lengths in prop::collection::vec(1usize..=SEQ, 1..8),
        spare in 0usize..3,
    ) {
        // The last rows of the batch may be padding altogether.
        let mut source = rows(&lengths, lengths.len() + spare, 1);
        let batch = source.next_window().unwrap().batches.remove(0);
        let padded = gradients(batch.clone(), false);
        let packed = gradients(batch, true);
        prop_assert_eq!(padded.keys().collect::<Vec<_>>(), packed.keys().collect::<Vec<_>>());
        for (name, wanted) in &padded {
            let largest = wanted.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            for (x, y) in packed[name].iter().zip(wanted) {
                prop_assert!((x - y).abs() <= 2e-5 * (1.0 + largest), "{}: {} is not {}", name, x, y);
            }
        }
    }
}

/// Labels a token of padding.
struct Careless;

impl Objective for Careless {
    fn name(&self) -> &str {
        "careless"
    }
    fn weight(&self) -> f64 {
        1.0
    }
    fn needs_pairs(&self) -> bool {
        false
    }
    fn duplicate(&self) -> Result<Box<dyn Objective>, PluginError> {
        Ok(Box::new(Careless))
    }
    fn prepare(&mut self, batch: &mut PreparedBatch) -> Result<f64, PluginError> {
        let mut labels = vec![IGNORED; batch.batch * batch.seq];
        labels[2 * SEQ - 1] = 7;
        batch
            .features
            .insert("words".into(), Feature::PerToken(labels));
        Ok(1.0)
    }
    fn build(&mut self, _: &mut ObjectiveContext<'_>) -> Result<ObjectiveGraph, PluginError> {
        Err(PluginError::new("careless", "build", "never called"))
    }
}

#[test]
fn padding_has_no_labels() {
    let batch = |lengths: &[usize]| {
        let window = rows(lengths, 2, 1).next_window().unwrap();
        label(
            &mut [Box::new(Careless) as Box<dyn Objective>],
            window.batches[0].clone(),
        )
    };
    batch(&[2, SEQ]).unwrap();
    let error = batch(&[2, 3]).unwrap_err().to_string();
    assert_eq!(
        error,
        "plugin `careless`, hook `prepare`: feature `words` labels token 4 of row 1, which is \
         padding; its label is -100"
    );
}
