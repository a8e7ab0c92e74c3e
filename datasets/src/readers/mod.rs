//! Readers: one file in, records out, bad ones with their place and reason.
//!
//! A reader hands every record to a [`Sink`], which alone decides what becomes of a bad one. So no
//! format can drop anything in silence.

mod csv;
mod json_lines;
mod json_tree;
mod parquet;
mod text;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DataError, Document, ReadReport, Result, SkippedRecord};

/// How records lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a line (`.jsonl`, `.ndjson`).
    JsonLines,
    /// Comma-separated values with a header line (`.csv`).
    Csv,
    /// Tab-separated values with a header line (`.tsv`).
    Tsv,
    /// Apache Parquet (`.parquet`).
    Parquet,
    /// Plain text, one document a file (`.txt`, `.text`, `.md`).
    Text,
    /// Plain text, documents separated by blank lines.
    TextBlocks,
    /// One JSON object a file, `{section: {entry: {"text": ...}}}` at any depth below the sections;
    /// one document per section.
    JsonTree,
}

impl Format {
    /// Every format with the extensions that mean it.
    pub const ALL: [(Format, &'static str, &'static [&'static str]); 7] = [
        (Format::JsonLines, "json_lines", &["jsonl", "ndjson"]),
        (Format::Csv, "csv", &["csv"]),
        (Format::Tsv, "tsv", &["tsv"]),
        (Format::Parquet, "parquet", &["parquet"]),
        (Format::Text, "text", &["txt", "text", "md"]),
        (Format::TextBlocks, "text_blocks", &[]),
        (Format::JsonTree, "json_tree", &[]),
    ];

    /// The format that the extension of `path` means.
    ///
    /// # Errors
    ///
    /// None does: the error lists all.
    pub fn of(path: &Path) -> Result<Format> {
        let extension = path
            .extension()
            .map(|e| e.to_string_lossy().to_lowercase())
            .unwrap_or_default();
        Self::ALL
            .iter()
            .find(|(_, _, known)| known.contains(&extension.as_str()))
            .map(|(format, _, _)| *format)
            .ok_or_else(|| DataError::UnknownFormat {
                path: path.to_owned(),
                extension,
                known: Self::ALL
                    .iter()
                    .map(|(_, name, extensions)| match extensions {
                        [] => (*name).to_owned(),
                        _ => format!("{name} (.{})", extensions.join(", .")),
                    })
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }
}

/// What to do with a record that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// Leave it out, and say so in the report.
    #[default]
    Skip,
    /// Stop with an error.
    Refuse,
}

/// The fields of a record that make a document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    pub text: &'a str,
    pub id: Option<&'a str>,
}

/// Collects documents and bad records.
pub(crate) struct Sink {
    pub documents: Vec<Document>,
    pub report: ReadReport,
    on_error: OnError,
    path: PathBuf,
    /// The file's name within the source, for ids that no field gives.
    name: String,
}

impl Sink {
    pub fn new(on_error: OnError) -> Self {
        Sink {
            documents: Vec::new(),
            report: ReadReport::default(),
            on_error,
            path: PathBuf::new(),
            name: String::new(),
        }
    }

    /// A usable record; `id` is `None` where no field gives one.
    fn good(&mut self, line: Option<u64>, id: Option<String>, text: String) -> Result<()> {
        if text.trim().is_empty() {
            return self.bad(line, "the text is empty");
        }
        self.report.records += 1;
        let id = id.unwrap_or_else(|| match line {
            Some(line) => format!("{}:{line}", self.name),
            None => self.name.clone(),
        });
        self.documents.push(Document { id, text });
        Ok(())
    }

    /// A record that cannot be used.
    fn bad(&mut self, line: Option<u64>, reason: impl Into<String>) -> Result<()> {
        if self.on_error == OnError::Refuse {
            return Err(DataError::BadRecord {
                record: self.record(line, reason),
            });
        }
        self.without_text(line, reason);
        Ok(())
    }

    /// A sound record that has no text for a corpus: reported, never refused.
    fn without_text(&mut self, line: Option<u64>, reason: impl Into<String>) {
        let record = self.record(line, reason);
        self.report.records += 1;
        self.report.skipped.push(record);
    }

    fn record(&self, line: Option<u64>, reason: impl Into<String>) -> SkippedRecord {
        SkippedRecord {
            path: self.path.clone(),
            line,
            reason: reason.into(),
        }
    }
}

/// Reads one file into `sink`. `root` is the folder against which ids are formed.
pub(crate) fn read_file(
    path: &Path,
    root: &Path,
    format: Format,
    fields: Fields<'_>,
    sink: &mut Sink,
) -> Result<()> {
    sink.path = path.to_owned();
    sink.name = path
        .strip_prefix(root)
        .unwrap_or(path)
        .to_string_lossy()
        .into_owned();
    sink.report.files.push(path.to_owned());
    match format {
        Format::JsonLines => json_lines::read(path, fields, sink),
        Format::Csv => csv::read(path, b',', fields, sink),
        Format::Tsv => csv::read(path, b'\t', fields, sink),
        Format::Parquet => parquet::read(path, fields, sink),
        Format::Text => text::read(path, sink),
        Format::TextBlocks => text::read_blocks(path, sink),
        Format::JsonTree => json_tree::read(path, sink),
    }
}

/// "invalid UTF-8 at byte 17 of the line".
fn invalid_utf8(e: &std::str::Utf8Error) -> String {
    format!("invalid UTF-8 at byte {}", e.valid_up_to() + 1)
}
