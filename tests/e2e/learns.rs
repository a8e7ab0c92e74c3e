//! The quickstart's baseline learns both of its tasks.

use std::fs;

use serde_json::Value;

use crate::support::{ablate, repository};

#[test]
fn the_quickstart_learns_words_and_sentence_order() {
    let runs = tempfile::tempdir().unwrap();
    // The recipe as shipped, one of its seeds, without its interventions.
    let output = ablate(&[
        "run",
        "pipelines/quickstart.yaml",
        "--quiet",
        "--runs",
        runs.path().to_str().unwrap(),
        "--set",
        "seeds=[1]",
        "--set",
        "experiment.data={}",
        "--set",
        "experiment.model={}",
    ])
    .current_dir(repository())
    .output()
    .unwrap();
    assert!(output.status.success(), "{output:?}");
    let read = |path: &str| -> Value {
        let text = fs::read_to_string(runs.path().join("quickstart").join(path)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let result = read("trials/baseline/seed-1/result.json");
    let entropy = read("experiment.json")["corpus"]["unigram_entropy_nats"]
        .as_f64()
        .unwrap();
    let test = |name: &str| result["test"][name].as_f64().unwrap();
    // Knowing every word's frequency, and nothing of its context, costs the entropy.
    assert!(test("mlm_loss") < entropy - 1.0, "{result} {entropy}");
    assert!(test("mlm_accuracy") > 0.25, "{result}");
    // Always answering `random` would be right for 0.57 of the pairs.
    assert!(test("nsp_accuracy") > 0.68, "{result}");
}
