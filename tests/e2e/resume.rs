//! A run that is killed or interrupted goes on to the same bytes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
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

    // Interrupted from the keyboard, by a scheduler, by a closed terminal: it saves itself first, says
    // so, and exits with its own code.
    let interrupted = folder.trial("interrupted", "baseline", 1);
    for (signal, rows) in [
        (libc::SIGINT, 250),
        (libc::SIGTERM, 450),
        (libc::SIGHUP, 650),
    ] {
        let mut child = start(&folder, "interrupted");
        wait_for_rows(&interrupted, rows, &mut child);
        send(signal, &child);
        let done = folder.done(child.wait_with_output().unwrap()).exits(3);
        assert!(done.stdout.contains("the same command goes on"), "{done}");
        assert!(done.stderr.contains("saving after this step"), "{done}");
        assert_unfinished(&interrupted);
    }
    let recorded = read(interrupted.join("metrics.jsonl")).lines().count();
    let done = folder.ablate(&with(&["--runs", "interrupted"])).exits(0);
    // Not one step is done twice.
    let step = went_on_after(&done);
    let evaluations = step / 20;
    assert_eq!(step + evaluations, recorded as u64);
    assert_same_trial(&whole("baseline"), &interrupted);
}

/// The first of two signals asks; the second does not wait for an answer.
#[test]
#[cfg(unix)]
fn a_second_signal_ends_it_at_once() {
    let folder = Folder::new();
    // The record is a pipe that nobody reads, so opening it never ends and no step looks at the signal.
    let trial = folder.trial("runs", "baseline", 1);
    std::fs::create_dir_all(&trial).unwrap();
    make_fifo(&trial.join("metrics.jsonl"));
    let mut child = folder
        .command(&["run", "tiny.yaml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    wait_for_line("baseline seed 1", &mut stderr);
    send(libc::SIGTERM, &child);
    wait_for_line("saving after this step", &mut stderr);
    assert!(child.try_wait().unwrap().is_none(), "one signal only asks");
    send(libc::SIGTERM, &child);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

/// `nohup` starts a program with SIGHUP ignored, and means it.
#[test]
#[cfg(unix)]
fn nohup_is_heeded() {
    let folder = Folder::new();
    let trial = folder.trial("runs", "baseline", 1);
    let mut command = folder.command(&with(&[]));
    ignore_hang_up(&mut command);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_rows(&trial, 20, &mut child);
    send(libc::SIGHUP, &child);
    wait_for_rows(&trial, 120, &mut child);
    send(libc::SIGTERM, &child);
    folder.done(child.wait_with_output().unwrap()).exits(3);
}

#[cfg(unix)]
fn send(signal: i32, child: &Child) {
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: a signal to our own child, which has not been waited for, so that its id is still its own.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

#[cfg(unix)]
fn make_fifo(path: &Path) {
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the text ends with zero and outlives the call.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

#[cfg(unix)]
fn ignore_hang_up(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: `signal` may be called between fork and exec; it allocates nothing.
    unsafe {
        command.pre_exec(|| match libc::signal(libc::SIGHUP, libc::SIG_IGN) {
            libc::SIG_ERR => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
}

/// Reads up to a line that contains `text`; the end of the stream is a failure.
#[cfg(unix)]
fn wait_for_line(text: &str, from: &mut impl BufRead) {
    let mut seen = String::new();
    while !seen.lines().any(|line| line.contains(text)) {
        assert_ne!(from.read_line(&mut seen).unwrap(), 0, "no {text}: {seen}");
    }
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
