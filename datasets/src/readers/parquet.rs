//! Parquet, by polars: the only place of this crate where polars is named.

use std::fs::File;
use std::path::Path;

use polars::prelude::{Column, DataType, ParquetReader, PolarsError, SerReader};

use super::{Fields, Sink};
use crate::{DataError, Result};

/// Reads the text and id columns of `path`; a record's line is its row, from 1.
pub(super) fn read(path: &Path, fields: Fields<'_>, sink: &mut Sink) -> Result<()> {
    let table = |message: String| DataError::Table {
        path: path.to_owned(),
        format: "Parquet",
        message,
    };
    let failed = |e: PolarsError| table(e.to_string());
    let file = File::open(path).map_err(DataError::io(path, "open it"))?;
    let mut reader = ParquetReader::new(file);
    let schema = reader.schema().map_err(failed)?;
    let mut columns = vec![fields.text.to_owned()];
    columns.extend(fields.id.filter(|id| *id != fields.text).map(str::to_owned));
    for column in &columns {
        if !schema.contains(column) {
            let names: Vec<&str> = schema.iter_names().map(|n| n.as_str()).collect();
            return Err(DataError::NoColumn {
                path: path.to_owned(),
                field: column.clone(),
                found: names.join(", "),
            });
        }
    }
    let frame = reader
        .with_columns(Some(columns))
        .finish()
        .map_err(failed)?;
    let text = frame.column(fields.text).map_err(failed)?;
    if text.dtype() != &DataType::String {
        return Err(table(format!(
            "text column `{}` has type {}, expected strings",
            fields.text,
            text.dtype()
        )));
    }
    let text = text.str().map_err(failed)?;
    // Numbers serve as ids, too.
    let as_strings = |c: &Column| c.cast(&DataType::String);
    let id = fields
        .id
        .map(|name| frame.column(name).and_then(as_strings))
        .transpose()
        .map_err(failed)?;
    let id = id.as_ref().map(Column::str).transpose().map_err(failed)?;
    for row in 0..frame.height() {
        let line = Some(row as u64 + 1);
        let named = id.map(|ids| ids.get(row).map(str::to_owned));
        match (text.get(row), named) {
            (None, _) => sink.bad(line, format!("text column `{}` is null", fields.text))?,
            (_, Some(None)) => sink.bad(line, "the id is null")?,
            (Some(text), id) => sink.good(line, id.flatten(), text.to_owned())?,
        }
    }
    Ok(())
}
