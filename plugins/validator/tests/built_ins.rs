//! The validator over every built-in plugin: all pass.

mod common;

use std::path::Path;

use ablate_bert::hf::{export, ExportTensor};
use ablate_bert::{encoder_parameters, mlm_head_parameters, BertConfig, Init};
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

/// A model that `distill` can learn from: no smaller than any that the validator makes up.
fn teacher(folder: &Path) {
    let config = BertConfig {
        vocab_size: 64,
        hidden_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 12,
        ..BertConfig::default()
    };
    let mut parameters = encoder_parameters(&config);
    parameters.extend(mlm_head_parameters(&config));
    let values: Vec<Vec<f32>> = parameters
        .iter()
        .map(|spec| config.initial_values(spec, &Init::Normal { std: 0.3 }, 7))
        .collect();
    let tensors: Vec<ExportTensor<'_>> = parameters
        .iter()
        .zip(&values)
        .map(|(spec, values)| ExportTensor {
            name: &spec.name,
            shape: &spec.shape,
            values,
        })
        .collect();
    export(folder, &config, &tensors, &[]).unwrap();
}

#[test]
fn every_test_passes_on_every_built_in() {
    let folder = tempfile::tempdir().unwrap();
    let taught = folder.path().join("teacher");
    teacher(&taught);
    let options = Options {
        only: vec![],
        configs: [("distill".to_owned(), serde_json::json!({"teacher": taught}))]
            .into_iter()
            .collect(),
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
    // Nothing is left out for want of a configuration.
    let skipped = report
        .results
        .iter()
        .filter(|r| r.status == Status::Skipped);
    let made_up: Vec<_> = skipped.filter(|r| r.detail.contains("made-up")).collect();
    assert!(made_up.is_empty(), "{made_up:?}");
    // A test that has nothing to look at says why.
    let skipped = report
        .results
        .iter()
        .filter(|r| r.status == Status::Skipped);
    for result in skipped {
        assert!(!result.detail.is_empty());
    }
}
