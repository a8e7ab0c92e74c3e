//! Plugins that bring their process down: before a run, and in the middle of one.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{assert_same_trial, json, metrics, read, Done, Folder};

/// A project as `ablate plugin new --lang c` writes it, with pieces replaced, built. Gives the path of the
/// library, relative to the folder.
pub fn plugin(folder: &Folder, name: &str, kind: &str, changes: &[(&str, &str)]) -> PathBuf {
    folder
        .ablate(&["plugin", "new", name, "--kind", kind, "--lang", "c"])
        .exits(0);
    let source = folder.path(&format!("{name}/{name}.c"));
    let mut text = read(&source);
    for (from, to) in changes {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text = text.replace(from, to);
    }
    fs::write(&source, text).unwrap();
    let library = format!("{name}/{name}{}", std::env::consts::DLL_SUFFIX);
    let output = Command::new("cc")
        .args(["-std=c11", "-O1", "-shared", "-fPIC", "-o"])
        .arg(folder.path(&library))
        .arg(&source)
        .arg("-lm")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    PathBuf::from(library)
}

/// `tiny.yaml` with a plugin, under another name.
pub fn with_plugin(
    folder: &Folder,
    recipe: &str,
    library: &std::path::Path,
    changes: &[(&str, &str)],
) {
    let plugins = format!("device: cpu\nplugins: [{}]", library.display());
    let mut text = crate::support::TINY.replace("device: cpu", &plugins);
    for (from, to) in changes {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text = text.replace(from, to);
    }
    folder.write(recipe, text);
}

pub const ADAMW: &str = "optimizer: {adamw: {learning_rate: 1.0e-3, weight_decay: 0.01}}";

#[test]
fn a_crash_in_the_middle_leaves_every_other_trial_and_the_report() {
    let folder = Folder::new();
    // It looks at each step, and does not come back from the fiftieth.
    let library = plugin(
        &folder,
        "bomb",
        "stopping",
        &[(
            "*decision = ABLATE_CONTINUE;",
            "*decision = ABLATE_CONTINUE;\n  if (event->step == 50) *(volatile int *)8 = 1;",
        )],
    );
    with_plugin(
        &folder,
        "bombed.yaml",
        &library,
        &[
            ("max_steps: {steps: 6}", "max_steps: {steps: 60}"),
            ("every_steps: 3", "every_steps: 20"),
            (
                "    wider: {model.bert.intermediate: 64}",
                "    wider: {model.bert.intermediate: 64}\n    bombed: {\"stop+\": [{bomb: {}}]}",
            ),
        ],
    );
    let done = folder
        .ablate(&["run", "bombed.yaml", "--threads", "1"])
        .exits(1);
    assert!(done.stdout.contains("2 trials failed"), "{done}");
    for seed in [1, 2] {
        for arm in ["baseline", "wider"] {
            let result = json(folder.trial("runs", arm, seed).join("result.json"));
            assert_eq!(result["status"], "finished", "{arm} {seed}");
            assert_eq!(result["steps"], 60);
        }
        let trial = folder.trial("runs", "bombed", seed);
        let result = json(trial.join("result.json"));
        assert_eq!(result["status"], "failed");
        assert_eq!(result["stopped_by"], "error");
        assert_eq!(result["steps"], 50);
        let reason = result["reason"].as_str().unwrap();
        for part in [
            "died after step 50",
            "SIGSEGV",
            "the stopping rule `bomb` from",
            "bomb/bomb",
        ] {
            assert!(reason.contains(part), "{part}: {reason}");
        }
        assert!(metrics(&trial).len() >= 50);
    }
    for page in ["report.html", "report.md"] {
        let page = read(folder.path("runs/tiny").join(page));
        assert!(page.contains("SIGSEGV") && page.contains("wider"), "{page}");
    }
    // In this process it would have taken all along, which is what --in-process is for.
    let output = folder
        .command(&[
            "run",
            "bombed.yaml",
            "--threads",
            "1",
            "--runs",
            "here",
            "--in-process",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), None, "{output:?}");
}

#[test]
fn a_trial_in_a_process_of_its_own_gives_the_same_bits() {
    let folder = Folder::new();
    let library = plugin(&folder, "momentum", "optimizer", &[]);
    with_plugin(
        &folder,
        "own.yaml",
        &library,
        &[(
            ADAMW,
            "optimizer: {momentum: {learning_rate: 0.0123456789012345678, momentum: 0.9}}",
        )],
    );
    let run = |runs: &str, more: &[&str]| {
        let arguments = [
            &[
                "run",
                "own.yaml",
                "--seed",
                "1",
                "--runs",
                runs,
                "--threads",
                "2",
            ],
            more,
        ]
        .concat();
        folder.ablate(&arguments).exits(0)
    };
    let own = run("own", &[]);
    assert!(own.stderr.contains("baseline seed 1"), "{own}");
    run("here", &["--in-process"]);
    for arm in ["baseline", "wider"] {
        let (own, here) = (folder.trial("own", arm, 1), folder.trial("here", arm, 1));
        assert_same_trial(&own, &here);
        let (mut a, mut b) = (
            json(own.join("result.json")),
            json(here.join("result.json")),
        );
        for result in [&mut a, &mut b] {
            let result = result.as_object_mut().unwrap();
            result.remove("seconds");
            result.remove("data_wait_seconds");
        }
        assert_eq!(a, b);
    }
    // Nothing is left to do, whichever way it was done.
    let again = folder
        .ablate(&["run", "own.yaml", "--seed", "1", "--runs", "own"])
        .exits(0);
    assert!(
        again.stderr.contains("all 2 trials are finished"),
        "{again}"
    );
}

