//! Configurations made from a schema.

use serde_json::{json, Map, Value};

use super::{allows, resolve};

/// A configuration and what is special about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// In a few words, for a sentence such as "with ...".
    pub about: String,
    /// The configuration.
    pub config: Value,
}

/// Characters of the longest text that is tried.
const HUGE: usize = 1 << 20;

/// Levels of the deepest value that is tried: far more than any configuration, and little enough that this
/// program can drop it.
const DEEP: usize = 2000;

/// The keys that the schema requires, each with its default, its first example, or a value made from its
/// bounds. None where a required key has none of them.
pub fn smallest(root: &Value) -> Option<Value> {
    let mut config = Map::new();
    let properties = properties(root);
    for name in required(root) {
        let schema = properties.iter().find(|(n, _)| *n == name)?.1;
        config.insert(name.to_owned(), values(root, schema).into_iter().next()?);
    }
    Some(Value::Object(config))
}

/// `base` with one key changed to something else that the schema allows.
pub fn variations(root: &Value, base: &Value) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (name, schema) in properties(root) {
        for value in values(root, schema) {
            samples.push(with(base, name, value));
        }
    }
    samples.retain(|s| s.config != *base && allows(root, root, &s.config) == Some(true));
    samples
}

/// Configurations that the schema forbids.
pub fn forbidden(root: &Value, base: &Value) -> Vec<Sample> {
    let mut samples = vec![Sample {
        about: "an unknown key".to_owned(),
        config: with(base, "no_such_key_anywhere", json!(1)).config,
    }];
    for (name, schema) in properties(root) {
        for value in strangers(root, schema) {
            samples.push(with(base, name, value));
        }
        let mut without = base.clone();
        if let Some(map) = without.as_object_mut() {
            map.shift_remove(name);
        }
        samples.push(Sample {
            about: format!("`{name}` missing"),
            config: without,
        });
    }
    for (about, config) in [
        ("a list", json!([])),
        ("a number", json!(1)),
        ("a text", json!("{}")),
    ] {
        samples.push(Sample {
            about: format!("{about} in place of an object"),
            config,
        });
    }
    samples.retain(|s| allows(root, root, &s.config) == Some(false));
    samples
}

/// Configurations that may be taken or refused, as long as nothing crashes: texts of a mebibyte,
/// values two thousand levels deep, the ends of the number range, wherever the schema allows them.
pub fn odd(root: &Value, base: &Value) -> Vec<Sample> {
    let huge = Value::from("x".repeat(HUGE));
    let mut deep = json!(1);
    for _ in 0..DEEP {
        deep = Value::Array(vec![deep]);
    }
    let mut samples = vec![
        with(base, "no_such_key_anywhere", huge.clone()),
        with(base, "no_such_key_anywhere", deep.clone()),
        with(base, &"k".repeat(HUGE), json!(1)),
        with(base, "", json!(1)),
        with(base, "\u{0}\u{7}\"\\{}", json!("\u{0}\n")),
    ];
    for (name, _) in properties(root) {
        for value in [
            huge.clone(),
            deep.clone(),
            json!(f64::MAX),
            json!(-f64::MAX),
            json!(f64::MIN_POSITIVE),
            json!(u64::MAX),
            json!(i64::MIN),
            json!({"x": {"y": []}}),
        ] {
            samples.push(with(base, name, value));
        }
    }
    samples
}

fn with(base: &Value, name: &str, value: Value) -> Sample {
    let shown = value.to_string();
    let about = if shown.len() <= 60 && name.len() <= 60 {
        format!("`{name}` = {shown}")
    } else {
        let begin = |text: &str| text.chars().take(12).collect::<String>();
        format!(
            "`{}..` = {}.. ({} bytes)",
            begin(name),
            begin(&shown),
            shown.len()
        )
    };
    let mut config = base.as_object().cloned().unwrap_or_default();
    config.insert(name.to_owned(), value);
    Sample {
        about,
        config: Value::Object(config),
    }
}

