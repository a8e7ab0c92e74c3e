//! Batches are prepared on a thread of their own, ahead of the step that runs, and nobody can tell from
//! the numbers.

mod common;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ablate_train::*;
use common::*;

/// Windows that are prepared ahead.
const DEPTH: u64 = 2;

type Hook = Box<dyn FnMut(u64) -> Result<(), SourceError> + Send>;

/// `Rows` with a hook before each window (its number, from 0) and one before each held-out batch.
struct Watched {
    rows: Rows,
    windows: u64,
    before_window: Hook,
    before_evaluation: Hook,
}

impl Watched {
    fn new(before_window: impl FnMut(u64) -> Result<(), SourceError> + Send + 'static) -> Self {
        Watched {
            rows: Rows::new(10, 2, 2),
            windows: 0,
            before_window: Box::new(before_window),
            before_evaluation: Box::new(|_| Ok(())),
        }
    }
}

impl BatchSource for Watched {
    fn next_window(&mut self) -> Result<Window, SourceError> {
        (self.before_window)(self.windows)?;
        self.windows += 1;
        self.rows.next_window()
    }

    fn cursor(&self) -> serde_json::Value {
        self.rows.cursor()
    }

    fn restore(&mut self, cursor: &serde_json::Value) -> Result<(), SourceError> {
        self.rows.restore(cursor)
    }

    fn evaluation(
        &mut self,
        split: Split,
    ) -> Result<Box<dyn Iterator<Item = PreparedBatch> + '_>, SourceError> {
        (self.before_evaluation)(self.windows)?;
        self.rows.evaluation(split)
    }
}

fn with_evaluation(folder: Option<&Path>) -> TrainerConfig {
    TrainerConfig {
        evaluate_every: Some(2),
        ..config(folder)
    }
}

fn train(
    trainer: &mut Trainer,
    mut at_step: impl FnMut(&MetricsRow),
) -> Result<Outcome, TrainError> {
    trainer.run(
        &mut |event| {
            if let TrainEvent::Step(row) = event {
                at_step(row);
            }
        },
        &AtomicBool::new(false),
    )
}

fn bits(trainer: &Trainer) -> Vec<u32> {
    let tensors = trainer.tensors().unwrap();
    let values = tensors.iter().flat_map(|t| &t.values);
    values.map(|v| v.to_bits()).collect()
}

/// What a trial without incident comes to.
fn undisturbed(steps: u64) -> (Vec<u32>, Outcome) {
    let mut first = trainer(with_evaluation(None), Watched::new(|_| Ok(())), steps);
    let outcome = train(&mut first, |_| {}).unwrap();
    (bits(&first), outcome)
}

/// The deadline only ends a test that would hang.
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_thread_is_ahead_by_its_depth_and_no_more() {
    let prepared = Arc::new(AtomicU64::new(0));
    let count = prepared.clone();
    let names = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = names.clone();
    let source = Watched::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let name = std::thread::current().name().map(str::to_owned);
        seen.lock().unwrap().push(name);
        Ok(())
    });
    let mut first = trainer(with_evaluation(None), source, 6);
    train(&mut first, |row| {
        // Not one window is taken while this runs: only the thread can be at work.
        wait_until("it is not ahead", || {
            prepared.load(Ordering::SeqCst) == row.step + DEPTH
        });
    })
    .unwrap();
    drop(first);
    assert_eq!(prepared.load(Ordering::SeqCst), 6 + DEPTH);
    let names = names.lock().unwrap();
    assert!(names.iter().all(|n| n.as_deref() == Some("ablate-data")));
}

