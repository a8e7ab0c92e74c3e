//! Whole experiments of a tiny model over a corpus of a few dozen documents.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::Arc;

use ablate_datasets::Pairs;
use ablate_experiment::{
    run, DataStore, Event, ExperimentError, Plugins, Progress, RunOptions, RunSummary, Silent,
    TrialBatches,
};
use ablate_recipe::{load, Loaded};
use ablate_train::{BatchSource, Split};

/// A folder with a corpus and a recipe over it.
struct Fixture {
    folder: tempfile::TempDir,
}

const ARMS: &str = "
experiment:
  data:
    deduped: {\"data.curate+\": [{exact_dedup: {}}]}
  model:
    wider: {model.bert.hidden: 16}
  design: one_at_a_time
";

impl Fixture {
    fn new(experiment: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let words = ["red", "green", "blue", "black", "white", "grey", "pink"];
        let mut corpus = String::new();
        for i in 0..60_usize {
            // Every fourth document is a copy of the one before it.
            let n = if i % 4 == 3 { i - 1 } else { i };
            let sentence = |k: usize| {
                let word = |j: usize| words[(n * 5 + k * 3 + j * j) % words.len()];
                format!("{} {} {} number {n} .", word(0), word(1), word(2))
            };
            let text = format!("{} {} {}", sentence(1), sentence(2), sentence(3));
            writeln!(corpus, r#"{{"id": "d{i}", "text": "{text}"}}"#).unwrap();
        }
        std::fs::write(folder.path().join("corpus.jsonl"), corpus).unwrap();
        let recipe = format!(
            "
pipeline: tiny
seeds: [1, 2]
device: cpu
data:
  source: {{path: corpus.jsonl, text: text, id: id}}
  split: {{validation: 0.15, test: 0.15}}
  tokenizer: {{wordpiece: {{vocab_size: 90, lowercase: true}}}}
  sequence_length: 16
model:
  bert: {{layers: 1, hidden: 8, heads: 2, intermediate: 8, dropout: 0.1, max_positions: 32}}
objectives:
  - mlm: {{mask_rate: 0.2}}
  - nsp: {{weight: 0.5}}
optimizer: {{adamw: {{learning_rate: 1.0e-3}}}}
train: {{batch_size: 4, accumulate: 2, clip_norm: 1.0}}
stop:
  - max_steps: {{steps: 3}}
evaluate: {{every_steps: 2}}
{experiment}"
        );
        std::fs::write(folder.path().join("tiny.yaml"), recipe).unwrap();
        Fixture { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn load(&self, sets: &[&str]) -> (Loaded, Plugins) {
        let plugins = Plugins::built_in().unwrap();
        let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
        let loaded = load(&self.path().join("tiny.yaml"), &sets, &plugins.catalog())
            .unwrap_or_else(|e| panic!("{e}"));
        (loaded, plugins)
    }

    fn run(&self, sets: &[&str], progress: &mut dyn Progress) -> Result<RunSummary, String> {
        let (loaded, plugins) = self.load(sets);
        let options = RunOptions {
            runs: self.path().join("runs"),
            threads: 1,
            ..RunOptions::default()
        };
        run(
            &loaded,
            &plugins,
            &options,
            progress,
            &AtomicBool::new(false),
        )
        .map_err(|e| e.to_string())
    }

    fn result(&self, arm: &str, seed: u64) -> serde_json::Value {
        let path = self
            .path()
            .join(format!("runs/tiny/trials/{arm}/seed-{seed}/result.json"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }
}

#[derive(Default)]
struct Order(Vec<String>);

impl Progress for Order {
    fn event(&mut self, event: Event<'_>) {
        if let Event::TrialStarted { arm, seed, .. } = event {
            self.0.push(format!("{arm} {seed}"));
        }
    }
}

#[test]
fn every_arm_and_seed_leaves_a_record_and_is_skipped_next_time() {
    let fixture = Fixture::new(ARMS);
    let mut order = Order::default();
    let summary = fixture.run(&[], &mut order).unwrap();
    assert_eq!((summary.finished, summary.failed), (6, 0));
    assert_eq!(
        order.0,
        [
            "baseline 1",
            "deduped 1",
            "wider 1",
            "baseline 2",
            "deduped 2",
            "wider 2"
        ]
    );
    let result = fixture.result("wider", 2);
    assert_eq!(result["stopped_by"], "max_steps");
    assert_eq!(result["steps"], 3);
    assert_eq!(result["model"], "wider");
    assert!(result["test"]["mlm_accuracy"].is_number(), "{result}");
    assert!(result["flops"].as_f64().unwrap() > 0.0);
    let trial = fixture.path().join("runs/tiny/trials/baseline/seed-1");
    for file in [
        "metrics.jsonl",
        "export/step-0/model.safetensors",
        "export/final/config.json",
        "export/final/vocab.txt",
    ] {
        assert!(trial.join(file).is_file(), "{file}");
    }
    assert!(!trial.join("checkpoint.safetensors").exists());
    for file in ["recipe.yaml", "environment.json", "experiment.json"] {
        assert!(fixture.path().join("runs/tiny").join(file).is_file());
    }

    let again = fixture.run(&[], &mut Silent).unwrap();
    assert_eq!((again.skipped, again.finished), (6, 0));
    // A third seed leaves the others as they are.
    let more = fixture.run(&["seeds=[1,2,3]"], &mut Silent).unwrap();
    assert_eq!((more.skipped, more.finished), (6, 3));
    // Other settings must not be mixed in.
    let error = fixture
        .run(&["train.batch_size=2"], &mut Silent)
        .unwrap_err();
    assert!(error.contains("--fresh"), "{error}");
}

#[test]
fn a_failing_arm_is_recorded_and_the_others_go_on() {
    let fixture = Fixture::new(
        "
experiment:
  data:
    emptied: {\"data.curate+\": [{min_words: {words: 10000}}]}
  design: one_at_a_time
",
    );
    let summary = fixture.run(&["seeds=[1]"], &mut Silent).unwrap();
    assert_eq!((summary.finished, summary.failed), (1, 1));
    let result = fixture.result("emptied", 1);
    assert_eq!(result["status"], "failed");
    let reason = result["reason"].as_str().unwrap();
    assert!(reason.contains("min_words"), "{reason}");
    assert_eq!(fixture.result("baseline", 1)["status"], "finished");
    // Tried again, as the cause may be gone.
    let again = fixture.run(&["seeds=[1]"], &mut Silent).unwrap();
    assert_eq!((again.skipped, again.failed), (1, 1));
}

#[test]
fn a_blow_up_is_a_record_with_a_diagnosis() {
    let fixture = Fixture::new("");
    let sets = [
        "seeds=[1]",
        "optimizer={sgd: {learning_rate: 1.0e+30}}",
        "train.clip_norm=null",
        "stop=[{max_steps: {steps: 50}}]",
    ];
    let summary = fixture.run(&sets, &mut Silent).unwrap();
    assert_eq!((summary.diverged, summary.failed), (1, 0));
    let result = fixture.result("baseline", 1);
    assert_eq!(result["status"], "diverged");
    assert!(!result["diagnosis"].as_array().unwrap().is_empty());
    assert!(result["test"].is_null());
}

#[test]
fn held_out_data_and_tokenizer_are_the_baselines_for_every_data_arm() {
    let fixture = Fixture::new(ARMS);
    let (loaded, plugins) = fixture.load(&[]);
    let mut store = DataStore::new(&loaded.recipe.data, PathBuf::new(), &plugins).unwrap();
    let baseline = store.baseline().clone();
    let arm = store.get(&loaded.arms[1].recipe.data).unwrap();
    assert!(Arc::ptr_eq(&arm.validation, &baseline.validation));
    assert!(Arc::ptr_eq(&arm.test, &baseline.test));
    assert!(Arc::ptr_eq(&arm.tokenizer, &baseline.tokenizer));
    assert!(arm.train.documents() < baseline.train.documents());
    assert_ne!(arm.digest, baseline.digest);
    assert!(arm.comparable);
    // Asked twice, prepared once.
    let again = store.get(&loaded.arms[1].recipe.data).unwrap();
    assert!(Arc::ptr_eq(&arm.train, &again.train));

    let mut shorter = loaded.recipe.data.clone();
    shorter.sequence_length = 8;
    let shorter = store.get(&shorter).unwrap();
    assert_eq!(shorter.evaluation_length, 16);

    let mut other = loaded.recipe.data.clone();
    other.tokenizer = ablate_recipe::Tokenizer::Wordpiece {
        vocab_size: 60,
        lowercase: true,
    };
    assert!(!store.get(&other).unwrap().comparable);

    let mut split = loaded.recipe.data.clone();
    split.split.test = 0.3;
    let error = store.get(&split).unwrap_err();
    assert!(matches!(error, ExperimentError::Recipe(_)), "{error}");
}

#[test]
fn a_cursor_continues_with_the_same_batches_and_held_out_ones_never_change() {
    let fixture = Fixture::new("");
    let (loaded, plugins) = fixture.load(&[]);
    let store = DataStore::new(&loaded.recipe.data, PathBuf::new(), &plugins).unwrap();
    let batches =
        |seed| TrialBatches::new(store.baseline(), Pairs::NextSentence, 4, 2, seed).unwrap();
    let mut first = batches(1);
    for _ in 0..5 {
        first.next_window().unwrap();
    }
    let cursor = first.cursor();
    let expected: Vec<_> = (0..20)
        .map(|_| first.next_window().unwrap().batches)
        .collect();
    assert!(expected.iter().any(|w| w.len() == 1 || w[0].rows < 4));
    let mut second = batches(1);
    second.restore(&cursor).unwrap();
    for window in &expected {
        assert_eq!(&second.next_window().unwrap().batches, window);
    }
    assert!(second.restore(&serde_json::json!("elsewhere")).is_err());

    let mut other = batches(2);
    assert_ne!(&other.next_window().unwrap().batches, &expected[0]);
    for split in [Split::Validation, Split::Test] {
        let a: Vec<_> = first.evaluation(split).unwrap().collect();
        let b: Vec<_> = other.evaluation(split).unwrap().collect();
        assert!(!a.is_empty());
        assert_eq!(a, b);
    }
    assert_eq!(first.evaluation(Split::Train).unwrap().count(), 0);
}
