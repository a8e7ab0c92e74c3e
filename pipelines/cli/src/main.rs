//! `ablate`: the command line.
//!
//! Owns arguments, exit codes, and how progress and errors are shown. Must not know how anything is
//! computed: it calls `ablate-experiment` and `ablate-reports`, which meet only on the disk.

mod args;
mod commands;
mod exit;
mod interrupt;
mod progress;
mod table;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    set_panic_hook();
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // --help and --version come here too; clap prints each to its own stream. Nothing is left
            // to tell when even that fails.
            let _ = error.print();
            let code = if error.use_stderr() {
                exit::USAGE
            } else {
                exit::OK
            };
            return ExitCode::from(code);
        }
    };
    start_log(args.verbose, matches!(args.command, args::Command::Worker));
    match std::panic::catch_unwind(|| commands::dispatch(args)) {
        Ok(code) => ExitCode::from(code),
        Err(_) => ExitCode::from(exit::PANIC),
    }
}

/// A panic is a defect of this program; say so in words instead of a trace. With `RUST_BACKTRACE` set
/// the trace comes as usual.
fn set_panic_hook() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|v| v != "0") {
            usual(info);
        }
        let place = info
            .location()
            .map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
        let what = info
            .payload()
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| info.payload().downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let _ = writeln!(
            std::io::stderr(),
            "error: this is a defect of ablate, not of your recipe: {what}{place}\n  \
             = help: trials that were finished or saved are kept; run the same command again to go on. Set RUST_BACKTRACE=1 for a trace"
        );
    }));
}

/// A worker repeats what its parent has done, the reading of the corpus for one, so that only its plugins and
/// its errors have something new to say.
fn start_log(verbose: u8, worker: bool) {
    let level = match verbose {
        0 if worker => "error,plugin=warn",
        0 => "warn",
        1 => "ablate=info,warn",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("ABLATE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .init();
}
