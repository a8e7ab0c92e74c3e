//! Fetching the compiler.

use crate::Nvrtc;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Version of the wheel: CUDA 12.9, which knows sm_50 to sm_121.
pub const VERSION: &str = "12.9.86";

/// The wheel with its digests: x86-64, then 64-bit Arm.
const REQUIREMENT: &str = "nvidia-cuda-nvrtc-cu12==12.9.86 \
    --hash=sha256:210cf05005a447e29214e9ce50851e83fc5f4358df8b453155d5e1918094dcb4 \
    --hash=sha256:096d4de6bda726415dfaf3198d4f5c522b8e70139c97feef5cd2ca6d4cd9cead\n";

/// What of the wheel is kept.
const FILES: [&str; 2] = ["libnvrtc.so.12", "libnvrtc-builtins.so.12.9"];

/// A download of 90 MB may take its time, but a test must end.
const PATIENCE: Duration = Duration::from_secs(480);

/// The compiler, fetched once per machine. Where it cannot be had, says why on stdout and returns
/// nothing: the test is to end then.
///
/// # Panics
/// The wheel is not the one expected, or cannot be loaded.
pub fn installed() -> Option<&'static Nvrtc> {
    static INSTALLED: OnceLock<Result<Nvrtc, String>> = OnceLock::new();
    let found = INSTALLED.get_or_init(|| {
        let folder = folder(&cache())?;
        Ok(Nvrtc::load(&folder.join(FILES[0])).unwrap_or_else(|e| panic!("{e}")))
    });
    match found {
        Ok(nvrtc) => Some(nvrtc),
        Err(reason) => {
            println!("SKIPPED: no NVRTC here: {reason}");
            None
        }
    }
}

/// The folder of the compiler's library, for a process that looks for it on its own; as [`installed`].
pub fn library_folder() -> Option<PathBuf> {
    installed().map(|_| place(&cache()))
}

/// Where the library is kept.
fn place(cache: &Path) -> PathBuf {
    cache.join(format!("nvrtc-{VERSION}"))
}

/// The folder for what tests fetch and make once per machine: `$XDG_CACHE_HOME/ablate`, or the same
/// under `~/.cache`.
pub fn cache() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home);
    cache.unwrap_or_else(std::env::temp_dir).join("ablate")
}

/// The folder with the compiler's files, which are fetched if it is not there.
fn folder(cache: &Path) -> Result<PathBuf, String> {
    if !cfg!(target_os = "linux") {
        return Err("the wheel is for Linux".into());
    }
    let folder = place(cache);
    if FILES.iter().all(|file| folder.join(file).is_file()) {
        return Ok(folder);
    }
    let cannot = |e: std::io::Error| format!("{}: {e}", cache.display());
    std::fs::create_dir_all(cache).map_err(cannot)?;
    // Beside its place, so that it is whole or not there.
    let work = tempfile::tempdir_in(cache).map_err(cannot)?;
    fetch(work.path())?;
    let lib = work.path().join("wheel/nvidia/cuda_nvrtc/lib");
    let ready = work.path().join("ready");
    std::fs::create_dir(&ready).map_err(cannot)?;
    for file in FILES {
        std::fs::rename(lib.join(file), ready.join(file)).map_err(cannot)?;
    }
    // Another process may have been faster, with the same files.
    if let Err(e) = std::fs::rename(&ready, &folder) {
        if !folder.is_dir() {
            return Err(cannot(e));
        }
    }
    Ok(folder)
}

/// Has pip install the wheel into `folder/wheel`.
fn fetch(folder: &Path) -> Result<(), String> {
    let list = folder.join("requirements.txt");
    std::fs::write(&list, REQUIREMENT).map_err(|e| format!("{}: {e}", list.display()))?;
    let mut pip = Command::new("python3")
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args([
            "--no-deps",
            "--only-binary=:all:",
            "--no-cache-dir",
            "--require-hashes",
        ])
        .args(["--timeout", "20", "--retries", "1"])
        .arg("--target")
        .arg(folder.join("wheel"))
        .arg("-r")
        .arg(&list)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("python3 does not start ({e})"))?;
    let start = Instant::now();
    let status = loop {
        match pip.try_wait().map_err(|e| e.to_string())? {
            Some(status) => break status,
            None if start.elapsed() > PATIENCE => {
                let _ = (pip.kill(), pip.wait());
                return Err(format!("pip did not end within {} s", PATIENCE.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    let mut messages = String::new();
    if let Some(mut stderr) = pip.stderr.take() {
        let _ = stderr.read_to_string(&mut messages);
    }
    assert!(
        !messages.contains("DO NOT MATCH THE HASHES"),
        "the registry's wheel is not the one that was pinned:\n{messages}"
    );
    if status.success() {
        return Ok(());
    }
    let line = messages.lines().rev().find(|line| !line.trim().is_empty());
    Err(format!("pip: {}", line.unwrap_or("failed without a word")))
}
