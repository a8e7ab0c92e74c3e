//! `metrics.jsonl`: one object a line, turned into a polars frame.
//!
//! Owns how lines become columns. A run that was killed may leave half a line, and a disk may leave worse; such lines
//! are counted and left out. Which columns there are depends on the objectives, so none is required by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polars::prelude::*;
use serde_json::{Map, Value};

use crate::files::{io_error, write_atomically};
use crate::ReportError;

/// The lines of one trial.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// One row a line: `step` and `tokens` as i64, numbers as f64, the rest as text, in the order step, split, tokens,
    /// then by name. Only columns that occur.
    pub frame: DataFrame,
    /// Lines that are no JSON object.
    pub corrupt_lines: usize,
    /// The last step of any line.
    pub last_step: Option<i64>,
}

/// Reads the lines of a trial.
///
/// # Errors
/// When the file cannot be read.
pub fn read(path: &Path) -> Result<Metrics, ReportError> {
    let bytes = std::fs::read(path).map_err(io_error("read", path))?;
    parse(&bytes)
}

/// Turns the bytes of `metrics.jsonl` into rows.
fn parse(bytes: &[u8]) -> Result<Metrics, ReportError> {
    let mut rows: Vec<Map<String, Value>> = Vec::new();
    let mut corrupt_lines = 0;
    for line in bytes.split(|&byte| byte == b'\n') {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(Value::Object(row)) => rows.push(row),
            Ok(_) | Err(_) => corrupt_lines += 1,
        }
    }
    let last_step = rows
        .iter()
        .filter_map(|row| row.get("step")?.as_i64())
        .max();
    Ok(Metrics {
        frame: frame(&rows)?,
        corrupt_lines,
        last_step,
    })
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Only nulls so far.
    Unknown,
    Number,
    Text,
}

fn frame(rows: &[Map<String, Value>]) -> PolarsResult<DataFrame> {
    let mut kinds: BTreeMap<&str, Kind> = BTreeMap::new();
    for (name, value) in rows.iter().flatten() {
        let kind = match value {
            Value::Null => Kind::Unknown,
            Value::Number(_) => Kind::Number,
            _ => Kind::Text,
        };
        let known = kinds.entry(name).or_insert(kind);
        *known = (*known).max(kind);
    }
    let mut names: Vec<&str> = kinds.keys().copied().collect();
    let leading = ["step", "split", "tokens"];
    names.sort_by_key(|name| {
        leading
            .iter()
            .position(|l| l == name)
            .unwrap_or(leading.len())
    });
    let columns = names.iter().map(|&name| {
        let cells = rows.iter().map(|row| row.get(name));
        match (name, kinds[name]) {
            ("step" | "tokens", Kind::Number | Kind::Unknown) => {
                let values: Vec<Option<i64>> = cells.map(|v| v.and_then(whole)).collect();
                Column::new(name.into(), values)
            }
            ("split", _) | (_, Kind::Text) => {
                let values: Vec<Option<String>> = cells.map(|v| v.and_then(text)).collect();
                Column::new(name.into(), values)
            }
            _ => {
                let values: Vec<Option<f64>> = cells.map(|v| v.and_then(Value::as_f64)).collect();
                Column::new(name.into(), values)
            }
        }
    });
    DataFrame::new(rows.len(), columns.collect())
}

/// A count; writers that keep everything as real numbers are understood too.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().map(|v| v as i64))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Writes `metrics.parquet` beside `metrics.jsonl` in a trial's folder and returns its path.
///
/// The file is complete or not there: it is written under another name and renamed.
///
/// # Errors
/// When `metrics.jsonl` is missing, or a file cannot be read or written.
pub fn write_metrics_parquet(trial_dir: &Path) -> Result<PathBuf, ReportError> {
    let lines = trial_dir.join("metrics.jsonl");
    if !lines.is_file() {
        return Err(ReportError::MissingRecord { path: lines });
    }
    let mut frame = read(&lines)?.frame;
    let path = trial_dir.join("metrics.parquet");
    write_atomically(&path, &parquet_bytes(&mut frame)?)?;
    Ok(path)
}

/// A frame as a Parquet file. One row group and no time of writing, so equal frames give equal bytes.
pub(crate) fn parquet_bytes(frame: &mut DataFrame) -> Result<Vec<u8>, ReportError> {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes)
        .with_compression(ParquetCompression::Snappy)
        .finish(frame)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = concat!(
        "{\"step\":1,\"tokens\":10,\"loss\":2.5,\"mlm_loss\":2.5}\n",
        "\n",
        "{\"step\":2,\"tokens\":20,\"loss\":null,\"mlm_loss\":2.0}\n",
        "[1, 2]\n",
        "{\"step\":2,\"tokens\":20,\"loss\":1.5,\"split\":\"validation\"}\n",
        "{\"step\":3,\"tok",
    );

    #[test]
    fn half_lines_are_counted_and_left_out() {
        let metrics = parse(LINES.as_bytes()).unwrap();
        assert_eq!(metrics.corrupt_lines, 2);
        assert_eq!(metrics.last_step, Some(2));
        assert_eq!(metrics.frame.shape(), (3, 5));
        let loss: Vec<Option<f64>> = metrics
            .frame
            .column("loss")
            .unwrap()
            .f64()
            .unwrap()
            .iter()
            .collect();
        assert_eq!(loss, [Some(2.5), None, Some(1.5)]);
        let step: Vec<Option<i64>> = metrics
            .frame
            .column("step")
            .unwrap()
            .i64()
            .unwrap()
            .iter()
            .collect();
        assert_eq!(step, [Some(1), Some(2), Some(2)]);
    }

    #[test]
    fn bytes_that_are_no_text_are_a_corrupt_line() {
        let metrics = parse(b"\xff\xfe\n{\"step\":1}\n").unwrap();
        assert_eq!((metrics.corrupt_lines, metrics.last_step), (1, Some(1)));
    }

    #[test]
    fn an_empty_file_is_an_empty_frame() {
        let metrics = parse(b"").unwrap();
        assert_eq!((metrics.frame.height(), metrics.last_step), (0, None));
    }

    #[test]
    fn parquet_holds_what_the_lines_held() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("metrics.jsonl"), LINES).unwrap();
        let path = write_metrics_parquet(folder.path()).unwrap();
        let first = std::fs::read(&path).unwrap();
        let read = ParquetReader::new(std::fs::File::open(&path).unwrap())
            .finish()
            .unwrap();
        assert!(read.equals_missing(&parse(LINES.as_bytes()).unwrap().frame));
        assert_eq!(
            std::fs::read(write_metrics_parquet(folder.path()).unwrap()).unwrap(),
            first
        );
    }

    #[test]
    fn parquet_of_no_lines_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_metrics_parquet(folder.path()).unwrap_err();
        assert!(
            matches!(error, ReportError::MissingRecord { .. }),
            "{error}"
        );
    }
}
