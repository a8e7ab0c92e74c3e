//! Training on a GPU: the same binary, on the software CUDA device. Without Linux or a C++ compiler there
//! is none, and these tests say so and end.

use std::path::{Path, PathBuf};
use std::process::Command;

use ablate_soft_cuda::{installed, Library, SoftCuda};

use crate::support::{
    ablate, json, keys, metrics, read, repository, timeless_metrics, Done, Folder, TINY,
};

/// A command that finds the device, with compiled kernels kept in the test's own folder.
fn on_device(soft: &SoftCuda, folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = folder.command(arguments);
    command
        .envs(soft.environment())
        .env("XDG_CACHE_HOME", folder.path("cache"));
    command
}

fn done(folder: &Folder, mut command: Command) -> Done {
    folder.done(command.output().unwrap())
}

/// Losses of all rows of a trial, training and evaluation.
fn losses(folder: &Folder, runs: &str, arm: &str) -> Vec<f64> {
    let rows = metrics(&folder.trial(runs, arm, 1));
    let losses: Vec<f64> = rows
        .iter()
        .map(|row| row["loss"].as_f64().unwrap())
        .collect();
    assert!(losses.len() > 6, "{rows:?}");
    losses
}

#[test]
fn the_binary_names_no_cuda_library() {
    let listed = Command::new("ldd")
        .arg(env!("CARGO_BIN_EXE_ablate"))
        .output();
    let Ok(listed) = listed else {
        println!("SKIPPED: there is no ldd here");
        return;
    };
    let libraries = String::from_utf8_lossy(&listed.stdout);
    assert!(libraries.contains("libc."), "{libraries}");
    for name in ["cuda", "nvrtc", "cublas", "nvidia"] {
        assert!(!libraries.contains(name), "{libraries}");
    }
}

#[test]
fn doctor_finds_the_device_and_auto_takes_it() {
    let Some(soft) = installed() else { return };
    let folder = Folder::new();
    let doctor = done(&folder, on_device(soft, &folder, &["doctor"]))
        .exits(0)
        .stdout;
    let line = |name: &str| {
        doctor
            .lines()
            .find(|l| l.starts_with(name))
            .unwrap()
            .to_string()
    };
    assert!(line("device ").contains("cuda, "), "{doctor}");
    assert!(line("gpu ").contains("NVRTC 12.9 for sm_80"), "{doctor}");
    assert!(line("tf32 ").contains("TF32 products"), "{doctor}");
}

#[test]
fn a_gpu_trains_as_the_processor_does() {
    let Some(soft) = installed() else { return };
    let folder = Folder::new();
    let arguments = ["run", "tiny.yaml", "--quiet", "--seed", "1", "--runs"];
    folder.ablate(&[&arguments[..], &["cpu"]].concat()).exits(0);
    let cuda = [&arguments[..], &["cuda", "--set", "device=cuda"]].concat();
    done(&folder, on_device(soft, &folder, &cuda)).exits(0);
    let environment = json(folder.path("cuda/tiny/environment.json"));
    assert!(
        environment["device"]
            .as_str()
            .unwrap()
            .starts_with("cuda, "),
        "{environment}"
    );
    for arm in ["baseline", "wider"] {
        let (cpu, cuda) = (losses(&folder, "cpu", arm), losses(&folder, "cuda", arm));
        assert_eq!(cpu.len(), cuda.len());
        for (cpu, cuda) in cpu.iter().zip(&cuda) {
            // Sums in another order.
            assert!((cpu - cuda).abs() < 1e-4 * cpu, "{arm}: {cpu} and {cuda}");
        }
    }
    // The same bits every time.
    let again = [&arguments[..], &["again", "--set", "device=cuda"]].concat();
    done(&folder, on_device(soft, &folder, &again)).exits(0);
    assert_eq!(
        losses(&folder, "cuda", "baseline"),
        losses(&folder, "again", "baseline")
    );
}

