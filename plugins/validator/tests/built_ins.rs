//! The validator over every built-in plugin: all pass.

mod common;

use ablate_validator::check::{check, tests, Options, Report, Status};
use ablate_validator::process::Limits;
use ablate_validator::Target;

/// Not a test: the process that the others start.
#[test]
fn worker_process() {
    common::worker();
}

fn table(report: &Report) -> String {
    let lines: Vec<String> = report
        .results
        .iter()
        .map(|r| {
            let who = r.capability.as_deref().unwrap_or("-");
            format!(
                "{who:16} {:22} {:?}: {} ({:.2} s)",
                r.test, r.status, r.detail, r.seconds
            )
        })
        .collect();
    lines.join("\n")
}

#[test]
fn every_test_passes_on_every_built_in() {
    let options = Options {
        only: vec![],
        configs: Default::default(),
        capabilities: vec![],
        limits: Limits::for_plugins().with_seconds(60),
        jobs: 2,
    };
    let report = check(&Target::BuiltIn, &options, &common::program(), &|_| {}).unwrap();
    let table = table(&report);
    println!("{table}");
    assert!(report.passed(), "{table}");
    for entry in &report.capabilities {
        for test in tests().iter().filter(|t| t.applies_to(Some(entry.kind))) {
            let found = report.results.iter().find(|r| {
                r.test == test.name
                    && r.capability.as_deref() == Some(entry.name.as_str())
                    && r.kind.as_deref() == Some(entry.kind.word())
            });
            assert!(
                found.is_some(),
                "{} was not run on `{}`",
                test.name,
                entry.name
            );
        }
    }
    // A test that has nothing to look at says why.
    let skipped = report
        .results
        .iter()
        .filter(|r| r.status == Status::Skipped);
    for result in skipped {
        assert!(!result.detail.is_empty());
    }
}
