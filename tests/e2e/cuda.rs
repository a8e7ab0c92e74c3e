//! Training on a GPU: the same binary, on the software CUDA device. Without Linux or a C++ compiler there
//! is none, and these tests say so and end.

use std::process::Command;

use ablate_soft_cuda::{installed, SoftCuda};

use crate::support::{ablate, json, metrics, repository, Done, Folder};

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

#[test]
fn the_quickstart_trains_on_a_gpu_as_on_the_processor() {
    let Some(soft) = installed() else { return };
    let folder = Folder::new();
    let run = |runs: &str, device: &str| {
        let runs = folder.path(runs);
        let device = format!("device={device}");
        // The model and its batches as shipped, for a few steps.
        let mut command = ablate(&["run", "pipelines/quickstart.yaml", "--quiet", "--runs"]);
        command.arg(&runs);
        for set in [
            device.as_str(),
            "seeds=[1]",
            "experiment.data={}",
            "experiment.model={}",
            "stop=[{max_steps: {steps: 3}}]",
            "schedule.warmup_linear.warmup_steps=2",
            "data.split={validation: 0.01, test: 0.01}",
            "evaluate.every_steps=100",
        ] {
            command.args(["--set", set]);
        }
        command
            .current_dir(repository())
            .envs(soft.environment())
            .env("XDG_CACHE_HOME", folder.path("cache"))
            // Barriers and borders of buffers are still checked.
            .env("SOFT_CUDA_CHECKS", "off");
        folder.done(command.output().unwrap()).exits(0);
        let rows = metrics(&runs.join("quickstart/trials/baseline/seed-1"));
        let losses: Vec<f64> = rows
            .iter()
            .map(|row| row["loss"].as_f64().unwrap())
            .collect();
        losses
    };
    let (cpu, cuda) = (run("cpu", "cpu"), run("cuda", "cuda"));
    assert_eq!(cpu.len(), cuda.len());
    for (cpu, cuda) in cpu.iter().zip(&cuda) {
        assert!((cpu - cuda).abs() < 1e-4 * cpu, "{cpu} and {cuda}");
    }
}
