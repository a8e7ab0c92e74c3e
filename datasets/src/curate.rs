//! Curation: named operators that take documents out of a split, each with a report.
//!
//! Operators run on the training split, in the order of the recipe. What they took out, and from how
//! many, is part of the run's record: a data intervention must be seen to have done something.

mod operators;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{DataError, Document, Result};

/// How many ids of removed documents a report quotes.
pub const EXAMPLES: usize = 5;

/// One operator of a recipe: a map of one key, `{exact_dedup: {ignore_case: false}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Value>", into = "BTreeMap<String, Value>")]
pub struct Step {
    /// The operator's name, one of [`operator_names`].
    pub name: String,
    /// Its options.
    pub options: Value,
}

impl TryFrom<BTreeMap<String, Value>> for Step {
    type Error = String;

    fn try_from(map: BTreeMap<String, Value>) -> Result<Self, String> {
        let count = map.len();
        match map.into_iter().next() {
            Some((name, options)) if count == 1 => Ok(Step { name, options }),
            _ => Err(format!(
                "expected one operator as `{{name: {{options}}}}`, found {count} keys"
            )),
        }
    }
}

impl From<Step> for BTreeMap<String, Value> {
    fn from(step: Step) -> Self {
        BTreeMap::from([(step.name, step.options)])
    }
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorReport {
    /// The operator.
    pub operator: String,
    /// Documents before.
    pub documents_in: usize,
    /// Documents after.
    pub documents_out: usize,
    /// Ids of the first [`EXAMPLES`] removed documents.
    pub removed: Vec<String>,
}

/// A configured operator: says of one document after another whether it stays.
trait Operator {
    fn keep(&mut self, document: &Document) -> bool;
}

fn build(name: &str, options: &Value) -> Result<Box<dyn Operator>> {
    match operators::TABLE.iter().find(|known| known.name == name) {
        Some(operator) => (operator.build)(options),
        None => Err(DataError::UnknownOperator {
            name: name.to_owned(),
            known: operator_names().collect::<Vec<_>>().join(", "),
        }),
    }
}

/// The names of all operators, sorted.
pub fn operator_names() -> impl Iterator<Item = &'static str> {
    operators::TABLE.iter().map(|operator| operator.name)
}

/// The names of all operators with the JSON Schema of their options.
pub fn operator_schemas() -> impl Iterator<Item = (&'static str, Value)> {
    operators::TABLE
        .iter()
        .map(|operator| (operator.name, (operator.schema)()))
}

/// Checks an operator's name and options without running it.
///
/// # Errors
///
/// An unknown name, an unknown, missing or mistyped option, a value out of range.
pub fn validate(name: &str, options: &Value) -> Result<()> {
    build(name, options).map(|_| ())
}

