//! Whole trials of a tiny model on the reference backend.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use ablate_train::*;
use common::*;

fn run(mut trainer: Trainer) -> (Trainer, Outcome, Vec<MetricsRow>) {
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
    (trainer, outcome, rows)
}

fn values(trainer: &Trainer) -> Vec<f32> {
    trainer
        .tensors()
        .unwrap()
        .into_iter()
        .flat_map(|t| t.values)
        .collect()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let diff = norm(&mut a.iter().zip(b).map(|(x, y)| f64::from(x - y)));
    diff / norm(&mut a.iter().map(|&x| f64::from(x)))
}

#[test]
fn the_loss_falls_and_the_rule_ends_it() {
    let (_, outcome, rows) = run(trainer(config(None), Rows::new(8, 4, 1), 12));
    assert_eq!(
        outcome.ending,
        Ending::Stopped {
            by: "until".into(),
            reason: "12 events".into()
        }
    );
    assert!(
        rows[11].loss < 0.9 * rows[0].loss,
        "{} then {}",
        rows[0].loss,
        rows[11].loss
    );
    // The cumulative loss is the weighted mean over units; its metric is the count of units.
    assert_eq!(rows[0].loss, 2.0 * rows[0].values[0].1);
    assert_eq!(outcome.test.unwrap().get("words_count"), Some(1.0));
    assert!(outcome.diagnosis.is_empty(), "{:?}", outcome.diagnosis);
}

#[test]
fn a_window_of_micro_batches_is_one_large_batch() {
    // Ten rows: as windows of 4 + 4 + 2 rows either way; the last window is partial, with one
    // micro-batch that is itself whole (2 + 2, 2 + 2, 2) or padded (4, 4, 2 of 4).
    let (small, _, small_rows) = run(trainer(config(None), Rows::new(10, 2, 2), 6));
    let (large, _, large_rows) = run(trainer(config(None), Rows::new(10, 4, 1), 6));
    for (a, b) in small_rows.iter().zip(&large_rows) {
        assert!((a.loss - b.loss).abs() < 1e-5, "{a:?}\n{b:?}");
        assert!((a.grad_norm - b.grad_norm).abs() < 1e-5 * a.grad_norm);
        assert_eq!(a.tokens, b.tokens);
    }
    let d = distance(&values(&small), &values(&large));
    assert!(d < 1e-5, "relative distance {d}");
    // The test would not notice a wrong window if windows did not matter.
    let (other, _, _) = run(trainer(config(None), Rows::new(10, 2, 1), 6));
    assert!(distance(&values(&small), &values(&other)) > 1e-3);
}

#[test]
fn clipping_bounds_the_first_change() {
    let before = values(&trainer(config(None), Rows::new(4, 4, 1), 1));
    let change = |clip| {
        let mut c = config(None);
        c.clip_norm = clip;
        let (after, _, rows) = run(trainer(c, Rows::new(4, 4, 1), 1));
        let length = values(&after)
            .iter()
            .zip(&before)
            .map(|(a, b)| f64::from(a - b).powi(2))
            .sum::<f64>()
            .sqrt();
        (length, rows[0].grad_norm)
    };
    // The change of the first step is the learning rate 0.1 times the clipped norm.
    let (free, norm) = change(None);
    assert!((free - 0.1 * norm).abs() < 1e-4 * free);
    let (clipped, same_norm) = change(Some(0.01));
    assert_eq!(
        norm, same_norm,
        "the recorded norm is the one before clipping"
    );
    assert!((clipped - 0.1 * 0.01).abs() < 1e-5, "{clipped}");
    let (loose, _) = change(Some(1e6));
    assert!((loose - free).abs() < 1e-6 * free);
}

