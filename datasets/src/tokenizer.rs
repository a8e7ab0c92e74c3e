//! The tokenizer: text to token ids and back, and what objectives need to know of the vocabulary.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, ModelWrapper, NormalizedString, Normalizer};

use crate::{wordpiece, DataError, Document, Result};

/// The special tokens, in the order of their ids in a trained vocabulary.
pub(crate) const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// Marks a piece that continues a word.
const CONTINUATION: &str = "##";

/// What objectives, batches and exports need to know of a vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VocabularyFacts {
    /// Ids are `0..size`.
    pub size: usize,
    /// Id of `[PAD]`.
    pub pad: u32,
    /// Id of `[UNK]`.
    pub unk: u32,
    /// Id of `[CLS]`.
    pub cls: u32,
    /// Id of `[SEP]`.
    pub sep: u32,
    /// Id of `[MASK]`.
    pub mask: u32,
    /// Of each id, whether it is one of the five above or another added special token `[size]`.
    pub special: Vec<bool>,
    /// Of each id, whether it continues a word (`##`) `[size]`.
    pub continuation: Vec<bool>,
}

impl VocabularyFacts {
    #[cfg(test)]
    pub(crate) fn for_tests(size: usize) -> Self {
        VocabularyFacts {
            size,
            pad: 0,
            unk: 1,
            cls: 2,
            sep: 3,
            mask: 4,
            special: (0..size).map(|i| i < 5).collect(),
            continuation: vec![false; size],
        }
    }
}

