//! Lists in the place of objects.
//!
//! Serde takes a list for the fields of a struct in order, and an empty one for all defaults; a configuration
//! whose schema says "object" means an object.

use schemars::JsonSchema;
use serde_json::Value;

use crate::{Error, Result};

/// Refuses lists where the configuration's schema allows objects alone.
///
/// # Errors
/// [`Error::Config`] with the key.
pub(super) fn refuse_lists<C: JsonSchema>(config: &Value) -> Result<()> {
    let nested = |v: &Value| v.is_array() || v.is_object();
    // Most configurations are flat, and need no schema to be looked at.
    if !config
        .as_object()
        .into_iter()
        .flatten()
        .any(|(_, v)| nested(v))
    {
        return Ok(());
    }
    let schema = schemars::SchemaGenerator::default().into_root_schema_for::<C>();
    look(schema.as_value(), schema.as_value(), config, "")
}

/// The schema behind a reference; a reference that leads nowhere says nothing.
fn resolved<'s>(root: &'s Value, schema: &'s Value) -> Option<&'s Value> {
    match schema.get("$ref").and_then(Value::as_str) {
        None => Some(schema),
        Some(reference) => root.pointer(reference.strip_prefix('#')?),
    }
}

fn look(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<()> {
    let Some(schema) = resolved(root, schema) else {
        return Ok(());
    };
    match value {
        Value::Array(items) if only_objects(root, schema) => Err(Error::Config(format!(
            "`{at}` is an object, not a list of {} items",
            items.len()
        ))),
        Value::Array(items) => match schema.get("items") {
            None => Ok(()),
            Some(schema) => items
                .iter()
                .try_for_each(|item| look(root, schema, item, at)),
        },
        Value::Object(fields) => fields.iter().try_for_each(|(key, field)| {
            let at = if at.is_empty() {
                key.clone()
            } else {
                format!("{at}.{key}")
            };
            match schema.get("properties").and_then(|p| p.get(key)) {
                None => Ok(()),
                Some(schema) => look(root, schema, field, &at),
            }
        }),
        _ => Ok(()),
    }
}

/// Whether a schema allows objects, or null, and nothing else.
fn only_objects(root: &Value, schema: &Value) -> bool {
    let fine = |name: &Value| name == "object" || name == "null";
    match (schema.get("type"), schema.get("anyOf")) {
        (Some(Value::Array(names)), _) => names.iter().all(fine),
        (Some(name), _) => fine(name),
        (None, Some(Value::Array(choices))) => choices.iter().all(|one| {
            // One step of reference, as schemars writes optional structs.
            resolved(root, one)
                .and_then(|one| one.get("type"))
                .is_some_and(fine)
        }),
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(JsonSchema)]
    #[allow(dead_code)] // Only its schema is looked at.
    struct Inner {
        rate: f64,
        numbers: Vec<f64>,
    }

    #[derive(JsonSchema)]
    #[allow(dead_code)] // Only its schema is looked at.
    struct Outer {
        one: Inner,
        perhaps: Option<Inner>,
        many: Vec<Inner>,
        pair: [f64; 2],
    }

    #[test]
    fn a_list_for_an_object_is_refused_by_its_key_and_other_lists_are_not() {
        for (config, key) in [
            (json!({"one": []}), "`one`"),
            (json!({"one": [1.0, []]}), "`one`"),
            (json!({"perhaps": []}), "`perhaps`"),
            (json!({"many": [[]]}), "`many`"),
        ] {
            let error = refuse_lists::<Outer>(&config).unwrap_err().to_string();
            assert!(error.starts_with(key), "{config}: {error}");
        }
        for config in [
            json!({"one": {"rate": 1, "numbers": [1, 2]}, "pair": [1, 2]}),
            json!({"perhaps": null, "many": []}),
            json!({"many": [{"rate": 1}], "other": [[]]}),
        ] {
            refuse_lists::<Outer>(&config).unwrap();
        }
    }
}