fn properties(root: &Value) -> Vec<(&str, &Value)> {
    let named = root.get("properties").and_then(Value::as_object);
    named
        .into_iter()
        .flatten()
        .map(|(name, schema)| (name.as_str(), schema))
        .collect()
}

fn required(root: &Value) -> Vec<&str> {
    let names = root.get("required").and_then(Value::as_array);
    names
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Values that the schema allows, the most usual first.
fn values(root: &Value, schema: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    candidates(root, schema, 4, &mut found);
    found.retain(|value| allows(root, schema, value) == Some(true));
    let mut unique: Vec<Value> = Vec::new();
    for value in found {
        if !unique.contains(&value) {
            unique.push(value);
        }
    }
    unique
}

fn candidates(root: &Value, schema: &Value, depth: usize, found: &mut Vec<Value>) {
    let (Some(schema), Some(depth)) = (resolve(root, schema), depth.checked_sub(1)) else {
        return;
    };
    let list = |keyword: &str| {
        schema
            .get(keyword)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    found.extend(schema.get("default").cloned());
    found.extend(list("examples").cloned());
    found.extend(schema.get("const").cloned());
    found.extend(list("enum").cloned());
    for one in list("oneOf").chain(list("anyOf")).chain(list("allOf")) {
        candidates(root, one, depth, found);
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    for name in types {
        match name {
            "boolean" => found.extend([json!(false), json!(true)]),
            "null" => found.push(Value::Null),
            "string" => found.push(json!("text")),
            "integer" => found.extend(integers(schema)),
            "number" => found.extend(numbers(schema)),
            "array" => found.extend(arrays(root, schema, depth)),
            "object" => {
                let mut object = Map::new();
                for name in required(schema) {
                    let value = schema
                        .get("properties")
                        .and_then(|p| p.get(name))
                        .and_then(|one| values(root, one).into_iter().next());
                    if let Some(value) = value {
                        object.insert(name.to_owned(), value);
                    }
                }
                found.push(Value::Object(object));
            }
            _ => {}
        }
    }
}

fn bound(schema: &Value, keyword: &str) -> Option<f64> {
    schema.get(keyword).and_then(Value::as_f64)
}

fn integers(schema: &Value) -> Vec<Value> {
    let low = bound(schema, "minimum").or(bound(schema, "exclusiveMinimum").map(|b| b + 1.0));
    let high = bound(schema, "maximum").or(bound(schema, "exclusiveMaximum").map(|b| b - 1.0));
    let low = low.unwrap_or(0.0).ceil() as i64;
    let mut found = vec![json!(low), json!(low + 1), json!(low + 10)];
    found.extend(
        high.filter(|h| h.abs() < 1e15)
            .map(|h| json!(h.floor() as i64)),
    );
    found
}

fn numbers(schema: &Value) -> Vec<Value> {
    let low = bound(schema, "minimum").or(bound(schema, "exclusiveMinimum"));
    let high = bound(schema, "maximum").or(bound(schema, "exclusiveMaximum"));
    let (a, b) = match (low, high) {
        (Some(a), Some(b)) => (a, b),
        (Some(a), None) => (a, a + 1.0),
        (None, Some(b)) => (b - 1.0, b),
        (None, None) => (0.0, 1.0),
    };
    [0.5, 0.001, 0.999, 0.0, 1.0]
        .iter()
        .map(|t| json!(a + (b - a) * t))
        .collect()
}

fn arrays(root: &Value, schema: &Value, depth: usize) -> Vec<Value> {
    let mut items = Vec::new();
    if let Some(schema) = schema.get("items") {
        candidates(root, schema, depth, &mut items);
    }
    let length = schema
        .get("minItems")
        .and_then(Value::as_u64)
        .unwrap_or(1)
        .max(1);
    let length = usize::try_from(length).unwrap_or(0).min(64);
    let mut found = vec![json!([])];
    if !items.is_empty() {
        found.extend(
            items
                .iter()
                .map(|item| Value::Array(vec![item.clone(); length])),
        );
        found.push(items.iter().cycle().take(length).cloned().collect());
    }
    found
}

/// Values that the schema forbids.
fn strangers(root: &Value, schema: &Value) -> Vec<Value> {
    let mut found = vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(0.5),
        json!(1.5),
        json!(-0.25),
        json!(1e300),
        json!("no such value"),
        json!(""),
        json!([]),
        json!(["no such value"]),
        json!([[]]),
        json!({}),
        json!({"no_such_key_anywhere": 1}),
    ];
    if let Some(schema) = resolve(root, schema) {
        let bounds = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];
        for b in bounds.iter().filter_map(|keyword| bound(schema, keyword)) {
            found.extend([json!(b), json!(b - 1.0), json!(b + 1.0)]);
        }
        // One element too many.
        if let Some(most) = schema.get("maxItems").and_then(Value::as_u64) {
            let items = schema
                .get("items")
                .map(|one| values(root, one))
                .unwrap_or_default();
            if let (Some(item), Ok(most)) = (items.first(), usize::try_from(most)) {
                if most < 1000 {
                    found.push(Value::Array(vec![item.clone(); most + 1]));
                }
            }
        }
    }
    found.retain(|value| allows(root, schema, value) == Some(false));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Value {
        json!({
            "type": "object",
            "required": ["steps", "mode"],
            "additionalProperties": false,
            "properties": {
                "steps": {"type": "integer", "minimum": 1, "maximum": 50},
                "rate": {"type": "number", "exclusiveMinimum": 0.0, "default": 0.1},
                "betas": {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 2, "maxItems": 2},
                "mode": {"$ref": "#/$defs/Mode"},
            },
            "$defs": {"Mode": {"oneOf": [{"const": "fast", "type": "string"}, {"const": "slow"}]}},
        })
    }

    #[test]
    fn the_smallest_has_what_is_required() {
        assert_eq!(smallest(&root()), Some(json!({"steps": 1, "mode": "fast"})));
        assert_eq!(smallest(&json!({"type": "object"})), Some(json!({})));
        // A text with a pattern cannot be made up.
        let path = json!({"type": "object", "required": ["p"], "properties": {"p": {"type": "string", "pattern": "^/"}}});
        assert_eq!(smallest(&path), None);
    }

    #[test]
    fn variations_are_allowed_and_forbidden_ones_are_not() {
        let root = root();
        let base = smallest(&root).unwrap();
        let good = variations(&root, &base);
        for part in [
            "`steps` = 50",
            "`mode` = \"slow\"",
            "`rate` = 0.1",
            "`betas` = [0.5,0.5]",
        ] {
            assert!(good.iter().any(|s| s.about == part), "{part} {good:#?}");
        }
        let bad = forbidden(&root, &base);
        for part in [
            "an unknown key",
            "`steps` missing",
            "`steps` = 0",
            "`steps` = 51.0",
            "`steps` = true",
            "`rate` = 0.0",
            "`mode` = \"no such value\"",
            "a list in place of an object",
        ] {
            assert!(bad.iter().any(|s| s.about == part), "{part} {bad:#?}");
        }
        assert!(bad
            .iter()
            .any(|s| s.config["betas"].as_array().is_some_and(|b| b.len() == 3)));
        for sample in good.iter().chain(&bad) {
            let expected = good.contains(sample);
            assert_eq!(
                allows(&root, &root, &sample.config),
                Some(expected),
                "{sample:?}"
            );
        }
    }

    #[test]
    fn odd_samples_have_short_names() {
        for sample in odd(&root(), &json!({"steps": 1})) {
            assert!(sample.about.len() < 200, "{}", sample.about.len());
        }
    }
}
