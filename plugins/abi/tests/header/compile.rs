//! Compilers see the header: C11 and C++17, every warning an error.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A folder of this test's own.
pub fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs a compiler on a file; `None` where the machine has no such compiler.
pub fn compile(compiler: &str, standard: &str, arguments: &[&str]) -> Option<Output> {
    let run = Command::new(compiler)
        .args([standard, "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(crate::root().join("include"))
        .args(arguments)
        .output();
    match run {
        Ok(output) => Some(output),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => panic!("{compiler}: {e}"),
    }
}

fn accepted(output: &Output) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

/// A file that uses all that is not a declaration.
const USER: &str = r#"
#include "ablate_plugin.h"
#include "ablate_plugin.h"
static const ablate_str name = ABLATE_STR("a-plugin");
int uses(const ablate_event *event);
int uses(const ablate_event *event) {
  return ABLATE_HAS(event, ablate_event, history_count) && ablate_equal(name, "a-plugin") &&
         ablate_text("x").len == 1 && ABLATE_PLUGIN_MAGIC != 0 && ABLATE_NO_TENSOR == 0;
}
"#;

#[test]
fn it_is_c11() {
    let file = folder("c11").join("user.c");
    std::fs::write(&file, USER).unwrap();
    let arguments = ["-fsyntax-only", file.to_str().unwrap()];
    let output = compile("cc", "-std=c11", &arguments)
        .expect("`cc` runs; a C compiler is needed to build Rust programs anyway");
    accepted(&output);
}

#[test]
fn it_is_cpp17() {
    let file = folder("cpp17").join("user.cpp");
    std::fs::write(&file, USER).unwrap();
    let arguments = ["-fsyntax-only", file.to_str().unwrap()];
    // Rust needs a C compiler, so a machine may be without one for C++.
    match compile("c++", "-std=c++17", &arguments) {
        Some(output) => accepted(&output),
        None => eprintln!("not looked at: there is no `c++` on this machine"),
    }
}

/// The check itself can fail.
#[test]
fn a_warning_is_an_error() {
    let file = folder("warning").join("user.c");
    std::fs::write(
        &file,
        format!("{USER}\nint f(int a);\nint f(int a) {{ int b; return a; }}\n"),
    )
    .unwrap();
    let arguments = ["-fsyntax-only", file.to_str().unwrap()];
    assert!(!compile("cc", "-std=c11", &arguments)
        .unwrap()
        .status
        .success());
}
