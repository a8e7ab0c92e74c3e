//! What a schema says: which values it allows, and that in words.
//!
//! Owns looking things up in a schema. Must not know the tree that is checked against it.

use serde_json::{Map, Value};

use crate::words::list;

/// The schema that a reference into the root's `$defs` stands for; any other schema is itself.
pub(crate) fn follow<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let name = schema.get("$ref").and_then(Value::as_str);
    name.and_then(|r| root.get("$defs")?.get(r.strip_prefix("#/$defs/")?))
        .unwrap_or(schema)
}

/// The branches of `anyOf` or `oneOf`.
fn branches(schema: &Value) -> Option<&Vec<Value>> {
    let either = schema.get("anyOf").or_else(|| schema.get("oneOf"));
    either.and_then(Value::as_array)
}

/// The part of a schema that speaks of a JSON type: the schema itself or the branch of its
/// `anyOf` or `oneOf`; none when the type is not allowed.
pub(crate) fn pick<'s>(schema: &'s Value, kind: &'s str) -> Option<&'s Value> {
    picks(schema, kind).next()
}

/// As [`pick`], all of them.
pub(crate) fn picks<'s>(schema: &'s Value, kind: &'s str) -> impl Iterator<Item = &'s Value> {
    let one = std::slice::from_ref(schema);
    let all = branches(schema).map_or(one, Vec::as_slice);
    all.iter().filter(move |one| {
        let allowed = types(one);
        allowed.is_empty()
            || allowed.contains(&kind)
            || (kind == "integer" && allowed.contains(&"number"))
    })
}

/// The types that a schema allows; none means any.
pub(crate) fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(some)) => some.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The properties of a schema, or of its branch for maps.
pub(crate) fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    pick(schema, "object")?.get("properties")?.as_object()
}

/// Whether a map with this schema chooses one key out of several, and what.
pub(crate) fn choice(schema: &Value) -> Option<&str> {
    schema.get("x-choice").and_then(Value::as_str)
}

/// What a schema expects, in words.
pub(crate) fn expected(schema: &Value) -> String {
    if let Some(branches) = branches(schema) {
        let words: Vec<String> = branches.iter().map(expected).collect();
        return words.join(", or ");
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return format!("one of {}", list(plain(values).iter().map(String::as_str)));
    }
    if let Some(value) = schema.get("const") {
        return format!("`{value}`");
    }
    if let Some(what) = choice(schema) {
        return format!("a map with one key, the name of the {what}");
    }
    let bound = |key| schema.get(key).filter(|v| v.is_number());
    let mut bounds = Vec::new();
    if let Some(x) = bound("exclusiveMinimum") {
        bounds.push(format!("greater than {x}"));
    }
    if let Some(x) = bound("minimum") {
        bounds.push(format!("at least {x}"));
    }
    if let Some(x) = bound("exclusiveMaximum") {
        bounds.push(format!("less than {x}"));
    }
    if let Some(x) = bound("maximum") {
        bounds.push(format!("at most {x}"));
    }
    let mut allowed = types(schema);
    // A config may be left empty, but nobody has to know that it is null then.
    let nullable = allowed.contains(&"null") && !allowed.contains(&"object");
    allowed.retain(|t| *t != "null");
    let words: Vec<&str> = allowed
        .into_iter()
        .map(|t| match t {
            "integer" => "a whole number",
            "number" => "a number",
            "boolean" => "true or false",
            "string" => "text",
            "array" => "a list",
            "object" => "a map",
            other => other,
        })
        .collect();
    let mut out = match words.as_slice() {
        [] if nullable => return "null".to_owned(),
        [] => "a value".to_owned(),
        words => words.join(" or "),
    };
    if let Some(first) = bounds.first() {
        out.push_str(if first.starts_with("at ") {
            " of "
        } else {
            " "
        });
        out.push_str(&bounds.join(" and "));
    }
    if nullable {
        out.push_str(", or null");
    }
    out
}

pub(crate) fn plain(values: &[Value]) -> Vec<String> {
    values
        .iter()
        .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
        .collect()
}

/// The first example of a schema, as YAML on one line.
pub(crate) fn example(schema: &Value) -> Option<String> {
    let first = schema.get("examples")?.as_array()?.first()?;
    Some(flow(first))
}

/// A value as YAML on one line, with quotes only where they are needed.
fn flow(value: &Value) -> String {
    match value {
        Value::String(s)
            if s.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b)) =>
        {
            s.clone()
        }
        Value::Object(map) => {
            let inner: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("{}: {}", flow(&Value::from(k.as_str())), flow(v)))
                .collect();
            format!("{{{}}}", inner.join(", "))
        }
        Value::Array(items) => {
            let inner: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", inner.join(", "))
        }
        other => other.to_string(),
    }
}