/// Activations are stored as bfloat16 on both; with AMX the processor stores single precision, a rounding away.
#[test]
fn a_gpu_rounds_activations_as_the_processor_does() {
    let Some(soft) = installed() else { return };
    let folder = Folder::new();
    let arguments = [
        "run",
        "tiny.yaml",
        "--quiet",
        "--seed",
        "1",
        "--set",
        "precision=bf16",
        "--runs",
    ];
    folder.ablate(&[&arguments[..], &["cpu"]].concat()).exits(0);
    let cuda = [&arguments[..], &["cuda", "--set", "device=cuda"]].concat();
    done(&folder, on_device(soft, &folder, &cuda)).exits(0);
    let (cpu, cuda) = (
        losses(&folder, "cpu", "wider"),
        losses(&folder, "cuda", "wider"),
    );
    assert_eq!(cpu.len(), cuda.len());
    for (cpu, cuda) in cpu.iter().zip(&cuda) {
        assert!((cpu - cuda).abs() < 5e-3 * cpu, "{cpu} and {cuda}");
    }
}

/// Rounding to ten bits is seen in the losses, and changes little. Without a GPU there is none, which is said.
#[test]
fn tf32_is_for_a_gpu() {
    let Some(soft) = installed() else { return };
    let folder = Folder::new();
    let run = |runs: &str, precision: &str| {
        let set = format!("precision={precision}");
        let arguments = ["run", "tiny.yaml", "--quiet", "--seed", "1"];
        let chosen = ["--set", &set, "--set", "device=cuda", "--runs", runs];
        let command = on_device(soft, &folder, &[&arguments[..], &chosen].concat());
        done(&folder, command).exits(0);
        losses(&folder, runs, "baseline")
    };
    let (f32, tf32) = (run("f32", "f32"), run("tf32", "tf32"));
    assert_ne!(f32, tf32);
    for (f32, tf32) in f32.iter().zip(&tf32) {
        assert!((f32 - tf32).abs() < 2e-2 * f32, "{f32} and {tf32}");
    }
    let message = "precision tf32 is for tensor cores of a GPU; the processor computes in f32";
    let doctor = folder.ablate(&["doctor"]).exits(0).stdout;
    let line = doctor.lines().find(|l| l.starts_with("tf32 ")).unwrap();
    match line.contains("cuda, ") {
        true => println!("SKIPPED: this machine has a GPU"),
        false => assert!(line.contains(message), "{doctor}"),
    }
    let refused = folder
        .ablate(&[
            "run",
            "tiny.yaml",
            "--set",
            "precision=tf32",
            "--set",
            "device=cpu",
        ])
        .exits(2);
    assert!(refused.stderr.contains("`device` is cpu"), "{refused}");
}

/// The quickstart on a device into `runs`, with these keys changed.
fn quickstart(soft: &SoftCuda, folder: &Folder, device: &str, sets: &[&str]) -> PathBuf {
    let runs = folder.path(device);
    let mut command = ablate(&["run", "pipelines/quickstart.yaml", "--quiet", "--runs"]);
    command.arg(&runs);
    let device = format!("device={device}");
    for set in [&[device.as_str()], sets].concat() {
        command.args(["--set", set]);
    }
    command
        .current_dir(repository())
        .envs(soft.environment())
        .env("XDG_CACHE_HOME", folder.path("cache"))
        // Barriers and borders of buffers are still checked.
        .env("SOFT_CUDA_CHECKS", "off");
    folder.done(command.output().unwrap()).exits(0);
    runs.join("quickstart")
}

/// Every trial of a run by its place in `trials`.
fn trials(run: &Path) -> Vec<String> {
    let mut all = vec![];
    for arm in ["baseline", "cleaned", "deeper", "cleaned+deeper"] {
        all.extend((1..=3).map(|seed| format!("{arm}/seed-{seed}")));
    }
    for trial in &all {
        let folder = run.join("trials").join(trial);
        assert!(folder.join("result.json").is_file(), "{}", folder.display());
    }
    all
}

