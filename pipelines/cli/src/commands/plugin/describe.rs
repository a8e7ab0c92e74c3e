//! `ablate plugin describe`: what a library offers, and what its expressions cost.

use ablate_validator::check::{self, Options, Report, Status, FUSION, LOAD};
use ablate_validator::process::Limits;
use ablate_validator::{CatalogueEntry, Origin};
use serde_json::{json, Value};

use super::subject;
use crate::args::PluginDescribe;
use crate::commands::{print, Failure, Outcome};
use crate::exit;

/// Prints the description.
pub fn describe(args: &PluginDescribe) -> Outcome {
    let subject = subject(&args.target)?;
    let options = Options {
        only: vec![LOAD.to_owned(), FUSION.to_owned()],
        configs: subject.configs.clone(),
        capabilities: args.target.capability.clone(),
        limits: Limits::for_plugins(),
        // One at a time: they are timed.
        jobs: 1,
    };
    let report = check::check(&subject.target, &options, &subject.program, &|_| {})
        .map_err(Failure::usage)?;
    let loaded = report.results.iter().find(|r| r.test == LOAD);
    if let Some(bad) = loaded.filter(|r| r.status != Status::Passed) {
        return Err(Failure::usage(format!("{}: {}", subject.shown, bad.detail)));
    }
    if args.json {
        let text = serde_json::to_string_pretty(&as_json(&report)).map_err(Failure::running)?;
        print(&(text + "\n"))?;
    } else {
        let parts: Vec<String> = report
            .capabilities
            .iter()
            .map(|entry| as_text(entry, &report))
            .collect();
        print(&parts.join("\n"))?;
    }
    Ok(exit::OK)
}

/// The measurement of a capability: its sentence and its numbers.
fn measured<'a>(
    entry: &CatalogueEntry,
    report: &'a Report,
) -> Option<(&'a str, Option<&'a Value>)> {
    let result = report.results.iter().find(|r| {
        r.test == FUSION
            && r.capability.as_deref() == Some(entry.name.as_str())
            && r.kind.as_deref() == Some(entry.kind.word())
    })?;
    Some((&result.detail, result.data.as_ref()))
}

fn as_text(entry: &CatalogueEntry, report: &Report) -> String {
    let mut text = format!(
        "{} {}\n  {}\n  plugin   {} {} ({}), ABI {}.{}, {}\n",
        entry.kind,
        entry.name,
        entry.description,
        entry.plugin,
        entry.version,
        entry.license,
        entry.abi.0,
        entry.abi.1,
        entry.origin
    );
    if let Origin::File { sha256, .. } = &entry.origin {
        text.push_str(&format!("  sha256   {sha256}\n"));
    }
    if let Some(reason) = &entry.unusable {
        text.push_str(&format!("  unusable {reason}\n"));
    }
    let required: Vec<&Value> = entry
        .schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
    let keys = entry.schema.get("properties").and_then(Value::as_object);
    for (key, schema) in keys.into_iter().flatten() {
        let about = schema
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or("");
        let default = match schema.get("default") {
            Some(value) => format!(" [{value}]"),
            None if required.iter().any(|r| *r == key) => " (required)".to_owned(),
            None => String::new(),
        };
        text.push_str(&format!("  {key}{default}  {}\n", about.replace('\n', " ")));
    }
    if let Some((detail, _)) = measured(entry, report) {
        text.push_str(&format!("  cost     {detail}\n"));
    }
    text
}

fn as_json(report: &Report) -> Value {
    let all: Vec<Value> = report
        .capabilities
        .iter()
        .map(|entry| {
            let measured = measured(entry, report);
            json!({
                "capability": entry,
                "cost": measured.and_then(|(_, data)| data),
                "cost_in_words": measured.map(|(detail, _)| detail),
            })
        })
        .collect();
    Value::from(all)
}
