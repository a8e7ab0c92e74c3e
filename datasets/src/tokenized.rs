//! A split as token ids: documents of sentences of tokens, stored flat.

use std::ops::Range;

use crate::{sentences, Document, Result, Tokenizer};

/// Documents of sentences of token ids, without special tokens. No sentence and no document is
/// empty. A document's tokens lie one after another, so any run of sentences is one slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizedCorpus {
    tokens: Vec<u32>,
    /// Where sentence `i` begins in `tokens`; one entry more than sentences.
    sentences: Vec<usize>,
    /// Where document `i` begins in `sentences`; one entry more than documents.
    documents: Vec<usize>,
}

impl TokenizedCorpus {
    /// Splits documents into sentences and these into tokens. Documents without any token (only
    /// control characters, say) are not in the result.
    ///
    /// # Errors
    ///
    /// The tokenizer cannot encode a text.
    pub fn new(tokenizer: &Tokenizer, documents: &[Document]) -> Result<Self> {
        let mut corpus = Self::empty();
        for document in documents {
            for sentence in sentences(&document.text) {
                corpus.push_sentence(&tokenizer.encode(sentence)?);
            }
            corpus.close_document();
        }
        Ok(corpus)
    }

    /// From token ids; empty sentences and documents are left out.
    pub fn from_tokens<D, S, T>(documents: D) -> Self
    where
        D: IntoIterator<Item = S>,
        S: IntoIterator<Item = T>,
        T: AsRef<[u32]>,
    {
        let mut corpus = Self::empty();
        for document in documents {
            for sentence in document {
                corpus.push_sentence(sentence.as_ref());
            }
            corpus.close_document();
        }
        corpus
    }

    fn empty() -> Self {
        TokenizedCorpus {
            tokens: Vec::new(),
            sentences: vec![0],
            documents: vec![0],
        }
    }

    fn push_sentence(&mut self, tokens: &[u32]) {
        if !tokens.is_empty() {
            self.tokens.extend_from_slice(tokens);
            self.sentences.push(self.tokens.len());
        }
    }

    fn close_document(&mut self) {
        let sentences = self.sentences.len() - 1;
        if self.documents.last() != Some(&sentences) {
            self.documents.push(sentences);
        }
    }

    /// Number of documents.
    pub fn documents(&self) -> usize {
        self.documents.len() - 1
    }

    /// Number of sentences of all documents.
    pub fn sentence_count(&self) -> usize {
        self.sentences.len() - 1
    }

    /// All tokens, document after document.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The sentences of document `document`, each as a range of [`TokenizedCorpus::tokens`].
    ///
    /// # Panics
    ///
    /// `document` is not below [`TokenizedCorpus::documents`].
    pub fn document(&self, document: usize) -> Sentences<'_> {
        let range = self.documents[document]..self.documents[document + 1];
        Sentences {
            bounds: &self.sentences[range.start..=range.end],
        }
    }

    /// Entropy of the distribution of single tokens, in nats: the loss of the best guess that sees
    /// no context, hence what a masked language model must beat.
    pub fn unigram_entropy(&self) -> f64 {
        entropy(self.tokens.iter().copied())
    }
}

/// Entropy in nats of the empirical distribution of `tokens`; 0 for none.
pub fn entropy(tokens: impl IntoIterator<Item = u32>) -> f64 {
    // Ordered, so that the sum is the same to the last bit in every process.
    let mut counts = std::collections::BTreeMap::new();
    let mut total = 0u64;
    for token in tokens {
        *counts.entry(token).or_insert(0u64) += 1;
        total += 1;
    }
    counts
        .values()
        .map(|&n| {
            let p = n as f64 / total as f64;
            -p * p.ln()
        })
        .sum()
}

/// The sentences of one document.
#[derive(Clone, Copy, Debug)]
pub struct Sentences<'a> {
    bounds: &'a [usize],
}

impl Sentences<'_> {
    /// How many there are; at least one.
    pub fn count(&self) -> usize {
        self.bounds.len() - 1
    }

    /// Tokens of sentences `from..to`, as a range of the corpus' tokens.
    ///
    /// # Panics
    ///
    /// `to` is above [`Sentences::count`].
    pub fn span(&self, from: usize, to: usize) -> Range<usize> {
        self.bounds[from]..self.bounds[to]
    }

    /// Number of tokens in sentence `index`.
    pub(crate) fn len(&self, index: usize) -> usize {
        self.span(index, index + 1).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_parts_are_left_out_and_the_rest_is_found_again() {
        let corpus = TokenizedCorpus::from_tokens([
            vec![vec![1, 2], vec![], vec![3]],
            vec![vec![]],
            vec![],
            vec![vec![4]],
        ]);
        assert_eq!((corpus.documents(), corpus.sentence_count()), (2, 3));
        let first = corpus.document(0);
        assert_eq!((first.count(), first.len(0), first.len(1)), (2, 2, 1));
        assert_eq!(&corpus.tokens()[first.span(0, 2)], [1, 2, 3]);
        assert_eq!(&corpus.tokens()[corpus.document(1).span(0, 1)], [4]);
    }

    #[test]
    fn entropy_of_known_distributions() {
        assert!((entropy([1, 2, 3, 4]) - 4f64.ln()).abs() < 1e-12);
        assert_eq!(entropy([7, 7, 7]), 0.0);
        assert_eq!(entropy([]), 0.0);
        let h = -(0.75f64 * 0.75f64.ln() + 0.25 * 0.25f64.ln());
        assert!((entropy([1, 1, 1, 2]) - h).abs() < 1e-12);
    }
}