#[test]
fn an_operator_that_crashes_on_a_document_ends_in_words() {
    let folder = Folder::new();
    // Not on the few documents on which it is tried.
    let library = plugin(
        &folder,
        "picky",
        "operator",
        &[(
            "const int32_t *offsets =",
            "if (batch->length > 10) abort();\n  const int32_t *offsets =",
        )],
    );
    // In the baseline every trial needs it, in an arm only that arm does.
    let curate = "data:\n  curate: [{picky: {}}]\n  source";
    with_plugin(
        &folder,
        "all.yaml",
        &library,
        &[("data:\n  source", curate)],
    );
    let done = folder
        .ablate(&["run", "all.yaml", "--runs", "all"])
        .exits(1);
    for part in [
        "the process that prepared the data died",
        "SIGABRT",
        "`picky`",
    ] {
        assert!(done.stderr.contains(part), "{part}: {done}");
    }
    with_plugin(
        &folder,
        "one.yaml",
        &library,
        &[(
            "experiment:\n",
            "experiment:\n  data:\n    picked: {\"data.curate+\": [{picky: {}}]}\n  design: one_at_a_time\n",
        )],
    );
    let done = folder.ablate(&["run", "one.yaml", "--seed", "1"]).exits(1);
    assert!(done.stdout.contains("1 trial failed"), "{done}");
    let status = |arm| json(folder.trial("runs", arm, 1).join("result.json"))["status"].clone();
    assert_eq!(status("baseline"), "finished");
    assert_eq!(status("wider"), "finished");
    assert_eq!(status("picked"), "failed");
}

/// An operator of the baseline: the data is prepared in other processes throughout.
#[test]
fn data_from_another_process_is_recorded_as_from_this_one() {
    let folder = Folder::new();
    let library = plugin(&folder, "long_ones", "operator", &[]);
    let curate = "data:\n  curate: [{long_ones: {words: 130}}, {exact_dedup: {}}]\n  source";
    with_plugin(
        &folder,
        "own.yaml",
        &library,
        &[("data:\n  source", curate)],
    );
    let run = |runs: &str, more: &[&str]| {
        let arguments = [&["run", "own.yaml", "--seed", "1", "--runs", runs], more].concat();
        folder.ablate(&arguments).exits(0)
    };
    run("own", &[]);
    run("here", &["--in-process"]);
    let record = |runs: &str| json(folder.path(&format!("{runs}/tiny/experiment.json")));
    assert_eq!(record("own"), record("here"));
    let curation = record("own")["curation"].clone();
    assert_eq!(curation[0]["operator"], "long_ones");
    assert!(curation[0]["documents_out"].as_u64() < curation[0]["documents_in"].as_u64());
    for arm in ["baseline", "wider"] {
        assert_same_trial(&folder.trial("own", arm, 1), &folder.trial("here", arm, 1));
    }
    // A name that is built in cannot be another plugin's.
    let done = folder
        .ablate(&["plugin", "new", "min_words", "--kind", "operator"])
        .exits(2);
    assert!(
        done.stderr
            .contains("there is a built-in data operator called `min_words`"),
        "{done}"
    );
}

