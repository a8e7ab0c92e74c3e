//! What a recipe can choose: every optimizer trains, budgets are kept, stopping rules compose.

use serde_json::Value;

use crate::support::{json, metrics, Folder};

fn result(folder: &Folder, runs: &str, arm: &str) -> Value {
    json(folder.trial(runs, arm, 1).join("result.json"))
}

/// Losses of the training steps of a trial.
fn losses(folder: &Folder, runs: &str) -> Vec<f64> {
    metrics(&folder.trial(runs, "baseline", 1))
        .iter()
        .filter(|row| row.get("split").is_none())
        .map(|row| row["loss"].as_f64().unwrap())
        .collect()
}

#[test]
fn every_optimizer_trains() {
    let folder = Folder::new();
    let steps = "stop.max_steps.steps=40";
    for (name, optimizer) in [
        ("sgd", "{learning_rate: 0.3, momentum: 0.9, nesterov: true}"),
        ("adagrad", "{learning_rate: 0.02}"),
        ("rmsprop", "{learning_rate: 2.0e-3}"),
        ("adam", "{learning_rate: 5.0e-3}"),
        ("adamw", "{learning_rate: 5.0e-3}"),
        ("adafactor", "{learning_rate: 0.05}"),
        ("lamb", "{learning_rate: 0.02}"),
        ("lion", "{learning_rate: 1.0e-3}"),
        (
            "muon",
            "{learning_rate: 0.02, adamw: {learning_rate: 5.0e-3}}",
        ),
        (
            "shampoo",
            "{learning_rate: 5.0e-3, interval: 4, max_preconditioner_dim: 64}",
        ),
    ] {
        let optimizer = format!("optimizer={{{name}: {optimizer}}}");
        let arguments = [
            "run",
            "tiny.yaml",
            "--quiet",
            "--seed",
            "1",
            "--runs",
            name,
            "--set",
            steps,
            "--set",
            &optimizer,
            "--set",
            "experiment={}",
        ];
        folder.ablate(&arguments).exits(0);
        let losses = losses(&folder, name);
        let mean = |some: &[f64]| some.iter().sum::<f64>() / some.len() as f64;
        let (first, last) = (mean(&losses[..5]), mean(&losses[35..]));
        assert!(last < first - 0.1, "{name}: {first} to {last}");
    }
}

#[test]
fn arms_end_at_equal_compute() {
    let folder = Folder::new();
    let run = |runs: &str, stop: &str| {
        let stop = format!("stop={stop}");
        let arguments = [
            "run",
            "tiny.yaml",
            "--quiet",
            "--seed",
            "1",
            "--runs",
            runs,
            "--set",
            &stop,
            "--set",
            "schedule.constant={}",
        ];
        folder.ablate(&arguments).exits(0);
    };
    run("steps", "[{max_steps: {steps: 6}}]");
    let spent = |runs: &str, arm: &str| result(&folder, runs, arm)["flops"].as_f64().unwrap();
    let step = |arm| spent("steps", arm) / 6.0;
    assert!(step("wider") > 1.02 * step("baseline"));

    let budget = 40.5 * step("baseline");
    run("flops", &format!("[{{max_flops: {{flops: {budget}}}}}]"));
    for arm in ["baseline", "wider"] {
        assert_eq!(result(&folder, "flops", arm)["stopped_by"], "max_flops");
        let over = spent("flops", arm) - budget;
        assert!(over >= 0.0 && over < 1.01 * step(arm), "{arm}: {over}");
    }
    let steps = |arm| result(&folder, "flops", arm)["steps"].as_u64().unwrap();
    assert_eq!(steps("baseline"), 41);
    assert!(steps("wider") < 41);
}

#[test]
fn a_record_names_the_composition_that_ended_it() {
    let folder = Folder::new();
    let stop = "stop=[{max_steps: {steps: 9}}, \
                {all: [{any: [{max_tokens: {tokens: 1}}, {max_seconds: {seconds: 1.0e9}}]}, \
                {max_steps: {steps: 4}}, {not: {target_loss: {loss: 0.0}}}]}]";
    let arguments = ["run", "tiny.yaml", "--quiet", "--seed", "1", "--set", stop];
    folder.ablate(&arguments).exits(0);
    let result = result(&folder, "runs", "baseline");
    assert_eq!(
        result["stopped_by"],
        "all(any(max_tokens, max_seconds), max_steps, not(target_loss))"
    );
    assert_eq!(
        (&result["steps"], &result["status"]),
        (&4.into(), &"finished".into())
    );
    let reason = result["reason"].as_str().unwrap();
    assert!(
        reason.contains("max_tokens: ")
            && reason.contains("; max_steps: 4 steps are done; ")
            && reason.ends_with("target_loss does not hold"),
        "{reason}"
    );
}
