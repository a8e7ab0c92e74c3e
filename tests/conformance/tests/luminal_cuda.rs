//! Stock luminal_cuda's own build and tests, `core/luminal-cuda`, as a part of `cargo test`.
//!
//! Its dependencies ask for other features of shared crates, so it is no default member: within one build everything
//! else, polars too, would be compiled for them. This test runs that build beside the other, in `luminal-cuda` of
//! the target folder, and passes if all of its tests do.

use std::path::Path;
use std::process::Command;

/// The number before `what` in the last line of each test binary, summed. A test that runs itself again in a
/// child prints such a line too, with tests filtered out.
fn count(output: &str, what: &str) -> usize {
    output
        .lines()
        .filter_map(|line| line.strip_prefix("test result: "))
        .filter(|line| line.contains(" 0 filtered out"))
        .flat_map(|line| line.split([';', '.']))
        .filter_map(|part| part.trim().strip_suffix(what)?.trim().parse::<usize>().ok())
        .sum()
}

#[test]
fn stock_luminal_cuda_passes_its_tests() {
    // Set for every test that cargo runs.
    let Some(cargo) = std::env::var_os("CARGO") else {
        println!("SKIPPED: not run by cargo");
        return;
    };
    let program = std::env::current_exe().expect("a running program has a path");
    // target/release/deps/<test>
    let target = program.ancestors().nth(3).expect("it lies in target");
    let run = Command::new(cargo)
        .args(["test", "--release", "--locked", "-p", "ablate-luminal-cuda"])
        .args(["--", "--nocapture"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .env("CARGO_TARGET_DIR", target.join("luminal-cuda"))
        .output()
        .expect("cargo starts");
    let stdout = String::from_utf8_lossy(&run.stdout);
    let stderr = String::from_utf8_lossy(&run.stderr);
    for line in stdout.lines() {
        println!("luminal_cuda | {line}");
    }
    assert!(run.status.success(), "{stderr}");
    let (passed, failed) = (count(&stdout, "passed"), count(&stdout, "failed"));
    println!("{passed} tests of core/luminal-cuda passed");
    assert_eq!(failed, 0);
    assert!(
        passed >= 4,
        "only {passed} tests were run:\n{stdout}\n{stderr}"
    );
}