/// Runs `steps` in order over `documents`.
///
/// # Errors
///
/// As [`validate`]; or nothing is left.
pub fn apply(
    documents: Vec<Document>,
    steps: &[Step],
) -> Result<(Vec<Document>, Vec<OperatorReport>)> {
    let mut operators = steps
        .iter()
        .map(|step| Ok((step.name.as_str(), build(&step.name, &step.options)?)))
        .collect::<Result<Vec<_>>>()?;
    let mut documents = documents;
    let mut reports = Vec::new();
    for (name, operator) in &mut operators {
        let mut report = OperatorReport {
            operator: (*name).to_owned(),
            documents_in: documents.len(),
            documents_out: 0,
            removed: Vec::new(),
        };
        documents.retain(|document| {
            let keep = operator.keep(document);
            if !keep && report.removed.len() < EXAMPLES {
                report.removed.push(document.id.clone());
            }
            keep
        });
        report.documents_out = documents.len();
        if documents.is_empty() {
            return Err(DataError::EmptyCorpus {
                origin: format!("curate: {name}"),
                detail: format!("it removed all {} document(s)", report.documents_in),
            });
        }
        reports.push(report);
    }
    Ok((documents, reports))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn documents(texts: &[&str]) -> Vec<Document> {
        texts
            .iter()
            .enumerate()
            .map(|(i, text)| Document {
                id: format!("d{i}"),
                text: (*text).to_owned(),
            })
            .collect()
    }

    fn run(texts: &[&str], steps: Value) -> Result<(Vec<String>, Vec<OperatorReport>)> {
        let steps: Vec<Step> = serde_json::from_value(steps).unwrap();
        let (kept, reports) = apply(documents(texts), &steps)?;
        Ok((kept.into_iter().map(|d| d.id).collect(), reports))
    }

    #[test]
    fn exact_dedup_keeps_the_first_and_minds_its_options() {
        let texts = ["One two", "one  two\n", "three", "One two"];
        let (kept, reports) = run(&texts, json!([{"exact_dedup": {}}])).unwrap();
        assert_eq!(kept, ["d0", "d2"]);
        assert_eq!((reports[0].documents_in, reports[0].documents_out), (4, 2));
        assert_eq!(reports[0].removed, ["d1", "d3"]);
        let strict = json!([{"exact_dedup": {"ignore_case": false}}]);
        assert_eq!(run(&texts, strict).unwrap().0, ["d0", "d1", "d2"]);
        let strict = json!([{"exact_dedup": {"ignore_whitespace": false}}]);
        assert_eq!(run(&texts, strict).unwrap().0, ["d0", "d1", "d2"]);
        let null = json!([{ "exact_dedup": null }]);
        assert_eq!(run(&texts, null).unwrap().0, ["d0", "d2"]);
    }

    #[test]
    fn length_and_repetition_operators_run_in_order() {
        let texts = ["a", "a b c", "a b c d e f", "a a a b"];
        let steps = json!([{"min_words": {"words": 2}}, {"max_words": {"words": 4}}, {"max_repetition": {"fraction": 0.5}}]);
        let (kept, reports) = run(&texts, steps).unwrap();
        assert_eq!(kept, ["d1"]);
        let counts: Vec<_> = reports
            .iter()
            .map(|r| (r.documents_in, r.documents_out))
            .collect();
        assert_eq!(counts, [(4, 3), (3, 2), (2, 1)]);
    }

    #[test]
    fn mistakes_are_named_before_any_work() {
        for (name, options, expected) in [
            ("exact_dedupe", json!({}), "exact_dedup, max_repetition"),
            ("min_words", json!({}), "words"),
            ("min_words", json!({"words": -1}), "-1"),
            ("min_words", json!({"words": 1, "chars": 2}), "chars"),
            ("max_repetition", json!({"fraction": 1.5}), "1.5"),
            ("max_words", json!({"words": 0}), "at least 1"),
            ("exact_dedup", json!({"seen": []}), "seen"),
        ] {
            let message = validate(name, &options).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        assert!(operator_names().all(|n| !matches!(
            validate(n, &json!({})),
            Err(DataError::UnknownOperator { .. })
        )));
        assert!(serde_json::from_value::<Step>(json!({"a": {}, "b": {}})).is_err());
    }

    #[test]
    fn schemas_are_closed_and_say_what_parsing_says() {
        for (name, schema) in operator_schemas() {
            assert_eq!(schema["additionalProperties"], false, "{name}");
            assert!(schema["description"].is_string(), "{name}");
            let properties = schema["properties"].as_object().unwrap();
            for (key, property) in properties {
                assert!(property["description"].is_string(), "{name}.{key}");
            }
            // What has no default is required, and parsing agrees.
            let required = schema.get("required").and_then(Value::as_array);
            let needs = required.is_some_and(|keys| !keys.is_empty());
            assert_eq!(validate(name, &json!({})).is_err(), needs, "{name}");
        }
        let dedup = operator_schemas().next().unwrap().1;
        assert_eq!(dedup["properties"]["ignore_case"]["default"], true);
    }

    #[test]
    fn removing_everything_is_an_error() {
        let e = run(&["a", "b"], json!([{"min_words": {"words": 9}}])).unwrap_err();
        assert!(e.to_string().contains("all 2"), "{e}");
    }
}