#[test]
fn a_thread_that_lags_behind_changes_no_bit_and_its_seconds_are_recorded() {
    let (expected, smooth) = undisturbed(11);
    let folder = tempfile::tempdir().unwrap();
    let trained = Arc::new(AtomicU64::new(0));
    let done = trained.clone();
    // Each window that is trained is begun only when every one before it is done, and takes its time.
    let source = Watched::new(move |window| {
        if window < 11 {
            wait_until("no step is trained", || {
                done.load(Ordering::SeqCst) >= window
            });
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    });
    let mut c = config(Some(folder.path()));
    c.checkpoint.every_steps = 10;
    let mut first = trainer(c, source, 11);
    let mut waits = Vec::new();
    let outcome = train(&mut first, |row| {
        trained.store(row.step, Ordering::SeqCst);
        waits.push(row.data_seconds.unwrap());
        assert!(row.data_seconds.unwrap() <= row.seconds);
    })
    .unwrap();
    assert_eq!(bits(&first), expected);
    assert_eq!(outcome.tokens, smooth.tokens);
    assert!(waits.is_sorted(), "{waits:?}");
    assert_eq!(outcome.data_wait_seconds, waits[10]);
    // During ten of the windows the trainer could do nothing else than wait.
    assert!(waits[10] > 0.02, "{waits:?}");
    // A run that is continued goes on counting.
    let saved = checkpoint::read(&folder.path().join("checkpoint.safetensors"), "test");
    let (progress, _) = saved.unwrap().unwrap();
    assert_eq!(progress.step, 10);
    // JSON keeps a number to its last bit but one.
    assert!((progress.data_wait_seconds - waits[9]).abs() < 1e-9);
}

#[test]
fn an_error_arrives_at_its_step_and_the_run_can_be_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let broken = Watched::new(|window| match window {
        5 => Err(SourceError::new("the disk is gone")),
        _ => Ok(()),
    });
    let mut first = trainer(with_evaluation(Some(folder.path())), broken, 11);
    let mut last = 0;
    let error = train(&mut first, |row| {
        // Give the thread every chance to be early with its error.
        std::thread::sleep(Duration::from_millis(5));
        last = row.step;
    })
    .unwrap_err();
    assert_eq!(error.to_string(), "data: the disk is gone");
    assert_eq!(last, 5, "window 5 belongs to step 6");
    // Asked again it neither hangs nor makes up a window.
    let again = train(&mut first, |_| panic!("there is no step")).unwrap_err();
    assert!(
        again.to_string().contains("data thread has ended"),
        "{again}"
    );
    drop(first);

    let mut repaired = trainer(
        with_evaluation(Some(folder.path())),
        Watched::new(|_| Ok(())),
        11,
    );
    assert!(repaired.resumed());
    train(&mut repaired, |_| {}).unwrap();
    assert_eq!(bits(&repaired), undisturbed(11).0);
}

#[test]
fn what_is_wrong_behind_the_last_step_hurts_nobody() {
    let failed = Arc::new(AtomicBool::new(false));
    let told = failed.clone();
    let source = Watched::new(move |window| match window {
        0..4 => Ok(()),
        _ => {
            told.store(true, Ordering::SeqCst);
            Err(SourceError::new("never needed"))
        }
    });
    let mut first = trainer(with_evaluation(None), source, 4);
    let outcome = train(&mut first, |row| {
        if row.step == 4 {
            wait_until("no error", || failed.load(Ordering::SeqCst));
        }
    })
    .unwrap();
    let (expected, smooth) = undisturbed(4);
    assert_eq!(bits(&first), expected);
    // The held-out splits are measured all the same.
    let loss = |o: &Outcome| o.test.as_ref().unwrap().loss.to_bits();
    assert_eq!(loss(&outcome), loss(&smooth));
}

#[test]
fn an_error_in_an_evaluation_is_told() {
    let mut source = Watched::new(|_| Ok(()));
    source.before_evaluation = Box::new(|_| Err(SourceError::new("no such split")));
    let mut first = trainer(with_evaluation(None), source, 4);
    let error = train(&mut first, |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "data: no such split");
}

#[test]
fn a_panic_arrives_at_its_step() {
    let source = Watched::new(|window| {
        assert!(window != 3, "window {window} is cursed");
        Ok(())
    });
    let mut first = trainer(with_evaluation(None), source, 11);
    let mut last = 0;
    let panic = catch_unwind(AssertUnwindSafe(|| {
        train(&mut first, |row| last = row.step)
    }))
    .unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert_eq!(message, "window 3 is cursed");
    assert_eq!(last, 3, "window 3 belongs to step 4");
    drop(first);
}

