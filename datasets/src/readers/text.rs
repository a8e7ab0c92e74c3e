//! Plain text: a document a file, or documents between blank lines.

use std::path::Path;

use super::{invalid_utf8, Sink};
use crate::{DataError, Result};

fn bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = std::fs::read(path).map_err(DataError::io(path, "read it"))?;
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    Ok(bytes)
}

/// The whole file is one document, its id the file's name.
pub(super) fn read(path: &Path, sink: &mut Sink) -> Result<()> {
    match String::from_utf8(bytes(path)?) {
        Ok(text) => sink.good(None, None, text),
        Err(e) => {
            let at = e.utf8_error().valid_up_to();
            let before = &e.as_bytes()[..at];
            let line = 1 + before.iter().filter(|b| **b == b'\n').count() as u64;
            let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
            sink.bad(
                Some(line),
                format!("invalid UTF-8 at byte {column} of the line"),
            )
        }
    }
}

/// Documents between blank lines; a document's line is its first.
pub(super) fn read_blocks(path: &Path, sink: &mut Sink) -> Result<()> {
    let bytes = bytes(path)?;
    let mut block: Vec<&[u8]> = Vec::new();
    let mut first = 1;
    // One blank line more at the end closes the last block.
    for (number, line) in bytes.split(|b| *b == b'\n').chain([&b""[..]]).enumerate() {
        if !line.iter().all(u8::is_ascii_whitespace) {
            if block.is_empty() {
                first = number as u64 + 1;
            }
            block.push(line);
            continue;
        }
        if block.is_empty() {
            continue;
        }
        let text: Result<Vec<&str>, (u64, String)> = block
            .iter()
            .zip(first..)
            .map(|(line, number)| {
                std::str::from_utf8(line)
                    .map(str::trim_end)
                    .map_err(|e| (number, format!("{} of the line", invalid_utf8(&e))))
            })
            .collect();
        match text {
            Ok(lines) => sink.good(Some(first), None, lines.join("\n"))?,
            Err((line, reason)) => sink.bad(Some(line), reason)?,
        }
        block.clear();
    }
    Ok(())
}