#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let with_dropout = |folder: &std::path::Path| {
        let mut c = config(Some(folder));
        c.model.hidden_dropout_prob = 0.2;
        c.model.attention_probs_dropout_prob = 0.2;
        c.evaluate_every = Some(4);
        c.checkpoint.every_steps = 3;
        c
    };
    let strip = |folder: &std::path::Path| -> Vec<String> {
        std::fs::read_to_string(folder.join("metrics.jsonl"))
            .unwrap()
            .lines()
            .map(|l| l.split(r#","seconds""#).next().unwrap().to_owned())
            .collect()
    };
    let whole = tempfile::tempdir().unwrap();
    let (straight, outcome, _) = run(trainer(with_dropout(whole.path()), Rows::new(10, 2, 2), 11));

    // Killed without warning after step 8: the checkpoint is older than the last rows.
    let killed = tempfile::tempdir().unwrap();
    let mut first = trainer(with_dropout(killed.path()), Rows::new(10, 2, 2), 11);
    let mut last_saved = 0;
    let death = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        first.run(
            &mut |event| match event {
                TrainEvent::Checkpoint { step } => last_saved = step,
                TrainEvent::Step(row) if row.step == 10 => panic!("killed"),
                _ => {}
            },
            &AtomicBool::new(false),
        )
    }));
    assert!(death.is_err());
    drop(first);
    assert_eq!(last_saved, 8, "the test wants rows past the checkpoint");
    let second = trainer(with_dropout(killed.path()), Rows::new(10, 2, 2), 11);
    assert!(second.resumed() && second.step() == 8);
    let (resumed, again, _) = run(second);

    let bits = |t: &Trainer| -> Vec<u32> { values(t).iter().map(|v| v.to_bits()).collect() };
    assert_eq!(bits(&straight), bits(&resumed));
    assert_eq!(outcome.ending, again.ending);
    assert_eq!((outcome.tokens, outcome.flops), (again.tokens, again.flops));
    assert_eq!(strip(whole.path()), strip(killed.path()));
    // Another seed must not give the same bits, or the comparison proves nothing.
    let other = tempfile::tempdir().unwrap();
    let mut c = with_dropout(other.path());
    c.seed = 6;
    let (other, _, _) = run(trainer(c, Rows::new(10, 2, 2), 11));
    assert_ne!(bits(&straight), bits(&other));
}

#[test]
fn an_interrupt_saves_and_the_next_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = trainer(config(Some(folder.path())), Rows::new(8, 4, 1), 5);
    let interrupt = AtomicBool::new(false);
    let outcome = first
        .run(
            &mut |event| {
                if matches!(event, TrainEvent::Step(row) if row.step == 2) {
                    interrupt.store(true, Ordering::Relaxed);
                }
            },
            &interrupt,
        )
        .unwrap();
    assert_eq!(outcome.ending, Ending::Interrupted);
    let (_, outcome, rows) = run(trainer(config(Some(folder.path())), Rows::new(8, 4, 1), 5));
    assert_eq!(rows[0].step, 3);
    assert_eq!(outcome.steps, 5);
}

#[test]
fn a_blow_up_ends_with_a_diagnosis() {
    let mut c = config(None);
    c.learning_rate = 1e30;
    let (_, outcome, _) = run(trainer(c, Rows::new(4, 4, 1), 100));
    let Ending::Diverged { by, reason } = &outcome.ending else {
        panic!("{:?}", outcome.ending);
    };
    assert_eq!(by, "diverged");
    assert!(reason.contains("not a finite number"), "{reason}");
    assert!(
        outcome.diagnosis.iter().any(|d| d.contains("at step")),
        "{:?}",
        outcome.diagnosis
    );
    assert!(outcome.steps < 100);
}

#[test]
fn zero_initialisation_is_diagnosed() {
    let mut c = config(None);
    c.init = ablate_bert::Init::Zeros;
    c.learning_rate = 0.0;
    let (_, outcome, _) = run(trainer(c, Rows::new(4, 4, 1), 25));
    let text = outcome.diagnosis.join("\n");
    assert!(text.contains("constant loss"), "{text}");
    assert!(text.contains("all zero"), "{text}");
}

#[test]
fn the_record_has_exactly_the_documented_keys() {
    let folder = tempfile::tempdir().unwrap();
    let mut c = config(Some(folder.path()));
    c.evaluate_every = Some(1);
    run(trainer(c, Rows::new(8, 4, 1), 2));
    let text = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    let keys: Vec<String> = text
        .lines()
        .map(|l| {
            let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(l).unwrap();
            let split = row.get("split").and_then(|s| s.as_str()).unwrap_or("train");
            format!(
                "{split}: {}",
                row.keys().cloned().collect::<Vec<_>>().join(" ")
            )
        })
        .collect();
    let train = "train: step tokens loss words_loss learning_rate grad_norm seconds data_seconds";
    let held_out = |s: &str| {
        format!(
            "{s}: step tokens split loss words_loss words_count learning_rate grad_norm seconds"
        )
    };
    assert_eq!(
        keys,
        [
            train,
            &held_out("validation"),
            train,
            &held_out("validation"),
            &held_out("test")
        ]
    );
}
