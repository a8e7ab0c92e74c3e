//! JSON Lines: one object a line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value};

use super::{invalid_utf8, Fields, Sink};
use crate::{DataError, Result};

/// Reads `path` line by line; blank lines are no records.
pub(super) fn read(path: &Path, fields: Fields<'_>, sink: &mut Sink) -> Result<()> {
    let file = File::open(path).map_err(DataError::io(path, "open it"))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let n = reader
            .read_until(b'\n', &mut line)
            .map_err(DataError::io(path, "read it"))?;
        if n == 0 {
            break;
        }
        if number == 1 && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match parse(&line, fields) {
            Ok((id, text)) => sink.good(Some(number), id, text)?,
            Err(reason) => sink.bad(Some(number), reason)?,
        }
    }
    Ok(())
}

fn parse(line: &[u8], fields: Fields<'_>) -> Result<(Option<String>, String), String> {
    let line = std::str::from_utf8(line).map_err(|e| invalid_utf8(&e))?;
    let value: Value = serde_json::from_str(line).map_err(|e| {
        // serde_json counts lines within the one line that it sees; only the column says something.
        let message = e.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        format!("not JSON: {message} at column {}", e.column())
    })?;
    let Value::Object(mut object) = value else {
        return Err(format!("expected a JSON object, found {}", kind(&value)));
    };
    let id = match fields.id {
        None => None,
        Some(field) => match object.get(field) {
            Some(Value::String(s)) => Some(s.clone()),
            Some(Value::Number(n)) => Some(n.to_string()),
            Some(other) => {
                return Err(format!(
                    "id field `{field}` is {}, expected a string or a number",
                    kind(other)
                ))
            }
            None => return Err(missing("id", field, &object)),
        },
    };
    match object.remove(fields.text) {
        Some(Value::String(text)) => Ok((id, text)),
        Some(other) => Err(format!(
            "text field `{}` is {}, expected a string",
            fields.text,
            kind(&other)
        )),
        None => Err(missing("text", fields.text, &object)),
    }
}

fn missing(what: &str, field: &str, object: &Map<String, Value>) -> String {
    let keys: Vec<&str> = object.keys().map(String::as_str).collect();
    format!(
        "no {what} field `{field}`; the keys are {}",
        keys.join(", ")
    )
}

/// What a JSON value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
