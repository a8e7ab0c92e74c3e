//! The printed schema, the reader and the structs know the same keys.

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::{catalog, good, with, GOOD};

/// Every path of properties in a schema, through lists, branches and choices. A definition that
/// contains itself is followed once.
fn paths(schema: &Value, root: &Value, at: &str, out: &mut BTreeSet<String>) {
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let inside = ["any", "all", "not"]
            .iter()
            .any(|word| at.ends_with(&format!(".{word}")));
        let pointer = target.strip_prefix('#').unwrap();
        if !inside {
            paths(root.pointer(pointer).unwrap(), root, at, out);
        }
        return;
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        for (key, property) in properties {
            let path = if at.is_empty() {
                key.clone()
            } else {
                format!("{at}.{key}")
            };
            out.insert(path.clone());
            paths(property, root, &path, out);
        }
    }
    for key in ["anyOf", "oneOf"] {
        for branch in schema
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            paths(branch, root, at, out);
        }
    }
    if let Some(items) = schema.get("items") {
        paths(items, root, at, out);
    }
}

/// Every path of keys in a value, a list's entries by their own keys.
fn keys(value: &Value, at: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let path = if at.is_empty() {
                    key.clone()
                } else {
                    format!("{at}.{key}")
                };
                out.insert(path.clone());
                keys(inner, &path, out);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, at, out)),
        _ => {}
    }
}

fn schema_paths() -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let schema = ablate_recipe::schema(&catalog());
    paths(&schema, &schema, "", &mut out);
    out
}

#[test]
fn whole_schema() {
    let schema = ablate_recipe::schema(&catalog());
    insta::assert_snapshot!(serde_json::to_string_pretty(&schema).unwrap());
}

#[test]
fn every_key_of_the_contract_is_there() {
    let known = schema_paths();
    for key in [
        "pipeline",
        "seeds",
        "device",
        "precision",
        "plugins",
        "data.source",
        "data.source.path",
        "data.source.text",
        "data.source.id",
        "data.split.validation",
        "data.split.test",
        "data.curate",
        "data.tokenizer.wordpiece.vocab_size",
        "data.tokenizer.wordpiece.lowercase",
        "data.tokenizer.file",
        "data.sequence_length",
        "model.bert.layers",
        "model.bert.hidden",
        "model.bert.heads",
        "model.bert.intermediate",
        "model.bert.dropout",
        "model.bert.preset",
        "model.bert.huggingface",
        "model.bert.attention_dropout",
        "model.bert.max_positions",
        "model.bert.activation",
        "model.bert.layer_norm_eps",
        "model.bert.init.normal",
        "model.bert.init.constant",
        "objectives.mlm.mask_rate",
        "objectives.nsp.weight",
        "optimizer.adamw.learning_rate",
        "optimizer.adamw.weight_decay",
        "schedule.warmup_linear.warmup_steps",
        "schedule.warmup_cosine.warmup_steps",
        "schedule.constant",
        "train.batch_size",
        "train.accumulate",
        "train.clip_norm",
        "train.packed",
        "stop.max_steps.steps",
        "stop.converged.window",
        "stop.converged.tolerance",
        "stop.any",
        "stop.all",
        "stop.not",
        "evaluate.every_steps",
        "experiment.data",
        "experiment.model",
        "experiment.design",
        "report.formats",
    ] {
        assert!(known.contains(key), "{key} is not in the schema");
    }
}

