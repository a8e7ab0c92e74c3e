//! Dataset cards: what a corpus is, where it comes from, under which licence.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sample::SampleOptions;
use crate::source::text_field;
use crate::{DataError, FileSource, Format, OnError, Result};

/// A card as it stands in a YAML file. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The corpus' name in reports.
    #[schemars(length(min = 1), example = "my corpus")]
    pub name: String,
    /// A path or glob, relative to the card. Either this or `generator`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub source: Option<String>,
    /// The corpus is made by the built-in generator, nothing is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<SampleOptions>,
    /// The format; by extension if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The field with the text.
    #[serde(default = "text_field")]
    pub text: String,
    /// The field with the document's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The licence, as the source names it.
    #[schemars(example = "CC0-1.0")]
    pub licence: String,
    /// `sha256:<64 hex digits>` of the files' bytes one after another in the order of their paths
    /// (`cat FILES | sha256sum`); verified before reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// What to do with bad records.
    #[serde(default)]
    pub on_error: OnError,
    /// How to get the data, in a sentence for people. Never executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download: Option<String>,
}

impl Card {
    /// JSON Schema of a card: its keys, types and bounds. That it has either `source` or `generator` is
    /// beyond the schema; [`Card::load`] says so.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Card).to_value()
    }

    /// Reads and checks a card. [`Card::checksum`] comes back as bare lower-case hex digits.
    ///
    /// # Errors
    ///
    /// An unreadable file, bad YAML, an unknown or missing key, both or neither of `source` and
    /// `generator`, a malformed checksum.
    pub fn load(path: &Path) -> Result<Card> {
        let text = std::fs::read_to_string(path).map_err(DataError::io(path, "read the card"))?;
        Self::parse(&text).map_err(|message| DataError::Card {
            path: PathBuf::from(path),
            message,
        })
    }

    fn parse(text: &str) -> Result<Card, String> {
        let mut card: Card = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
        match (&card.source, &card.generator) {
            (Some(_), Some(_)) => return Err("has both `source` and `generator`; keep one".into()),
            (None, None) => return Err("needs `source` (a path or glob) or `generator`".into()),
            (None, Some(_)) if card.checksum.is_some() => {
                return Err("`checksum` is for files; a generator has its seed".into())
            }
            _ => {}
        }
        if let Some(checksum) = &mut card.checksum {
            let digits = checksum.trim().trim_start_matches("sha256:").to_lowercase();
            if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(format!(
                    "checksum: expected `sha256:` and 64 hexadecimal digits, found `{checksum}`"
                ));
            }
            *checksum = digits;
        }
        Ok(card)
    }

    /// The files that the card means; `None` for a generator.
    pub(crate) fn files(&self) -> Option<FileSource> {
        Some(FileSource {
            path: self.source.clone()?,
            format: self.format,
            text: self.text.clone(),
            id: self.id.clone(),
            on_error: self.on_error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_card_is_read() {
        let card = Card::parse(&format!(
            "name: n\nsource: a/*.csv\nformat: csv\ntext: body\nid: key\nlicence: CC0\n\
             checksum: sha256:{}\non_error: refuse\ndownload: Ask.\n",
            "AB".repeat(32)
        ))
        .unwrap();
        assert_eq!(card.format, Some(Format::Csv));
        assert_eq!(card.on_error, OnError::Refuse);
        assert_eq!(card.checksum.as_deref(), Some("ab".repeat(32).as_str()));
    }

    #[test]
    fn the_schema_is_closed_and_has_every_key() {
        let schema = Card::schema();
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["required"], serde_json::json!(["name", "licence"]));
        let card = Card::parse(&format!(
            "name: n\nsource: a\nformat: csv\nid: key\nlicence: x\nchecksum: {}\ndownload: Ask.\n",
            "0".repeat(64)
        ));
        let written = serde_json::to_value(card.unwrap()).unwrap();
        let mut keys: Vec<&String> = written.as_object().unwrap().keys().collect();
        let generator = "generator".to_owned();
        keys.push(&generator);
        keys.sort();
        let mut known: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
        known.sort();
        assert_eq!(known, keys);
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, expected) in [
            ("name: n\nsource: a\nlicence: x\nlicense: y\n", "license"),
            ("name: n\nsource: a\n", "licence"),
            ("name: n\nlicence: x\n", "generator"),
            ("name: n\nsource: a\ngenerator: {}\nlicence: x\n", "both"),
            (
                "name: n\nsource: a\nlicence: x\nchecksum: md5:12\n",
                "64 hexadecimal",
            ),
            (
                "name: n\nsource: a\nlicence: x\nformat: xls\n",
                "json_lines",
            ),
            ("name: [\n", "line 1"),
        ] {
            let message = Card::parse(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
