//! Where a corpus comes from: a card, or files named in the recipe.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::card::Card;
use crate::corpus::make_ids_unique;
use crate::readers::{read_file, Fields, Sink};
use crate::{sample, Corpus, DataError, Format, OnError, ReadReport, Result};

/// A corpus as a recipe names it: `datasets/sample.yaml`, or `{path: "corpus/*.jsonl", text: text}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Source {
    /// A dataset card (`.yaml`, `.yml`), or one data file whose text field is called `text`.
    Path(PathBuf),
    /// Files, described on the spot.
    Files(FileSource),
}

/// Files with one text a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// A path or glob, relative to the recipe or card.
    pub path: String,
    /// The format; by extension if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The field with the text. Plain text has no fields.
    #[serde(default = "text_field")]
    pub text: String,
    /// The field with the document's id; without one, ids are `file:line`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What to do with bad records.
    #[serde(default)]
    pub on_error: OnError,
}

pub(crate) fn text_field() -> String {
    "text".to_owned()
}

impl FileSource {
    /// All files that `path` means, with default options.
    pub fn new(path: impl Into<String>) -> Self {
        FileSource {
            path: path.into(),
            format: None,
            text: text_field(),
            id: None,
            on_error: OnError::default(),
        }
    }
}

/// Either kind of source, found out.
enum Resolved {
    Files(FileSource),
    Card(Box<Card>, PathBuf),
}

fn resolve(source: &Source, base: &Path) -> Result<Resolved> {
    match source {
        Source::Files(files) => Ok(Resolved::Files(files.clone())),
        Source::Path(path) => {
            let is_card = path
                .extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("yaml") || e.eq_ignore_ascii_case("yml"));
            if is_card {
                let path = base.join(path);
                Ok(Resolved::Card(Box::new(Card::load(&path)?), path))
            } else {
                Ok(Resolved::Files(FileSource::new(path.to_string_lossy())))
            }
        }
    }
}

/// Looks whether `source` can be read, without reading it: the card is well formed, every path
/// matches a file, every format is known, a generator's options are in range. `base` is the folder
/// against which paths are taken: that of the recipe, or the working folder.
///
/// # Errors
///
/// As [`read`], except for what only the content of the files shows.
pub fn check(source: &Source, base: &Path) -> Result<()> {
    match resolve(source, base)? {
        Resolved::Files(files) => formats(&files, base, None).map(|_| ()),
        Resolved::Card(card, path) => match (&card.generator, card.files()) {
            (Some(generator), _) => generator.validate(),
            (None, Some(files)) => {
                formats(&files, folder(&path), card.download.as_deref()).map(|_| ())
            }
            (None, None) => Ok(()), // refused by `Card::load`
        },
    }
}

/// Reads a whole corpus into memory. `base` as in [`check`].
///
/// # Errors
///
/// A card that is malformed or whose checksum does not hold, files that are missing, of unknown
/// format or unreadable, a bad record under `on_error: refuse`, or no document at all.
pub fn read(source: &Source, base: &Path) -> Result<Corpus> {
    match resolve(source, base)? {
        Resolved::Files(files) => {
            let (documents, report) = read_files(&files, base, None, None)?;
            Ok(Corpus {
                name: files.path,
                licence: None,
                documents,
                report,
                entropy_nats_per_word: None,
            })
        }
        Resolved::Card(card, path) => read_card(*card, &path),
    }
}

fn read_card(card: Card, path: &Path) -> Result<Corpus> {
    if let Some(options) = &card.generator {
        let sample = sample::generate(options)?;
        return Ok(Corpus {
            name: card.name,
            licence: Some(card.licence),
            report: ReadReport {
                records: sample.documents.len(),
                ..ReadReport::default()
            },
            documents: sample.documents,
            entropy_nats_per_word: Some(sample.entropy_nats_per_word),
        });
    }
    let files = card.files().ok_or_else(|| DataError::Card {
        path: path.to_owned(),
        message: "neither `source` nor `generator`".to_owned(),
    })?;
    let checksum = card.checksum.as_deref().map(|expected| (path, expected));
    let (documents, report) = read_files(&files, folder(path), card.download.as_deref(), checksum)?;
    Ok(Corpus {
        name: card.name,
        licence: Some(card.licence),
        documents,
        report,
        entropy_nats_per_word: None,
    })
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// The files that `source` means, sorted by path, each with its format.
fn formats(source: &FileSource, base: &Path, how: Option<&str>) -> Result<Vec<(PathBuf, Format)>> {
    matching(&source.path, base, how)?
        .into_iter()
        .map(|path| {
            let format = source.format.map_or_else(|| Format::of(&path), Ok)?;
            Ok((path, format))
        })
        .collect()
}

fn matching(pattern: &str, base: &Path, how: Option<&str>) -> Result<Vec<PathBuf>> {
    // A file that has glob characters in its very name is meant literally.
    let literal = base.join(pattern);
    if literal.is_file() {
        return Ok(vec![literal]);
    }
    // The folder is taken as it is; only the pattern has wildcards.
    let full = if Path::new(pattern).is_absolute() {
        pattern.to_owned()
    } else {
        let folder = glob::Pattern::escape(&base.to_string_lossy());
        Path::new(&folder)
            .join(pattern)
            .to_string_lossy()
            .into_owned()
    };
    let paths = glob::glob(&full).map_err(|e| DataError::Pattern {
        pattern: pattern.to_owned(),
        message: e.to_string(),
    })?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|e| {
            let path = e.path().to_owned();
            DataError::io(path, "list it")(e.into())
        })?;
        if path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(DataError::NoFiles {
            pattern: literal.to_string_lossy().into_owned(),
            how: how.map(str::to_owned),
        });
    }
    files.sort();
    Ok(files)
}

fn read_files(
    source: &FileSource,
    base: &Path,
    how: Option<&str>,
    checksum: Option<(&Path, &str)>,
) -> Result<(Vec<crate::Document>, ReadReport)> {
    let files = formats(source, base, how)?;
    if let Some((card, expected)) = checksum {
        verify(card, expected, files.iter().map(|(path, _)| path.as_path()))?;
    }
    let mut sink = Sink::new(source.on_error);
    let fields = Fields {
        text: &source.text,
        id: source.id.as_deref(),
    };
    for (path, format) in &files {
        read_file(path, base, *format, fields, &mut sink)?;
    }
    let (mut documents, mut report) = (sink.documents, sink.report);
    if documents.is_empty() {
        return Err(DataError::EmptyCorpus {
            origin: source.path.clone(),
            detail: report.to_string(),
        });
    }
    report.duplicate_ids = make_ids_unique(&mut documents);
    Ok((documents, report))
}

/// SHA-256 of the files' bytes one after another in the order of their paths: what
/// `cat FILES | sha256sum` prints.
fn verify<'a>(card: &Path, expected: &str, files: impl Iterator<Item = &'a Path>) -> Result<()> {
    let mut hash = Sha256::new();
    let mut count = 0;
    for path in files {
        let mut file = std::fs::File::open(path).map_err(DataError::io(path, "open it"))?;
        std::io::copy(&mut file, &mut hash).map_err(DataError::io(path, "read it"))?;
        count += 1;
    }
    let found: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    if found != expected {
        return Err(DataError::Checksum {
            card: card.display().to_string(),
            files: count,
            expected: expected.to_owned(),
            found,
        });
    }
    Ok(())
}
