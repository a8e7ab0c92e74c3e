//! From text on disk to the batches that training sees.
//!
//! Owns: dataset cards and readers, the split of documents, curation operators, the tokenizer,
//! sentences and sentence pairs, batches, and the generator of the sample corpus. Must not know:
//! graphs, models, objectives (which tokens are masked is an objective's business), recipes, runs.
//! This crate is one of two places where polars is named, and only in `readers/parquet.rs`.
//!
//! The way of the data, each step a module:
//!
//! ```text
//! source, card, readers   files -> Corpus (documents + a report of every record left out)
//! split                   by a hash of the document, before anything else
//! curate                  operators over the training split
//! tokenizer               trained on the training split, or loaded
//! sentences, tokenized    documents -> sentences -> token ids
//! pairs, order, packing   one epoch's examples, as ranges of the tokenized corpus
//! examples, batches       ranges -> padded arrays `[batch, seq]`, in random order, seekable
//! ```
//!
//! Everything random comes from named streams (`ablate_random`): "pairs", "order", "data".

pub mod batches;
mod card;
mod corpus;
pub mod curate;
mod error;
mod examples;
mod order;
mod packing;
mod pairs;
mod readers;
pub mod sample;
mod sentences;
mod source;
mod split;
mod tokenized;
mod tokenizer;
mod wordpiece;

pub use batches::{sequential, Batch, Batches, Cursor};
pub use card::Card;
pub use corpus::{Corpus, Document, DuplicateId, ReadReport, SkippedRecord};
pub use error::{DataError, Result};
pub use examples::{Example, ExampleSource, SHORT_SEQUENCE_PROBABILITY};
pub use pairs::Pairs;
pub use readers::{Format, OnError};
pub use sentences::sentences;
pub use source::{check, read, FileSource, Source};
pub use split::{split, Splits};
pub use tokenized::TokenizedCorpus;
pub use tokenizer::{Tokenizer, VocabularyFacts};