/// The structs against the schema: what is written back has only known keys, and every key of the
/// schema outside the plugins is written back by some recipe.
#[test]
fn the_structs_write_the_keys_of_the_schema() {
    let known = schema_paths();
    let mut written = BTreeSet::new();
    let folder = support::Folder::new();
    folder.write("a.txt", "");
    folder.write("vocab.txt", "");
    folder.write("ckpt/model.safetensors", "");
    folder.write(
        "ckpt/config.json",
        r#"{"num_hidden_layers": 2, "hidden_size": 128, "num_attention_heads": 2,
            "intermediate_size": 512, "max_position_embeddings": 512}"#,
    );
    for sets in [
        &[][..],
        &[
            "model.bert.preset=tiny",
            "schedule.constant={}",
            "model.bert.init.constant=1",
        ],
        &[
            "model.bert.huggingface=ckpt",
            "data.tokenizer.file=vocab.txt",
            "experiment={}",
        ],
        &[
            "model.bert.init.truncated_normal=1",
            "schedule.warmup_cosine.warmup_steps=1",
        ],
        &[
            "data.source={path: a.txt, format: text, text: t, id: i, on_error: skip}",
            "plugins=[{path: a.txt, sha256: 1f8e2a4c1f8e2a4c1f8e2a4c1f8e2a4c1f8e2a4c1f8e2a4c1f8e2a4c1f8e2a4c}]",
        ],
    ] {
        let loaded = folder.load(GOOD, sets).unwrap_or_else(|e| panic!("{e}"));
        let value: Value = serde_json::to_value(&loaded.recipe).unwrap();
        let mut here = BTreeSet::new();
        keys(&value, "", &mut here);
        written.extend(here.into_iter().filter(|key| {
            // Interventions have names of their own.
            let free = key.starts_with("experiment.data.") || key.starts_with("experiment.model.");
            !free
        }));
    }
    let unknown: Vec<&String> = written.difference(&known).collect();
    assert!(
        unknown.is_empty(),
        "written but not in the schema: {unknown:?}"
    );
    let plugins = ["objectives.", "optimizer.", "stop.", "data.curate."];
    let unwritten: Vec<&String> = known
        .difference(&written)
        .filter(|key| !plugins.iter().any(|p| key.starts_with(p)))
        .collect();
    assert!(
        unwritten.is_empty(),
        "in the schema but not in the structs: {unwritten:?}"
    );
}

#[test]
fn every_key_of_the_host_is_described() {
    fn undescribed(schema: &Value, at: &str, out: &mut Vec<String>) {
        for (key, property) in schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let path = format!("{at}.{key}");
            if property.get("description").is_none() {
                out.push(path.clone());
            }
            undescribed(property, &path, out);
        }
    }
    let mut out = Vec::new();
    undescribed(
        &ablate_recipe::schema(&ablate_recipe::Catalog::default()),
        "",
        &mut out,
    );
    assert_eq!(out, Vec::<String>::new());
}

/// Every bound of the schema that a number can break is reported, so no keyword is only printed.
#[test]
fn bounds_of_the_schema_are_bounds_of_the_reader() {
    fn numbers(schema: &Value, at: &str, out: &mut Vec<(String, f64)>) {
        for (key, property) in schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let path = if at.is_empty() {
                key.clone()
            } else {
                format!("{at}.{key}")
            };
            for (bound, off) in [
                ("minimum", -1.0),
                ("maximum", 1.0),
                ("exclusiveMinimum", 0.0),
                ("exclusiveMaximum", 0.0),
            ] {
                if let Some(x) = property.get(bound).and_then(Value::as_f64) {
                    out.push((path.clone(), x + off));
                }
            }
            numbers(property, &path, out);
        }
        for branch in schema
            .get("anyOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            numbers(branch, at, out);
        }
    }
    let mut all = Vec::new();
    numbers(&ablate_recipe::schema(&catalog()), "", &mut all);
    assert!(all.len() > 25, "only {} bounds", all.len());
    for (path, value) in all {
        let set = format!("{path}={value}");
        let shown = support::mistakes(GOOD, &[&set]);
        assert!(
            shown.contains(&format!("`{path}` must be")),
            "{set}: {shown}"
        );
    }
}

#[test]
fn a_number_may_be_written_as_a_float() {
    let loaded = good(&with("steps: 200", "steps: 2.0e2"), &[]);
    assert_eq!(loaded.recipe.stop[0].max_steps(), Some(200));
}
