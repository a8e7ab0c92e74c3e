//! `train.packed`: another way to compute the same run.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{assert_same_trial, json, metrics, read, Folder};

/// Longer rows than the corpus has sentences for, so that there is padding to leave out.
const SHORT: [&str; 6] = [
    "--set",
    "data.sequence_length=128",
    "--set",
    "objectives=[{mlm: {mask_rate: 0.15}}]",
    "--set",
    "train.packed=true",
];

fn with<'a>(first: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    first.iter().chain(more).copied().collect()
}

#[test]
fn a_packed_run_has_the_records_of_a_padded_one() {
    let folder = Folder::new();
    let run = |runs: &str, packed: &str, objectives: &str| {
        let arguments = [
            "run",
            "tiny.yaml",
            "--seed",
            "1",
            "--quiet",
            "--runs",
            runs,
            "--set",
            "data.sequence_length=128",
            "--set",
            "model.bert.dropout=0",
            "--set",
            objectives,
            "--set",
            packed,
        ];
        folder.ablate(&arguments).exits(0);
        folder.trial(runs, "baseline", 1)
    };
    // Sentences leave much padding, pairs cut to fill a row hardly any.
    for (name, share, objectives) in [
        ("words", 0.95, "objectives=[{mlm: {mask_rate: 0.15}}]"),
        (
            "both",
            1.0,
            "objectives=[{mlm: {mask_rate: 0.15}}, {nsp: {weight: 1.0}}]",
        ),
    ] {
        let padded = run(&format!("{name}-padded"), "train.packed=false", objectives);
        let packed = run(&format!("{name}-packed"), "train.packed=true", objectives);
        let (wanted, found) = (metrics(&padded), metrics(&packed));
        assert_eq!(found.len(), wanted.len());
        for (f, w) in found.iter().zip(&wanted) {
            assert_same_row(f, w);
        }
        let (wanted, found) = (result(&padded), result(&packed));
        for key in ["steps", "tokens", "parameters", "stopped_by"] {
            assert_eq!(found[key], wanted[key], "{key}");
        }
        // Less was computed for the same tokens.
        let flops = |result: &Value| result["flops"].as_f64().unwrap();
        assert!(flops(&found) < share * flops(&wanted), "{found}\n{wanted}");
    }
}

fn result(trial: &Path) -> Value {
    json(trial.join("result.json"))
}

fn assert_same_row(found: &Value, wanted: &Value) {
    let (f, w) = (found.as_object().unwrap(), wanted.as_object().unwrap());
    assert_eq!(f.keys().collect::<Vec<_>>(), w.keys().collect::<Vec<_>>());
    for (key, wanted) in w {
        match (f[key].as_f64(), wanted.as_f64()) {
            // The clocks.
            _ if key.ends_with("seconds") => {}
            (Some(x), Some(y)) => {
                assert!(
                    (x - y).abs() <= 1e-4 * (1.0 + y.abs()),
                    "{key}: {found}\n{wanted}"
                );
            }
            _ => assert_eq!(f[key], *wanted),
        }
    }
}

#[test]
fn the_batches_shown_are_those_of_padded_training() {
    let folder = Folder::new();
    let take = |name: &str, packed| {
        let arguments = [
            "batches",
            "tiny.yaml",
            "--arm",
            "baseline",
            "--seed",
            "1",
            "--steps",
            "4",
            "--out",
            name,
            "--set",
            packed,
        ];
        folder.ablate(&arguments).exits(0);
        std::fs::read(folder.path(name)).unwrap()
    };
    let padded = take("padded.safetensors", "train.packed=false");
    assert!(padded == take("packed.safetensors", "train.packed=true"));
}

#[test]
fn packed_gradients_and_graphs_can_be_looked_at() {
    let folder = Folder::new();
    folder
        .ablate(&with(&["gradcheck", "tiny.yaml"], &SHORT))
        .exits(0);
    let program = folder
        .ablate(&with(&["graph", "tiny.yaml", "--program"], &SHORT))
        .exits(0);
    assert!(program.stdout.contains("`position_ids`"), "{program}");
    assert!(!program.stdout.contains("`attention_mask`"), "{program}");
}

#[test]
fn a_killed_packed_run_goes_on_to_the_same_bytes() {
    let folder = Folder::new();
    let run = [
        "run",
        "tiny.yaml",
        "--seed",
        "1",
        "--threads",
        "1",
        "--set",
        "stop=[{max_steps: {steps: 300}}]",
        "--set",
        "evaluate.every_steps=20",
    ];
    let run = with(&run, &SHORT);
    folder.ablate(&with(&run, &["--runs", "whole"])).exits(0);

    let trial = folder.trial("killed", "baseline", 1);
    let mut child = folder
        .command(&with(&run, &["--runs", "killed"]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The deadline only ends a test that would hang.
    let deadline = Instant::now() + Duration::from_secs(120);
    let log = trial.join("metrics.jsonl");
    while !log.exists() || read(&log).lines().count() < 100 {
        assert!(Instant::now() < deadline, "no 100 rows");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!trial.join("result.json").exists(), "killed too late");
    assert!(trial.join("checkpoint.safetensors").exists());
    let done = folder.ablate(&with(&run, &["--runs", "killed"])).exits(0);
    assert!(done.stderr.contains("going on after step"), "{done}");
    assert_same_trial(&folder.trial("whole", "baseline", 1), &trial);
}
