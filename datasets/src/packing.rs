//! Single sequences for objectives that need no pairs: full sentences of one document, packed up to
//! the room of the sequence (`sequence_length - 2`), never across documents (the DOC-SENTENCES layout
//! of RoBERTa, Liu et al. 2019). A sentence that is longer than the room is cut into pieces; no token
//! is lost.

use std::ops::Range;

use crate::tokenized::TokenizedCorpus;

/// Appends the sequences of `document`, as ranges of the corpus' tokens, each of 1 to `room` tokens.
pub(crate) fn document_sequences(
    corpus: &TokenizedCorpus,
    document: usize,
    room: usize,
    out: &mut Vec<Range<usize>>,
) {
    let own = corpus.document(document);
    let mut current = own.span(0, 0);
    for i in 0..own.count() {
        let sentence = own.span(i, i + 1);
        if !current.is_empty() && sentence.end - current.start > room {
            out.push(current);
            current = sentence.start..sentence.start;
        }
        while sentence.end - current.start > room {
            let cut = current.start + room;
            out.push(current.start..cut);
            current = cut..cut;
        }
        current.end = sentence.end;
    }
    if !current.is_empty() {
        out.push(current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(sentences: &[usize], room: usize) -> Vec<usize> {
        let document: Vec<Vec<u32>> = sentences.iter().map(|n| vec![0; *n]).collect();
        let corpus = TokenizedCorpus::from_tokens([document]);
        let mut out = Vec::new();
        document_sequences(&corpus, 0, room, &mut out);
        assert_eq!(out[0].start, 0);
        assert!(out.windows(2).all(|w| w[0].end == w[1].start));
        assert_eq!(out.last().unwrap().end, sentences.iter().sum::<usize>());
        out.iter().map(Range::len).collect()
    }

    #[test]
    fn whole_sentences_are_packed_and_long_ones_cut() {
        assert_eq!(pack(&[3, 3, 3, 1], 7), [6, 4]);
        assert_eq!(pack(&[7, 7], 7), [7, 7]);
        assert_eq!(pack(&[2, 20, 3], 8), [2, 8, 8, 7]);
        assert_eq!(pack(&[2, 17, 3], 8), [2, 8, 8, 4]);
        assert_eq!(pack(&[16], 8), [8, 8]);
        assert_eq!(pack(&[1], 1), [1]);
    }
}