#[test]
#[cfg(unix)]
fn an_interrupt_reaches_a_trial_in_a_process_of_its_own() {
    use std::process::Stdio;
    use std::time::{Duration, Instant};
    let folder = Folder::new();
    let library = plugin(&folder, "momentum", "optimizer", &[]);
    with_plugin(
        &folder,
        "own.yaml",
        &library,
        &[
            (ADAMW, "optimizer: {momentum: {}}"),
            ("max_steps: {steps: 6}", "max_steps: {steps: 1000}"),
            ("every_steps: 3", "every_steps: 100"),
        ],
    );
    let run = |runs| {
        [
            "run",
            "own.yaml",
            "--seed",
            "1",
            "--threads",
            "1",
            "--runs",
            runs,
        ]
    };
    folder.ablate(&run("whole")).exits(0);
    let trial = folder.trial("cut", "baseline", 1);
    // Asked to end, then killed: the first saves by the parent's word, the second by its silence.
    for signal in [libc::SIGINT, libc::SIGKILL] {
        let mut child = folder
            .command(&run("cut"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let path = trial.join("metrics.jsonl");
        let rows = || {
            if path.exists() {
                read(&path).lines().count()
            } else {
                0
            }
        };
        let (before, deadline) = (rows(), Instant::now() + Duration::from_secs(120));
        while rows() < before + 100 {
            assert!(Instant::now() < deadline, "no rows");
            assert!(child.try_wait().unwrap().is_none(), "it ended too soon");
            std::thread::sleep(Duration::from_millis(1));
        }
        // SAFETY: a signal to a child that is not yet waited for.
        unsafe { libc::kill(i32::try_from(child.id()).unwrap(), signal) };
        let status = child.wait().unwrap();
        assert_eq!(status.code(), (signal == libc::SIGINT).then_some(3));
        // The folder stays locked until the trial's own process has saved it.
        while !trial.join("checkpoint.safetensors").exists() {
            assert!(Instant::now() < deadline, "not saved");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let deadline = Instant::now() + Duration::from_secs(120);
    let done = loop {
        let done = folder.done(folder.command(&run("cut")).output().unwrap());
        if !done
            .stderr
            .contains("another process is running in this folder")
        {
            break done.exits(0);
        }
        assert!(Instant::now() < deadline, "still locked");
    };
    assert!(done.stderr.contains("going on after step"), "{done}");
    assert_same_trial(&trial, &folder.trial("whole", "baseline", 1));
}

/// A plugin that misbehaves while the recipe is checked: nothing is run, and the error stands at its line.
fn refused(name: &str, replace: (&str, &str)) -> Done {
    let folder = Folder::new();
    let library = plugin(&folder, name, "optimizer", &[replace]);
    with_plugin(
        &folder,
        "recipe.yaml",
        &library,
        &[(
            ADAMW,
            &format!("optimizer: {{{name}: {{learning_rate: 0.01}}}}"),
        )],
    );
    let output = folder
        .command(&["run", "recipe.yaml"])
        .env("ABLATE_PLUGIN_SECONDS", "1")
        .env("ABLATE_PLUGIN_BYTES", "2000000000")
        .output()
        .unwrap();
    let done = folder.done(output).exits(2);
    assert!(done.stderr.contains("Nothing was run."), "{done}");
    assert!(!folder.path("runs").exists());
    assert!(
        done.stderr.contains(&format!("{name}/{name}")),
        "the file: {done}"
    );
    done
}

const MADE: &str = "optimizer made = {host";
const BUILT: &str = "const ablate_graph_api *g = self->host";

#[test]
fn whatever_ends_the_process_that_tries_a_plugin_is_told_at_the_recipes_line() {
    for (name, place, body, line, part) in [
        (
            "at_load",
            "return &plugin;",
            "abort(); return &plugin;",
            "recipe.yaml:4:11",
            "in its load it was ended by SIGABRT",
        ),
        (
            "segfault",
            MADE,
            "*(volatile int *)8 = 1; optimizer made = {host",
            "recipe.yaml:15:",
            "in `create` of the optimizer `segfault` it was ended by SIGSEGV",
        ),
        (
            "exits",
            MADE,
            "exit(0); optimizer made = {host",
            "recipe.yaml:15:",
            "it ended the whole process by itself, with exit code 0",
        ),
        (
            "loops",
            BUILT,
            "for (volatile int i = 0; i < 1;) i *= 2; const ablate_graph_api *g = self->host",
            "recipe.yaml:15:",
            "in `slots and update` of the optimizer `loops` it computed for 1 s without an end",
        ),
        (
            "hungry",
            MADE,
            "for (;;) memset(malloc(1 << 20), 1, 1); optimizer made = {host",
            "recipe.yaml:15:",
            "it ran out of memory (2000000000 bytes allowed)",
        ),
    ] {
        let done = refused(name, (place, body));
        assert!(done.stderr.contains(part), "{part}: {done}");
        assert!(done.stderr.contains(line), "{line}: {done}");
    }
}

#[test]
fn what_a_plugin_prints_does_not_disturb_the_run() {
    let folder = Folder::new();
    let library = plugin(
        &folder,
        "chatty",
        "optimizer",
        &[(
            MADE,
            "puts(\"{\\\"loaded\\\": []}\"); fflush(stdout); optimizer made = {host",
        )],
    );
    with_plugin(
        &folder,
        "recipe.yaml",
        &library,
        &[(ADAMW, "optimizer: {chatty: {}}")],
    );
    let done = folder
        .ablate(&["run", "recipe.yaml", "--seed", "1", "--quiet"])
        .exits(0);
    assert!(!done.stdout.contains("loaded"), "{done}");
}

/// The hidden command is not for people, and says so.
#[test]
fn a_worker_without_a_parent_ends() {
    let folder = Folder::new();
    let done = folder.ablate(&["worker"]).exits(2);
    assert!(done.stderr.contains("started by ablate itself"), "{done}");
    assert!(!folder
        .ablate(&["--help"])
        .exits(0)
        .stdout
        .contains("worker"));
}
