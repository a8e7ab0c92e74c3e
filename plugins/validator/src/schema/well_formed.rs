//! Whether a schema is one.

use serde_json::Value;

use super::{allows, resolve, DEPTH};

const TYPES: [&str; 7] = [
    "null", "boolean", "number", "integer", "string", "array", "object",
];

/// What is wrong with the schema of a configuration, each in one sentence; empty when sound.
pub fn problems(root: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if root.get("type") != Some(&Value::from("object")) {
        found.push(
            "a configuration is an object, but the schema does not say `\"type\": \"object\"`"
                .into(),
        );
    }
    look(root, root, "the schema", DEPTH, &mut found);
    found
}

fn look(root: &Value, schema: &Value, at: &str, depth: usize, found: &mut Vec<String>) {
    let Some(depth) = depth.checked_sub(1) else {
        return found.push(format!("{at} is nested too deeply"));
    };
    let keywords = match schema {
        Value::Bool(_) => return,
        Value::Object(keywords) => keywords,
        other => {
            return found.push(format!(
                "{at} is {other}; a schema is an object, true or false"
            ))
        }
    };
    for (keyword, said) in keywords {
        let mut wrong = |expected: &str| {
            found.push(format!("{at}: `{keyword}` is {said}; it is {expected}"));
        };
        match keyword.as_str() {
            "type" => {
                let known = |name: &Value| name.as_str().is_some_and(|n| TYPES.contains(&n));
                let fine = match said {
                    Value::Array(names) => !names.is_empty() && names.iter().all(known),
                    name => known(name),
                };
                if !fine {
                    wrong(&format!("one of {}, or a list of them", TYPES.join(", ")));
                }
            }
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum"
                if !said.is_number() =>
            {
                wrong("a number");
            }
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties"
            | "maxProperties"
                if said.as_u64().is_none() =>
            {
                wrong("a whole number from 0 on");
            }
            "title" | "description" | "$schema" | "format" | "pattern" if !said.is_string() => {
                wrong("text");
            }
            "uniqueItems" if !said.is_boolean() => {
                wrong("true or false");
            }
            "enum" | "examples" if said.as_array().is_none_or(Vec::is_empty) => {
                wrong("a list that is not empty");
            }
            "required" => required(schema, said, at, found),
            "properties" | "$defs" | "definitions" => match said.as_object() {
                None => wrong("an object of schemas"),
                Some(named) => {
                    for (name, one) in named {
                        look(root, one, &format!("{at}, `{name}`"), depth, found);
                    }
                }
            },
            "items" | "additionalProperties" => {
                look(root, said, &format!("{at}, {keyword}"), depth, found);
            }
            "oneOf" | "anyOf" | "allOf" => match said.as_array() {
                Some(list) if !list.is_empty() => {
                    for (i, one) in list.iter().enumerate() {
                        look(
                            root,
                            one,
                            &format!("{at}, {keyword} {}", i + 1),
                            depth,
                            found,
                        );
                    }
                }
                _ => wrong("a list of schemas that is not empty"),
            },
            "$ref" if resolve(root, schema).is_none() => {
                wrong("a reference into this schema, such as `#/$defs/Name`");
            }
            "default" if allows(root, schema, said) == Some(false) => {
                found.push(format!("{at} does not allow its own default, {said}"));
            }
            _ => {}
        }
    }
}

fn required(schema: &Value, said: &Value, at: &str, found: &mut Vec<String>) {
    let names: Option<Vec<&str>> = said
        .as_array()
        .and_then(|list| list.iter().map(Value::as_str).collect());
    let Some(names) = names else {
        return found.push(format!("{at}: `required` is {said}; it is a list of keys"));
    };
    for name in names {
        if schema.get("properties").and_then(|p| p.get(name)).is_none() {
            found.push(format!(
                "{at} requires `{name}`, which is not among its properties"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_sound_schema_has_no_problems() {
        let sound = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object", "additionalProperties": false, "required": ["a"],
            "properties": {
                "a": {"$ref": "#/$defs/A"},
                "b": {"type": ["number", "null"], "default": null},
            },
            "$defs": {"A": {"enum": [1, "x"]}},
        });
        assert_eq!(problems(&sound), Vec::<String>::new());
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let broken = json!({
            "properties": {
                "a": {"type": "float"},
                "b": {"minimum": "1", "default": 3},
                "c": {"type": "string", "default": 3},
                "d": {"$ref": "#/$defs/D"},
                "e": 7,
                "f": {"oneOf": []},
            },
            "required": ["g"],
        });
        let found = problems(&broken).join("\n");
        for part in [
            "`\"type\": \"object\"`",
            "`a`: `type` is \"float\"",
            "`b`: `minimum` is \"1\"; it is a number",
            "`c` does not allow its own default, 3",
            "`d`: `$ref` is",
            "`e` is 7; a schema is",
            "`f`: `oneOf` is []",
            "requires `g`",
        ] {
            assert!(found.contains(part), "{part}\n{found}");
        }
    }
}
