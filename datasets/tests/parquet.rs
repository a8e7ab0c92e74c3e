//! Parquet files, written here with polars and read through the public door.

use std::fs::{self, File};
use std::path::Path;

use ablate_datasets::{read, DataError, Source};
use polars::prelude::{Column, DataFrame, ParquetWriter};

fn write(path: &Path, columns: Vec<Column>) {
    let mut frame = DataFrame::new_infer_height(columns).unwrap();
    ParquetWriter::new(File::create(path).unwrap())
        .finish(&mut frame)
        .unwrap();
}

fn source(text: &str, id: Option<&str>) -> Source {
    serde_json::from_value(match id {
        Some(id) => serde_json::json!({"path": "x.parquet", "text": text, "id": id}),
        None => serde_json::json!({"path": "x.parquet", "text": text}),
    })
    .unwrap()
}

#[test]
fn rows_become_documents_and_nulls_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    write(
        &dir.path().join("x.parquet"),
        vec![
            Column::new("n".into(), [1i64, 2, 3]),
            Column::new("body".into(), [Some("one"), None, Some("three")]),
        ],
    );
    let corpus = read(&source("body", Some("n")), dir.path()).unwrap();
    let ids: Vec<&str> = corpus.documents.iter().map(|d| d.id.as_str()).collect();
    assert_eq!(ids, ["1", "3"]);
    assert_eq!(corpus.documents[1].text, "three");
    assert_eq!(corpus.report.skipped[0].line, Some(2));
    let corpus = read(&source("body", None), dir.path()).unwrap();
    assert_eq!(corpus.documents[1].id, "x.parquet:3");

    let e = read(&source("text", None), dir.path()).unwrap_err();
    assert!(
        e.to_string()
            .contains("no column `text`; the columns are n, body"),
        "{e}"
    );
    let e = read(&source("n", None), dir.path()).unwrap_err();
    assert!(
        e.to_string().contains("has type i64, expected strings"),
        "{e}"
    );
}

#[test]
fn a_file_that_is_no_parquet_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x.parquet"), "PAR1 not really").unwrap();
    let e = read(&source("text", None), dir.path()).unwrap_err();
    assert!(
        matches!(
            e,
            DataError::Table {
                format: "Parquet",
                ..
            }
        ),
        "{e}"
    );
}
