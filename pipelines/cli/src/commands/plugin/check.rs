//! `ablate plugin check`: the validator.

use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;
use std::sync::Mutex;

use ablate_validator::check::{self, tests, Options, Report, Scope, Status, TestResult};
use ablate_validator::process::Limits;
use ablate_validator::Kind;
use serde_json::{json, Value};

use super::{subject, Subject};
use crate::args::PluginCheck;
use crate::commands::{print, Failure, Outcome};
use crate::{exit, table};

/// Runs the tests, or lists them.
pub fn check(args: &PluginCheck) -> Outcome {
    if args.list {
        print(&listed(args.json)?)?;
        return Ok(exit::OK);
    }
    let subject = subject(&args.target)?;
    let report = run(&subject, args)?;
    if args.json {
        let text =
            serde_json::to_string_pretty(&as_json(&subject, &report)).map_err(Failure::running)?;
        print(&(text + "\n"))?;
    } else {
        print(&as_text(&subject, &report, args.failed))?;
    }
    Ok(if report.passed() {
        exit::OK
    } else {
        exit::FAILURE
    })
}

fn run(subject: &Subject, args: &PluginCheck) -> Result<Report, Failure> {
    let limits = Limits::for_plugins();
    let options = Options {
        only: args.only.clone(),
        configs: subject.configs.clone(),
        capabilities: args.target.capability.clone(),
        limits: match args.seconds {
            Some(seconds) => limits.with_seconds(seconds),
            None => limits,
        },
        jobs: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
    };
    // A line that is written over, for people who wait.
    let done = Mutex::new(0usize);
    let shows = std::io::stderr().is_terminal() && !args.json;
    let seen = |result: &TestResult| {
        if !shows {
            return;
        }
        if let Ok(mut done) = done.lock() {
            *done += 1;
            let _ = write!(std::io::stderr(), "\r\x1b[K{done} tests, {} ", result.test);
        }
    };
    let report = check::check(&subject.target, &options, &subject.program, &seen);
    if shows {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    report.map_err(|error| match error {
        check::CheckError::Start(_) => Failure::running(error),
        error => Failure::usage(error),
    })
}

/// Every test with its sentence.
fn listed(json: bool) -> Result<String, Failure> {
    let of = |scope: Scope| match scope {
        Scope::Library => "library".to_owned(),
        Scope::Kinds(kinds) if kinds.len() == Kind::ALL.len() => "all".to_owned(),
        Scope::Kinds(kinds) => {
            let words: Vec<&str> = kinds.iter().map(|k| k.word()).collect();
            words.join(", ")
        }
    };
    if json {
        let all: Vec<Value> = tests()
            .iter()
            .map(|t| json!({"test": t.name, "of": of(t.scope), "about": t.about}))
            .collect();
        let text = serde_json::to_string_pretty(&all).map_err(Failure::running)?;
        return Ok(text + "\n");
    }
    let rows: Vec<Vec<String>> = tests()
        .iter()
        .map(|t| vec![t.name.to_owned(), of(t.scope), t.about.to_owned()])
        .collect();
    Ok(table::render(&["test", "of", "what must hold"], &rows))
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Passed => "passed",
        Status::Failed => "FAILED",
        Status::Crashed => "CRASHED",
        Status::Skipped => "skipped",
    }
}

fn as_text(subject: &Subject, report: &Report, only_bad: bool) -> String {
    let mut text = format!("{}\n", subject.shown);
    let mut place = None;
    let width = report
        .results
        .iter()
        .map(|r| r.test.len())
        .max()
        .unwrap_or(0);
    for result in &report.results {
        let bad = matches!(result.status, Status::Failed | Status::Crashed);
        if only_bad && !bad {
            continue;
        }
        let here = (&result.kind, &result.capability);
        if place != Some(here) {
            if let (Some(kind), Some(name)) = here {
                text.push_str(&format!("\n{kind} {name}\n"));
            }
            place = Some(here);
        }
        text.push_str(&format!(
            "  {:8} {:width$}  {}\n",
            word(result.status),
            result.test,
            result.detail
        ));
    }
    text.push_str(&format!(
        "\n{} passed, {} failed, {} crashed, {} skipped\n",
        report.count(Status::Passed),
        report.count(Status::Failed),
        report.count(Status::Crashed),
        report.count(Status::Skipped)
    ));
    text
}

/// The report for programs; keys are only ever added.
fn as_json(subject: &Subject, report: &Report) -> Value {
    json!({
        "ablate": env!("CARGO_PKG_VERSION"),
        "library": subject.shown,
        "passed": report.passed(),
        "summary": {
            "passed": report.count(Status::Passed),
            "failed": report.count(Status::Failed),
            "crashed": report.count(Status::Crashed),
            "skipped": report.count(Status::Skipped),
        },
        "capabilities": report.capabilities,
        "results": report.results,
    })
}
