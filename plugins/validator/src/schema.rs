//! What a plugin's own JSON Schema says of its configuration.
//!
//! Owns: whether a schema is one, whether it allows a value, and configurations made from it: good ones,
//! odd ones, and ones that it forbids. Must not know any plugin.
//!
//! Source: JSON Schema 2020-12, in the subset that recipes are checked against (`type`, `properties`,
//! `required`, `additionalProperties`, bounds, `enum`, `const`, `items`, lengths, `oneOf`, `anyOf`, `allOf`,
//! `$ref` into the schema itself). Where another keyword decides, the answer is "unknown".

mod make;
mod well_formed;

pub use make::{forbidden, odd, smallest, variations, Sample};
pub use well_formed::problems;

use serde_json::{Map, Value};

/// Keywords that only describe.
const ANNOTATIONS: [&str; 13] = [
    "$schema",
    "$id",
    "$defs",
    "$comment",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
];

/// How deep references and nested schemas are followed.
const DEPTH: usize = 32;

/// The schema behind a reference into `root`, else the schema itself.
pub(crate) fn resolve<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    let mut schema = schema;
    for _ in 0..DEPTH {
        match schema.get("$ref").and_then(Value::as_str) {
            None => return Some(schema),
            Some(reference) => schema = root.pointer(reference.strip_prefix('#')?)?,
        }
    }
    None
}

/// Whether a schema allows a value: None where keywords decide that are not known here.
pub fn allows(root: &Value, schema: &Value, value: &Value) -> Option<bool> {
    allows_at(root, schema, value, DEPTH)
}

fn allows_at(root: &Value, schema: &Value, value: &Value, depth: usize) -> Option<bool> {
    let depth = depth.checked_sub(1)?;
    let schema = match schema {
        Value::Bool(all) => return Some(*all),
        Value::Object(keywords) => keywords,
        _ => return None,
    };
    let mut all = Some(true);
    for (keyword, said) in schema {
        let one = if keyword == "$ref" {
            let target = said
                .as_str()
                .and_then(|r| root.pointer(r.strip_prefix('#')?));
            target.and_then(|target| allows_at(root, target, value, depth))
        } else if matches!(keyword.as_str(), "oneOf" | "anyOf" | "allOf") {
            combined(root, keyword, said, value, depth)
        } else {
            keyword_allows(root, schema, keyword, said, value, depth)
        };
        match one {
            Some(false) => return Some(false),
            Some(true) => {}
            None => all = None,
        }
    }
    all
}

fn combined(
    root: &Value,
    keyword: &str,
    said: &Value,
    value: &Value,
    depth: usize,
) -> Option<bool> {
    let answers: Vec<Option<bool>> = said
        .as_array()?
        .iter()
        .map(|one| allows_at(root, one, value, depth))
        .collect();
    let count = |answer| answers.iter().filter(|a| **a == answer).count();
    let (yes, unknown) = (count(Some(true)), count(None));
    match keyword {
        "allOf" if count(Some(false)) > 0 => Some(false),
        "allOf" => (unknown == 0).then_some(true),
        "anyOf" if yes > 0 => Some(true),
        "oneOf" if yes > 1 => Some(false),
        "oneOf" if yes == 1 => (unknown == 0).then_some(true),
        _ => (unknown == 0).then_some(false),
    }
}