/// Every number of every row of both runs: its name, and both values.
fn pairs(cpu: &Path, cuda: &Path, trial: &str) -> Vec<(String, f64, f64)> {
    let rows = |run: &Path| timeless_metrics(&run.join("trials").join(trial));
    let (cpu, cuda) = (rows(cpu), rows(cuda));
    assert_eq!(cpu.len(), cuda.len(), "{trial}");
    let mut all = vec![];
    for (cpu, cuda) in cpu.iter().zip(&cuda) {
        assert_eq!(keys(cpu), keys(cuda), "{trial}");
        for key in keys(cpu) {
            match (cpu[key].as_f64(), cuda[key].as_f64()) {
                (Some(a), Some(b)) => all.push((format!("{trial}: {} {key}", cpu["step"]), a, b)),
                _ => assert_eq!(cpu[key], cuda[key], "{trial}"),
            }
        }
    }
    all
}

/// Every arm and seed, the model and its batches as shipped, evaluation and report; two steps a trial, or as many as
/// `ABLATE_QUICKSTART_STEPS` says: all 300 take about an hour and a half of processor time.
#[test]
fn the_quickstart_gives_the_same_experiment_on_a_gpu_as_on_the_processor() {
    let Some(soft) = installed() else { return };
    let folder = Folder::new();
    let asked = std::env::var("ABLATE_QUICKSTART_STEPS").ok();
    let steps: u32 = asked.map_or(2, |n| n.parse().expect("a number of steps"));
    // Sums in another order grow apart over hundreds of steps; from seed to seed numbers differ by more.
    let bound = if steps <= 2 { 1e-4 } else { 0.05 };
    let stop = format!("stop=[{{max_steps: {{steps: {steps}}}}}]");
    let sets = [
        stop.as_str(),
        "schedule.warmup_linear.warmup_steps=1",
        "data.split={validation: 0.01, test: 0.01}",
        "evaluate.every_steps=2",
    ];
    let (cpu, cuda) = (
        quickstart(soft, &folder, "cpu", &sets),
        quickstart(soft, &folder, "cuda", &sets),
    );
    let mut worst: f64 = 0.0;
    for trial in trials(&cuda) {
        let pairs = pairs(&cpu, &cuda, &trial);
        // Two steps, validation, validation at the end, test; each with its losses and more.
        assert!(pairs.len() > 20, "{pairs:?}");
        for (what, cpu, cuda) in pairs {
            let off = (cpu - cuda).abs() / cpu.abs().max(1e-3);
            assert!(off < bound, "{what}: {cpu} and {cuda}");
            worst = worst.max(off);
        }
    }
    println!("largest relative difference of any number: {worst:.1e}");
    let report = |run: &Path| read(run.join("report.md"));
    let lines = |text: &str| text.lines().count();
    assert_eq!(lines(&report(&cpu)), lines(&report(&cuda)));
    let environment = json(cuda.join("environment.json"));
    let device = environment["device"].as_str().unwrap();
    assert!(device.contains("Software CUDA device"), "{device}");
}

/// A recipe that asks for what this machine or its GPU cannot do is told so with all its other mistakes.
#[test]
fn a_device_that_cannot_is_a_mistake_of_the_recipe() {
    let Some(_) = installed() else { return };
    let folder = Folder::new();
    let text = TINY
        .replace("device: cpu", "device: cuda\nprecision: f32_split")
        .replace("clip_norm: 1.0", "clip_nrom: 1.0");
    folder.write("gpu.yaml", text);
    // With a driver and without NVRTC, so that every machine says the same.
    let part = SoftCuda::install_only(&[Library::Driver]).unwrap();
    let run = |arguments: &[&str]| done(&folder, on_device(&part, &folder, arguments));
    let told = run(&["run", "gpu.yaml"]);
    if told.stderr.contains("needs a GPU") {
        insta::assert_snapshot!(told);
    } else {
        println!("SKIPPED: this machine has NVRTC and cuBLAS of its own");
    }
    assert_eq!(told.code, 2);
    assert!(!folder.path("runs").exists(), "nothing was run");
    // Who only looks needs no device.
    folder.variant("look.yaml", "device: cpu", "device: cuda");
    run(&["graph", "look.yaml"]).exits(0);
    run(&["graph", "look.yaml", "--program"]).exits(2);
    run(&["profile", "look.yaml", "--steps", "1"]).exits(2);
}
