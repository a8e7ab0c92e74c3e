//! Plugin schemas brought into the subset that the reader checks.
//!
//! Owns the forms that schema generators write, such as `schemars`: `$ref` into `$defs`, `allOf`
//! with one part, an enum as a `oneOf` of constants. Must not know what is described.

use std::collections::BTreeSet;

use serde_json::{json, Map, Value};

/// Deepest chain of references, since a type may contain itself.
const MAX_DEPTH: usize = 16;

/// The same schema without references, and with enums as `enum`.
pub(crate) fn normalise(schema: &Value) -> Value {
    let none = Map::new();
    let definitions = ["$defs", "definitions"]
        .iter()
        .find_map(|key| schema.get(key)?.as_object())
        .unwrap_or(&none);
    let mut flat = inline(schema, definitions, 0);
    if let Some(map) = flat.as_object_mut() {
        for key in ["$defs", "definitions", "$schema", "$id"] {
            map.shift_remove(key);
        }
    }
    flat
}

fn inline(schema: &Value, definitions: &Map<String, Value>, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return Value::Bool(true);
    }
    match schema {
        Value::Object(map) => {
            let mut out = Map::new();
            let referred = map
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|r| definitions.get(r.rsplit('/').next()?));
            let all_of = map.get("allOf").and_then(Value::as_array);
            let base = match (referred, all_of.map(Vec::as_slice)) {
                (Some(target), _) => Some(target),
                (None, Some([one])) => Some(one),
                _ => None,
            };
            if let Some(Value::Object(base)) = base.map(|b| inline(b, definitions, depth + 1)) {
                out = base;
            }
            for (key, value) in map {
                match key.as_str() {
                    "$ref" if referred.is_some() => {}
                    "allOf" if base.is_some() => {}
                    // Values, not schemas: nothing in them is a reference.
                    "default" | "enum" | "const" | "examples" | "$defs" | "definitions" => {
                        out.insert(key.clone(), value.clone());
                    }
                    _ => {
                        out.insert(key.clone(), inline(value, definitions, depth + 1));
                    }
                }
            }
            gather(&mut out);
            Value::Object(out)
        }
        Value::Array(items) => items
            .iter()
            .map(|v| inline(v, definitions, depth + 1))
            .collect(),
        other => other.clone(),
    }
}

/// Turns the constants of a `oneOf` or `anyOf` into one `enum`.
fn gather(schema: &mut Map<String, Value>) {
    for key in ["oneOf", "anyOf"] {
        let Some(branches) = schema.get(key).and_then(Value::as_array) else {
            continue;
        };
        let mut constants = Vec::new();
        let mut others = Vec::new();
        for branch in branches {
            match (
                branch.get("const"),
                branch.get("enum").and_then(Value::as_array),
            ) {
                (Some(value), _) => constants.push(value.clone()),
                (None, Some(values)) => constants.extend(values.iter().cloned()),
                _ => others.push(branch.clone()),
            }
        }
        if constants.is_empty() {
            continue;
        }
        let types: BTreeSet<&str> = constants.iter().map(type_of).collect();
        let named = json!({"type": types, "enum": constants});
        if others.is_empty() {
            schema.shift_remove(key);
            if let Value::Object(named) = named {
                schema.extend(named);
            }
        } else {
            others.insert(0, named);
            schema.insert(key.to_owned(), Value::Array(others));
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_schemars_writes_becomes_plain() {
        let written = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "selection": {"$ref": "#/$defs/Selection", "description": "How", "default": "bernoulli"},
                "limit": {"anyOf": [{"$ref": "#/$defs/Limit"}, {"type": "null"}]},
                "whole": {"allOf": [{"$ref": "#/$defs/Limit"}]},
            },
            "$defs": {
                "Selection": {"oneOf": [
                    {"type": "string", "const": "bernoulli", "description": "Each token alone"},
                    {"type": "string", "const": "exact"},
                ]},
                "Limit": {"type": "integer", "minimum": 1},
            },
        });
        assert_eq!(
            normalise(&written),
            json!({
                "type": "object",
                "properties": {
                    "selection": {"description": "How", "default": "bernoulli",
                        "type": ["string"], "enum": ["bernoulli", "exact"]},
                    "limit": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
                    "whole": {"type": "integer", "minimum": 1},
                },
            })
        );
    }

    #[test]
    fn a_type_that_contains_itself_ends() {
        let tree = json!({
            "type": "object",
            "properties": {"left": {"$ref": "#/$defs/Tree"}},
            "$defs": {"Tree": {"type": "object", "properties": {"left": {"$ref": "#/$defs/Tree"}}}},
        });
        let flat = normalise(&tree);
        assert!(!flat.to_string().contains("$ref"));
    }
}
