//! A run that is killed or interrupted goes on to the same bytes.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{assert_same_trial, read, Done, Folder};

/// Long enough that a signal always comes in the middle.
const STEPS: &str = "stop=[{max_steps: {steps: 1000}}, {converged: {window: 900, tolerance: 0.0}}]";
const RUN: [&str; 10] = [
    "run",
    "tiny.yaml",
    "--seed",
    "1",
    "--threads",
    "1",
    "--set",
    STEPS,
    "--set",
    "evaluate.every_steps=20",
];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    RUN.iter().chain(more).copied().collect()
}

fn start(folder: &Folder, runs: &str) -> Child {
    folder
        .command(&with(&["--runs", runs]))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until the trial has recorded this many rows. The deadline only ends a test that would hang.
fn wait_for_rows(trial: &Path, rows: usize, child: &mut Child) {
    let path = trial.join("metrics.jsonl");
    let deadline = Instant::now() + Duration::from_secs(120);
    while !path.exists() || read(&path).lines().count() < rows {
        assert!(Instant::now() < deadline, "no {rows} rows");
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before {rows} rows"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn assert_unfinished(trial: &Path) {
    assert!(
        !trial.join("result.json").exists(),
        "the signal came too late"
    );
    assert!(trial.join("checkpoint.safetensors").exists());
}

/// The step after which the resumed run says that it goes on.
fn went_on_after(done: &Done) -> u64 {
    let (_, after) = done
        .stderr
        .split_once("going on after step ")
        .unwrap_or_else(|| panic!("it started over: {done}"));
    after.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
#[cfg(unix)]
fn killed_or_interrupted_a_run_goes_on_to_the_same_bytes() {
    let folder = Folder::new();
    folder.ablate(&with(&["--runs", "whole"])).exits(0);
    let whole = |arm| folder.trial("whole", arm, 1);

    // Killed twice, at moments of no one's choosing.
    let killed = folder.trial("killed", "baseline", 1);
    for rows in [100, 400] {
        let mut child = start(&folder, "killed");
        wait_for_rows(&killed, rows, &mut child);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_unfinished(&killed);
    }
    let done = folder.ablate(&with(&["--runs", "killed"])).exits(0);
    let step = went_on_after(&done);
    assert!(step >= 360 && step.is_multiple_of(20), "{step}");
    assert_same_trial(&whole("baseline"), &killed);
    assert!(!killed.join("checkpoint.safetensors").exists());
    assert_same_trial(&whole("wider"), &folder.trial("killed", "wider", 1));

    // Interrupted: it saves itself first, says so, and exits with its own code.
    let interrupted = folder.trial("interrupted", "baseline", 1);
    let mut child = start(&folder, "interrupted");
    wait_for_rows(&interrupted, 250, &mut child);
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: a signal to our own child, which has not been waited for, so that its id is still its own.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGINT) }, 0);
    let done = folder.done(child.wait_with_output().unwrap()).exits(3);
    assert!(done.stdout.contains("the same command goes on"), "{done}");
    assert_unfinished(&interrupted);
    let recorded = read(interrupted.join("metrics.jsonl")).lines().count();
    let done = folder.ablate(&with(&["--runs", "interrupted"])).exits(0);
    // Not one step is done twice.
    let step = went_on_after(&done);
    let evaluations = step / 20;
    assert_eq!(step + evaluations, recorded as u64);
    assert_same_trial(&whole("baseline"), &interrupted);
}

#[test]
fn two_processes_never_share_a_run() {
    let folder = Folder::new();
    let mut child = start(&folder, "runs");
    wait_for_rows(&folder.trial("runs", "baseline", 1), 1, &mut child);
    let second = folder.ablate(&["run", "tiny.yaml"]);
    child.kill().unwrap();
    child.wait().unwrap();
    insta::assert_snapshot!("two_processes_in_one_folder", second);
}
