//! Training a WordPiece vocabulary with the `tokenizers` crate, to the same outcome every time.
//!
//! The crate's trainer walks hash maps with random seeds. It breaks ties between merges by token id,
//! and it numbers the continuation letters (`##a`) in the order in which it meets them, so two
//! processes could train two vocabularies from one corpus. Here the continuation letters are handed
//! to it in sorted order beforehand (as "special tokens", the one list whose order it keeps).

use std::collections::BTreeSet;

use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    AddedToken, Model, NormalizedString, Normalizer, PreTokenizedString, PreTokenizer,
};
use tokenizers::{OffsetReferential, OffsetType};

use crate::tokenizer::SPECIAL;
use crate::{DataError, Document, Result};

/// The pieces of a vocabulary in the order of their ids: the special tokens first.
pub(crate) fn train(
    documents: &[Document],
    vocab_size: usize,
    normalizer: &BertNormalizer,
) -> Result<Vec<String>> {
    let mut firsts = BTreeSet::new();
    let mut continuations = BTreeSet::new();
    let mut words: Vec<String> = Vec::new();
    for document in documents {
        for word in split_words(&document.text, normalizer)? {
            firsts.extend(word.chars());
            continuations.extend(word.chars().skip(1));
            words.push(word);
        }
    }
    let smallest = SPECIAL.len() + firsts.len() + continuations.len();
    if vocab_size < smallest {
        return Err(DataError::tokenizer(format!(
            "vocab_size is {vocab_size}; the corpus has {} different characters and needs at least {smallest}",
            firsts.len()
        )));
    }
    let specials = SPECIAL
        .iter()
        .map(|t| (*t).to_owned())
        .chain(continuations.iter().map(|c| format!("##{c}")))
        .map(|t| AddedToken::from(t, true))
        .collect();
    let mut trainer = WordPieceTrainer::builder()
        .vocab_size(vocab_size)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(specials)
        .build();
    let failed = |e: tokenizers::Error| DataError::tokenizer(format!("training failed: {e}"));
    tokenizers::Trainer::feed(&mut trainer, words.iter(), |w| Ok(vec![w.to_owned()]))
        .map_err(failed)?;
    let mut model = WordPiece::default();
    trainer.train(&mut model).map_err(failed)?;
    let mut pieces: Vec<(String, u32)> = model.get_vocab().into_iter().collect();
    pieces.sort_unstable_by_key(|(_, id)| *id);
    Ok(pieces.into_iter().map(|(piece, _)| piece).collect())
}

/// The words of a text as the tokenizer will see them.
fn split_words(text: &str, normalizer: &BertNormalizer) -> Result<Vec<String>> {
    let failed = |e: tokenizers::Error| DataError::tokenizer(format!("cannot split a text: {e}"));
    let mut normalized = NormalizedString::from(text);
    normalizer.normalize(&mut normalized).map_err(failed)?;
    let mut split = PreTokenizedString::from(normalized);
    BertPreTokenizer.pre_tokenize(&mut split).map_err(failed)?;
    Ok(split
        .get_splits(OffsetReferential::Normalized, OffsetType::None)
        .into_iter()
        .map(|(word, _, _)| word.to_owned())
        .collect())
}