#[test]
fn a_panic_in_an_evaluation_arrives_too() {
    let mut source = Watched::new(|_| Ok(()));
    source.before_evaluation = Box::new(|_| panic!("held out too well"));
    let mut first = trainer(with_evaluation(None), source, 4);
    let panic = catch_unwind(AssertUnwindSafe(|| train(&mut first, |_| {}))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"held out too well"));
}

/// `Words` whose data hook fails after some calls.
struct Tired(u64);

impl Objective for Tired {
    fn name(&self) -> &str {
        "words"
    }
    fn weight(&self) -> f64 {
        2.0
    }
    fn needs_pairs(&self) -> bool {
        false
    }
    fn duplicate(&self) -> Result<Box<dyn Objective>, PluginError> {
        Ok(Box::new(Tired(self.0)))
    }
    fn prepare(&mut self, batch: &mut PreparedBatch) -> Result<f64, PluginError> {
        self.0 = self
            .0
            .checked_sub(1)
            .ok_or_else(|| PluginError::new("words", "prepare", "tired"))?;
        Words.prepare(batch)
    }
    fn build(&mut self, cx: &mut ObjectiveContext<'_>) -> Result<ObjectiveGraph, PluginError> {
        Words.build(cx)
    }
}

#[test]
fn a_data_hook_that_fails_is_named_at_its_step() {
    let mut parts = parts(Watched::new(|_| Ok(())), 11);
    // Windows of 2 + 2, 2 + 2, 2 rows: the sixth call is in the fourth window.
    parts.objectives = vec![Box::new(Tired(5))];
    let mut first = Trainer::new(config(None), parts).unwrap();
    let mut last = 0;
    let error = train(&mut first, |row| last = row.step).unwrap_err();
    assert_eq!(error.to_string(), "plugin `words`, hook `prepare`: tired");
    assert_eq!(last, 3);
}

#[test]
fn a_first_window_that_fails_is_an_error_of_the_start() {
    for source in [
        Watched::new(|_| Err(SourceError::new("nothing there"))),
        Watched {
            rows: Rows::new(0, 2, 2),
            ..Watched::new(|_| Ok(()))
        },
    ] {
        let error = Trainer::new(config(None), parts(source, 4)).err().unwrap();
        let text = error.to_string();
        assert!(
            text == "data: nothing there" || text == "data: there is a window without a batch",
            "{text}"
        );
    }
}

#[test]
fn a_save_knows_the_next_window_to_train() {
    let folder = tempfile::tempdir().unwrap();
    let prepared = Arc::new(AtomicU64::new(0));
    let count = prepared.clone();
    let source = Watched::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let mut first = trainer(config(Some(folder.path())), source, 11);
    let interrupt = AtomicBool::new(false);
    let outcome = first
        .run(
            &mut |event| {
                if matches!(event, TrainEvent::Step(row) if row.step == 2) {
                    wait_until("it is not ahead", || {
                        prepared.load(Ordering::SeqCst) == 2 + DEPTH
                    });
                    interrupt.store(true, Ordering::SeqCst);
                }
            },
            &interrupt,
        )
        .unwrap();
    assert_eq!(outcome.ending, Ending::Interrupted);
    let path = folder.path().join("checkpoint.safetensors");
    let (progress, _) = checkpoint::read(&path, "test").unwrap().unwrap();
    // Two windows of two batches of two rows.
    assert_eq!(progress.cursor, serde_json::json!([0, 8]));
    // The same trainer can go on as well as a new one.
    train(&mut first, |_| {}).unwrap();
    let mut resumed = trainer(config(Some(folder.path())), Watched::new(|_| Ok(())), 11);
    assert_eq!(resumed.step(), 2);
    train(&mut resumed, |_| {}).unwrap();
    assert_eq!(bits(&first), bits(&resumed));
}
