//! Running one test again as a process of its own.

use crate::SoftCuda;
use std::process::{Command, Output};

const CHILD: &str = "SOFT_CUDA_CHILD";

/// How a child ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Whether the test passed.
    pub passed: bool,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr: the device's messages among it.
    pub stderr: String,
}

/// Whether this process was started by [`rerun`] for the test of this name.
pub fn is_child(name: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|child| child == name)
}

/// Runs the test `name` of this test binary in a child process that finds the device. In the child,
/// [`is_child`] is true and the test does its work; in the parent this returns how that went.
///
/// # Panics
/// The child cannot be started.
pub fn rerun(soft: &SoftCuda, name: &str, settings: &[(&str, &str)]) -> Finished {
    let program = std::env::current_exe().expect("a running program has a path");
    let mut command: Command = soft.command(program);
    command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name);
    for (key, value) in settings {
        command.env(key, value);
    }
    let output: Output = command.output().expect("the test binary runs again");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let stdout = text(output.stdout);
    Finished {
        // A name that matches no test passes too.
        passed: output.status.success() && stdout.contains("1 passed"),
        stdout,
        stderr: text(output.stderr),
    }
}