/// What one keyword says of a value; keywords of other types than the value's say nothing.
fn keyword_allows(
    root: &Value,
    schema: &Map<String, Value>,
    keyword: &str,
    said: &Value,
    value: &Value,
    depth: usize,
) -> Option<bool> {
    let number = |test: fn(f64, f64) -> bool| match value.as_f64() {
        Some(found) => said.as_f64().map(|bound| test(found, bound)),
        None => Some(true),
    };
    let size = |length: Option<usize>, test: fn(u64, u64) -> bool| match length {
        Some(length) => said.as_u64().map(|bound| test(length as u64, bound)),
        None => Some(true),
    };
    let items = value.as_array();
    let object = value.as_object();
    let characters = || value.as_str().map(|s| s.chars().count());
    match keyword {
        "type" => match said {
            Value::String(name) => is_of_type(name, value),
            Value::Array(names) => names.iter().try_fold(false, |any, name| {
                Some(any || is_of_type(name.as_str()?, value)?)
            }),
            _ => None,
        },
        "const" => Some(same(said, value)),
        "enum" => Some(said.as_array()?.iter().any(|one| same(one, value))),
        "minimum" => number(|found, bound| found >= bound),
        "maximum" => number(|found, bound| found <= bound),
        "exclusiveMinimum" => number(|found, bound| found > bound),
        "exclusiveMaximum" => number(|found, bound| found < bound),
        "minLength" => size(characters(), |n, bound| n >= bound),
        "maxLength" => size(characters(), |n, bound| n <= bound),
        "minItems" => size(items.map(Vec::len), |n, bound| n >= bound),
        "maxItems" => size(items.map(Vec::len), |n, bound| n <= bound),
        "minProperties" => size(object.map(Map::len), |n, bound| n >= bound),
        "maxProperties" => size(object.map(Map::len), |n, bound| n <= bound),
        "uniqueItems" => Some(items.is_none_or(|items| {
            *said != Value::Bool(true)
                || items
                    .iter()
                    .enumerate()
                    .all(|(i, one)| !items[..i].contains(one))
        })),
        "required" => Some(object.is_none_or(|object| {
            let names = said.as_array().into_iter().flatten();
            names
                .filter_map(Value::as_str)
                .all(|name| object.contains_key(name))
        })),
        "items" => every(items.into_iter().flatten(), |item| {
            allows_at(root, said, item, depth)
        }),
        "properties" => {
            let Some(object) = object else {
                return Some(true);
            };
            let known = said.as_object()?;
            every(
                known.iter().filter(|(key, _)| object.contains_key(*key)),
                |(key, schema)| allows_at(root, schema, &object[key], depth),
            )
        }
        "additionalProperties" => {
            let Some(object) = object else {
                return Some(true);
            };
            let known = schema.get("properties").and_then(Value::as_object);
            let others = object
                .iter()
                .filter(|(key, _)| known.is_none_or(|known| !known.contains_key(*key)));
            every(others, |(_, other)| allows_at(root, said, other, depth))
        }
        annotation if ANNOTATIONS.contains(&annotation) => Some(true),
        _ => None,
    }
}

fn every<T>(items: impl Iterator<Item = T>, test: impl Fn(T) -> Option<bool>) -> Option<bool> {
    let mut all = Some(true);
    for item in items {
        match test(item) {
            Some(false) => return Some(false),
            Some(true) => {}
            None => all = None,
        }
    }
    all
}

/// Equality of JSON values, in which 1 and 1.0 are the same number.
fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b)
}

fn is_of_type(name: &str, value: &Value) -> Option<bool> {
    Some(match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn root() -> Value {
        json!({
            "type": "object",
            "required": ["steps"],
            "additionalProperties": false,
            "properties": {
                "steps": {"type": "integer", "minimum": 1},
                "rate": {"type": "number", "exclusiveMinimum": 0, "default": 0.1},
                "mode": {"$ref": "#/$defs/Mode"},
                "name": {"type": ["string", "null"], "maxLength": 3},
                "odd": {"multipleOf": 2},
            },
            "$defs": {"Mode": {"oneOf": [{"const": "a"}, {"const": "b"}]}},
        })
    }

    #[test]
    fn what_a_schema_allows() {
        let root = root();
        let open = json!({"type": "object", "properties": {}});
        assert_eq!(allows(&open, &open, &json!({"other": 1})), Some(true));
        for (value, expected) in [
            (json!({"steps": 1}), Some(true)),
            (json!({"steps": 1.0}), Some(true)),
            (json!({"steps": 1.5}), Some(false)),
            (json!({"steps": 0}), Some(false)),
            (json!({}), Some(false)),
            (json!([]), Some(false)),
            (json!({"steps": 1, "other": 1}), Some(false)),
            (json!({"steps": 1, "rate": 0}), Some(false)),
            (json!({"steps": 1, "mode": "b"}), Some(true)),
            (json!({"steps": 1, "mode": "c"}), Some(false)),
            (json!({"steps": 1, "name": null}), Some(true)),
            (json!({"steps": 1, "name": "four"}), Some(false)),
            (json!({"steps": 1, "odd": 3}), None),
        ] {
            assert_eq!(allows(&root, &root, &value), expected, "{value}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_is_unknown_and_no_endless_loop() {
        let root = json!({"$ref": "#"});
        assert_eq!(allows(&root, &root, &json!({})), None);
        assert_eq!(resolve(&root, &root), None);
    }
}
