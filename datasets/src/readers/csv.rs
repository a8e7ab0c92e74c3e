//! CSV and TSV with a header line, quoted as RFC 4180.

use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};

use super::{Fields, Sink};
use crate::{DataError, Result};

/// Reads `path`; a record's line is the one where it begins.
pub(super) fn read(path: &Path, delimiter: u8, fields: Fields<'_>, sink: &mut Sink) -> Result<()> {
    let failed = |e: csv::Error| match e.into_kind() {
        csv::ErrorKind::Io(cause) => DataError::io(path, "read it")(cause),
        other => DataError::Table {
            path: path.to_owned(),
            format: "CSV",
            message: format!("{other:?}"),
        },
    };
    // Flexible: a row of another length is a bad record with a line, not the end of the file.
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .from_path(path)
        .map_err(failed)?;
    let header: Vec<String> = reader
        .byte_headers()
        .map_err(failed)?
        .iter()
        .map(|name| {
            String::from_utf8_lossy(name)
                .trim_start_matches('\u{feff}')
                .trim()
                .to_owned()
        })
        .collect();
    let column = |field: &str| {
        header
            .iter()
            .position(|name| name == field)
            .ok_or_else(|| DataError::NoColumn {
                path: path.to_owned(),
                field: field.to_owned(),
                found: header.join(", "),
            })
    };
    let text = column(fields.text)?;
    let id = fields.id.map(column).transpose()?;
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(failed)? {
        let line = record.position().map(csv::Position::line);
        if record.len() != header.len() {
            sink.bad(
                line,
                format!("{} field(s), the header has {}", record.len(), header.len()),
            )?;
            continue;
        }
        let cell = |index: usize| {
            std::str::from_utf8(&record[index])
                .map(str::to_owned)
                .map_err(|e| {
                    format!(
                        "invalid UTF-8 at byte {} of column `{}`",
                        e.valid_up_to() + 1,
                        header[index]
                    )
                })
        };
        match (cell(text), id.map(cell).transpose()) {
            (Ok(text), Ok(id)) => sink.good(line, id, text)?,
            (Err(reason), _) | (_, Err(reason)) => sink.bad(line, reason)?,
        }
    }
    Ok(())
}