/// A WordPiece tokenizer, trained or loaded.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    facts: Arc<VocabularyFacts>,
    /// By id; empty where a vocabulary leaves a hole.
    pieces: Vec<String>,
    lowercase: bool,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("size", &self.facts.size)
            .field("lowercase", &self.lowercase)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Trains WordPiece on `documents`, which must be of the training split alone. At most
    /// `vocab_size` pieces, fewer if the corpus has no more that occur twice. The same documents give
    /// the same vocabulary in every process.
    ///
    /// # Errors
    ///
    /// `vocab_size` has no room for the special tokens and the letters of the corpus.
    pub fn train(documents: &[Document], vocab_size: usize, lowercase: bool) -> Result<Self> {
        let pieces = wordpiece::train(documents, vocab_size, &normalizer(lowercase))?;
        Self::from_pieces(pieces, lowercase)
    }

    /// Loads `tokenizer.json`, a `vocab.txt` (one piece a line), or a folder that has one of the two.
    ///
    /// A `vocab.txt` does not say whether text is to be made lower case: a `tokenizer_config.json`
    /// beside it does (`do_lower_case`); without one, it is cased if a piece has an upper-case letter.
    ///
    /// # Errors
    ///
    /// Files that are missing or not what their name says; a vocabulary without one of `[PAD]`,
    /// `[UNK]`, `[CLS]`, `[SEP]`, `[MASK]`.
    pub fn load(path: &Path) -> Result<Self> {
        let file = if path.is_dir() {
            let found = ["tokenizer.json", "vocab.txt"]
                .iter()
                .map(|name| path.join(name))
                .find(|file| file.is_file());
            found.ok_or_else(|| {
                DataError::tokenizer(format!(
                    "{}: the folder has neither tokenizer.json nor vocab.txt",
                    path.display()
                ))
            })?
        } else {
            path.to_owned()
        };
        let bytes = std::fs::read(&file).map_err(DataError::io(&file, "read the tokenizer"))?;
        let in_file =
            |message: String| DataError::tokenizer(format!("{}: {message}", file.display()));
        let loaded = if file.extension().is_some_and(|e| e == "json") {
            Self::from_json(&bytes)
        } else {
            let config = file.with_file_name("tokenizer_config.json");
            let config = std::fs::read(config).ok();
            Self::from_vocab(&bytes, config.as_deref())
        };
        loaded.map_err(in_file)
    }

    fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|e| format!("not a tokenizer.json: {e}"))?;
        // Padding and truncation are the batches' business.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| format!("cannot switch truncation off: {e}"))?;
        let mut probe = NormalizedString::from("A");
        if let Some(normalizer) = inner.get_normalizer() {
            normalizer
                .normalize(&mut probe)
                .map_err(|e| format!("the normalizer fails: {e}"))?;
        }
        let lowercase = probe.get() == "a";
        Self::wrap(inner, lowercase)
    }

    fn from_vocab(bytes: &[u8], config: Option<&[u8]>) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let line = 1 + bytes[..e.valid_up_to()]
                .iter()
                .filter(|b| **b == b'\n')
                .count();
            format!("line {line} is not valid UTF-8")
        })?;
        let pieces: Vec<String> = text.lines().map(|l| l.trim_end().to_owned()).collect();
        let lowercase = config
            .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(bytes).ok())
            .and_then(|config| config.get("do_lower_case")?.as_bool())
            .unwrap_or_else(|| {
                !pieces
                    .iter()
                    .filter(|p| !(p.starts_with('[') && p.ends_with(']')))
                    .any(|p| p.chars().any(char::is_uppercase))
            });
        Self::from_pieces(pieces, lowercase).map_err(|e| match e {
            DataError::Tokenizer { message } => message,
            other => other.to_string(),
        })
    }

    fn from_pieces(pieces: Vec<String>, lowercase: bool) -> Result<Self> {
        let mut ids = HashMap::new();
        for (id, piece) in pieces.iter().enumerate() {
            if let Some(first) = ids.insert(piece.as_str(), id as u32) {
                return Err(DataError::tokenizer(format!(
                    "`{piece}` stands on line {} and again on line {}",
                    first + 1,
                    id + 1
                )));
            }
        }
        let special = |token: &str| match ids.get(token) {
            Some(id) => Ok((token.to_owned(), *id)),
            None => Err(DataError::tokenizer(missing(token))),
        };
        // The crate would append one that is missing, behind the model's embeddings.
        for token in SPECIAL {
            special(token)?;
        }
        let (sep, cls) = (special("[SEP]")?, special("[CLS]")?);
        let failed = |e: tokenizers::Error| DataError::tokenizer(e.to_string());
        // Its defaults are BERT's: `[UNK]`, `##`, at most 100 characters a word.
        let vocabulary = WordPiece::read_bytes(pieces.join("\n").as_bytes()).map_err(failed)?;
        let model = WordPiece::builder()
            .vocab(vocabulary)
            .build()
            .map_err(failed)?;
        let mut inner = tokenizers::Tokenizer::new(model);
        inner
            .with_normalizer(Some(normalizer(lowercase)))
            .map_err(failed)?;
        inner
            .with_pre_tokenizer(Some(BertPreTokenizer))
            .with_decoder(Some(WordPieceDecoder::new(CONTINUATION.into(), true)))
            .with_post_processor(Some(BertProcessing::new(sep, cls)));
        inner
            .add_special_tokens(SPECIAL.map(|t| AddedToken::from(t, true)))
            .map_err(failed)?;
        Self::wrap(inner, lowercase).map_err(DataError::tokenizer)
    }

    fn wrap(mut inner: tokenizers::Tokenizer, lowercase: bool) -> Result<Self, String> {
        let vocabulary = inner.get_vocab(true);
        let size = vocabulary.values().max().map_or(0, |id| *id as usize + 1);
        let id = |token: &str| vocabulary.get(token).copied().ok_or_else(|| missing(token));
        let mut facts = VocabularyFacts {
            size,
            pad: id("[PAD]")?,
            unk: id("[UNK]")?,
            cls: id("[CLS]")?,
            sep: id("[SEP]")?,
            mask: id("[MASK]")?,
            special: vec![false; size],
            continuation: vec![false; size],
        };
        for token in SPECIAL {
            facts.special[id(token)? as usize] = true;
        }
        for (id, added) in inner.get_added_tokens_decoder() {
            facts.special[id as usize] |= added.special;
        }
        let mut pieces = vec![String::new(); size];
        for (piece, id) in vocabulary {
            facts.continuation[id as usize] = piece.starts_with(CONTINUATION) && piece.len() > 2;
            pieces[id as usize] = piece;
        }
        // A corpus that has the word "[SEP]" in its text does not thereby end a segment.
        inner.set_encode_special_tokens(true);
        Ok(Tokenizer {
            inner,
            facts: Arc::new(facts),
            pieces,
            lowercase,
        })
    }

    /// What objectives, batches and exports need to know of the vocabulary.
    pub fn facts(&self) -> &Arc<VocabularyFacts> {
        &self.facts
    }

    /// Whether text is made lower case.
    pub fn lowercase(&self) -> bool {
        self.lowercase
    }

    /// Token ids of `text`, without special tokens; `[UNK]` for a word that no pieces spell.
    ///
    /// # Errors
    ///
    /// The tokenizer's own failure, which a WordPiece does not have.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|e| DataError::tokenizer(format!("cannot encode a text: {e}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The piece of an id; `None` if the vocabulary has no such id.
    pub fn piece(&self, id: u32) -> Option<&str> {
        self.pieces
            .get(id as usize)
            .map(String::as_str)
            .filter(|piece| !piece.is_empty())
    }

    /// Ids as words for people: continuations joined, special tokens as they are, padding left out.
    pub fn words(&self, ids: &[u32]) -> String {
        let mut out = String::new();
        for &id in ids.iter().filter(|id| **id != self.facts.pad) {
            let piece = self.piece(id).unwrap_or("?");
            match piece.strip_prefix(CONTINUATION) {
                Some(rest) if !rest.is_empty() => out.push_str(rest),
                _ => {
                    if !out.is_empty() {
                        out.push(' ');
                    }
                    out.push_str(piece);
                }
            }
        }
        out
    }

    /// The files that `transformers` loads, by name: `tokenizer.json`, `tokenizer_config.json`, and
    /// for WordPiece `vocab.txt`.
    ///
    /// # Errors
    ///
    /// The tokenizer cannot be written as JSON.
    pub fn files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let json = self
            .inner
            .to_string(true)
            .map_err(|e| DataError::tokenizer(format!("cannot be written as JSON: {e}")))?;
        let wordpiece = matches!(self.inner.get_model(), ModelWrapper::WordPiece(_));
        let class = match wordpiece {
            true => "BertTokenizer",
            false => "PreTrainedTokenizerFast",
        };
        let config = serde_json::json!({
            "tokenizer_class": class,
            "do_lower_case": self.lowercase,
            "tokenize_chinese_chars": true,
            "strip_accents": null,
            "pad_token": "[PAD]",
            "unk_token": "[UNK]",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "mask_token": "[MASK]",
        });
        let mut files = vec![
            ("tokenizer.json", json.into_bytes()),
            (
                "tokenizer_config.json",
                format!("{config:#}\n").into_bytes(),
            ),
        ];
        // A line a piece: a vocabulary with holes cannot be written this way.
        if wordpiece && !self.pieces.iter().any(String::is_empty) {
            files.push(("vocab.txt", (self.pieces.join("\n") + "\n").into_bytes()));
        }
        Ok(files)
    }

    /// Writes [`Tokenizer::files`] into `dir`, which is made if need be.
    ///
    /// # Errors
    ///
    /// The folder or a file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).map_err(DataError::io(dir, "make the folder"))?;
        for (name, bytes) in self.files()? {
            let path = dir.join(name);
            std::fs::write(&path, bytes).map_err(DataError::io(&path, "write it"))?;
        }
        Ok(())
    }
}

fn normalizer(lowercase: bool) -> BertNormalizer {
    BertNormalizer::new(true, true, None, lowercase)
}

fn missing(token: &str) -> String {
    format!(
        "the vocabulary has no {token}; BERT needs {}",
        SPECIAL.join(", ")
    )
}
