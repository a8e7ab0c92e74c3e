//! Documents, and the report of what was read and what was left out.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

/// A text with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Unique within its corpus.
    pub id: String,
    /// Never empty, never only white space.
    pub text: String,
}

/// All documents of a source, in a fixed order (files by path, records by line).
#[derive(Clone, Debug)]
pub struct Corpus {
    /// The card's name, or the path as given.
    pub name: String,
    /// The card's licence.
    pub licence: Option<String>,
    /// The documents, ids unique. At least one.
    pub documents: Vec<Document>,
    /// What was read and what was left out.
    pub report: ReadReport,
    /// Entropy of the text per word in nats, where the source is a generator that knows its own.
    pub entropy_nats_per_word: Option<f64>,
}

/// What a reader saw. Nothing is left out of the corpus without standing here.
#[derive(Clone, Debug, Default)]
pub struct ReadReport {
    /// The files, in the order in which they were read.
    pub files: Vec<PathBuf>,
    /// Records seen: lines, rows, texts, sections.
    pub records: usize,
    /// Records left out.
    pub skipped: Vec<SkippedRecord>,
    /// Records renamed because their id was taken.
    pub duplicate_ids: Vec<DuplicateId>,
}

/// A record that is not in the corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedRecord {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, where the format has lines; the row, from 1, in Parquet.
    pub line: Option<u64>,
    /// Why.
    pub reason: String,
}

impl fmt::Display for SkippedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path.display(), self.reason),
            None => write!(f, "{}: {}", self.path.display(), self.reason),
        }
    }
}

/// A record whose id had been seen before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateId {
    /// The id in the file.
    pub id: String,
    /// The id in the corpus: `id#2` for the second, and so on.
    pub renamed: String,
}

impl fmt::Display for ReadReport {
    /// One line: `3 files, 120 records, 2 left out (first: a.jsonl:7: ...), 1 id made unique`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} file(s), {} record(s), {} left out",
            self.files.len(),
            self.records,
            self.skipped.len()
        )?;
        if let Some(first) = self.skipped.first() {
            write!(f, " (first: {first})")?;
        }
        if !self.duplicate_ids.is_empty() {
            write!(f, ", {} id(s) made unique", self.duplicate_ids.len())?;
        }
        Ok(())
    }
}

/// Renames later documents whose id is taken to `id#2`, `id#3`, ... and says which.
pub(crate) fn make_ids_unique(documents: &mut [Document]) -> Vec<DuplicateId> {
    // Ids of the file come first, so that a made-up `a#2` never takes the name of a real `a#2`.
    let given: HashSet<String> = documents.iter().map(|d| d.id.clone()).collect();
    if given.len() == documents.len() {
        return Vec::new();
    }
    let mut counts = std::collections::HashMap::new();
    let mut renamed = Vec::new();
    for document in documents {
        let count = counts.entry(document.id.clone()).or_insert(0u64);
        *count += 1;
        if *count == 1 {
            continue;
        }
        let unique = loop {
            let candidate = format!("{}#{count}", document.id);
            if !given.contains(&candidate) {
                break candidate;
            }
            *count += 1;
        };
        renamed.push(DuplicateId {
            id: std::mem::replace(&mut document.id, unique.clone()),
            renamed: unique,
        });
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_ids_are_renamed_in_order_and_never_onto_a_real_one() {
        let mut documents: Vec<Document> = ["a", "b", "a", "a#2", "a", "a#2"]
            .iter()
            .map(|id| Document {
                id: id.to_string(),
                text: "x".into(),
            })
            .collect();
        let renamed = make_ids_unique(&mut documents);
        let ids: Vec<&str> = documents.iter().map(|d| d.id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "a#3", "a#2", "a#4", "a#2#2"]);
        assert_eq!(renamed.len(), 3);
        assert_eq!(
            (renamed[0].id.as_str(), renamed[0].renamed.as_str()),
            ("a", "a#3")
        );
    }
}
