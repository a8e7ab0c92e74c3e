//! Workers out of this very test program, and libraries out of C.
#![allow(dead_code, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

use ablate_cpu::CpuBackend;
use ablate_validator::process::{Channel, Program};
use ablate_validator::{check, probe};

/// Set where this program is a worker.
const WORKER: &str = "ABLATE_TEST_WORKER";

/// This program as a worker: the test harness runs one function of it, `worker_process`.
pub fn program() -> Program {
    Program::this(["worker_process", "--exact", "--nocapture"])
        .unwrap()
        .with_variable(WORKER, "1")
}

/// What a worker does. Each test file has a test `worker_process` that calls this, and does nothing when it is
/// run as a test.
pub fn worker() {
    if std::env::var_os(WORKER).is_none() {
        return;
    }
    let (channel, work) = Channel::open().unwrap();
    let done = match work.as_str() {
        probe::WORK => probe::serve(channel),
        check::WORK => check::serve(channel, &CpuBackend::new(1).unwrap()),
        other => misbehave(channel, other),
    };
    done.unwrap();
    // Not back to the harness, which would print.
    std::process::exit(0);
}

/// Work of the tests of processes.
fn misbehave(mut channel: Channel, work: &str) -> std::io::Result<()> {
    match work {
        "echo" => {
            println!("not a message");
            while let Some(text) = channel.inbox.receive::<String>()? {
                channel.out.send(&text)?;
            }
        }
        "exit" => std::process::exit(7),
        "abort" => std::process::abort(),
        "segfault" => {
            // SAFETY: none; that is the point.
            unsafe { std::ptr::null_mut::<u8>().wrapping_add(1).write_volatile(1) };
        }
        "loop" => loop {
            std::hint::spin_loop();
        },
        "sleep" => loop {
            std::thread::sleep(std::time::Duration::from_secs(1));
        },
        "memory" => {
            let mut kept: Vec<Vec<u8>> = Vec::new();
            loop {
                kept.push(vec![1; 1 << 20]);
            }
        }
        "memory in C" => loop {
            // SAFETY: memory that nobody uses, until there is none; then a null pointer is followed.
            unsafe {
                let more = libc::malloc(1 << 20).cast::<u8>();
                more.write_volatile(1);
            }
        },
        "words" => {
            eprintln!("first words\nlast words");
            std::process::abort();
        }
        other => panic!("no work is called {other}"),
    }
    Ok(())
}

pub fn library(name: &str) -> String {
    format!(
        "{}{name}{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    )
}

pub fn temporary() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

pub fn plugins_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Warnings are errors in what is meant to be sound.
pub const STRICT: &[&str] = &["-Wall", "-Wextra", "-Werror"];

/// Compiles one C file to a shared library.
pub fn cc(source: &Path, library: &Path, flags: &[&str]) {
    let output = Command::new("cc")
        .args(["-std=c11", "-O1", "-shared", "-fPIC"])
        .args(flags)
        .arg("-I")
        .arg(plugins_folder().join("abi/include"))
        .arg("-o")
        .arg(library)
        .arg(source)
        .arg("-lm")
        .output()
        .expect("`cc` runs; a C compiler is needed to build Rust programs anyway");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
