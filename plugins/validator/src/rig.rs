//! The small world in which plugins are tried: a model, batches, parameters.
//!
//! Owns: sizes large enough that every shape differs from every other, and small enough that a gradient
//! in double precision takes milliseconds. Must not know any plugin.

use std::sync::Arc;

use ablate_bert::{BertConfig, Init, ParameterSpec, Role};
use ablate_random::Stream;
use ablate_train::{Objective, PreparedBatch, VocabularyFacts, IGNORED};

/// Tokens in the vocabulary, of which the first [`SPECIAL`] are special.
pub(crate) const VOCABULARY: usize = 40;
/// Special tokens: `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]`, `[MASK]`.
pub(crate) const SPECIAL: i64 = 5;
/// Rows of a batch.
pub(crate) const ROWS: usize = 4;
/// Tokens a row.
pub(crate) const SEQ: usize = 20;

/// How weights start: larger than in training, so that every gradient is well above rounding.
pub(crate) const INIT: Init = Init::Normal { std: 0.3 };

/// A BERT of one layer. `dropout` is the rate of both kinds.
pub(crate) fn model(dropout: f64) -> BertConfig {
    BertConfig {
        vocab_size: VOCABULARY,
        hidden_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 12,
        max_position_embeddings: SEQ,
        hidden_dropout_prob: dropout,
        attention_probs_dropout_prob: dropout,
        ..BertConfig::default()
    }
}

fn facts() -> VocabularyFacts {
    VocabularyFacts {
        size: VOCABULARY,
        pad_id: 0,
        unknown_id: 1,
        cls_id: 2,
        sep_id: 3,
        mask_id: 4,
        special_ids: (0..SPECIAL).collect(),
        // Every fourth word goes on with the one before it.
        continuation: (0..VOCABULARY as i64)
            .map(|id| id >= SPECIAL && id % 4 == 0)
            .collect(),
    }
}

/// Whether an objective needs labelled pairs; a batch with pairs has the labels of both kinds.
pub(crate) fn pairs(objective: &dyn Objective) -> bool {
    objective.needs_pairs() || objective.needs_ordered_pairs()
}

/// Rows of two segments and of different lengths, and `padding` rows after them. The same `seed` and
/// row give the same words and keys, whatever stands beside them.
pub(crate) fn batch(rows: usize, padding: usize, seed: u64, pairs: bool) -> PreparedBatch {
    let all = rows + padding;
    let cells = all * SEQ;
    let labels = || {
        let of = |row| {
            if row < rows {
                (row % 2) as i64
            } else {
                IGNORED
            }
        };
        (0..all).map(of).collect()
    };
    let mut batch = PreparedBatch {
        rows,
        batch: all,
        seq: SEQ,
        input_ids: vec![0; cells],
        token_type_ids: vec![0; cells],
        attention_mask: vec![0; cells],
        special_tokens_mask: vec![true; cells],
        next_sentence_label: pairs.then(labels),
        segment_order_label: pairs.then(labels),
        example_ids: vec![0; all],
        row_keys: vec![0; all],
        vocabulary: Arc::new(facts()),
        ..PreparedBatch::default()
    };
    for row in 0..rows {
        let mut words = Stream::new(seed, "words").child(row as u64).reader();
        batch.example_ids[row] = 1000 + row as u64;
        batch.row_keys[row] = Stream::new(seed, "masks").child(row as u64).key();
        let length = SEQ - row % 3;
        let middle = length / 2;
        for i in 0..length {
            let at = row * SEQ + i;
            let special = i == 0 || i == middle || i + 1 == length;
            batch.attention_mask[at] = 1;
            batch.token_type_ids[at] = i64::from(i > middle);
            batch.special_tokens_mask[at] = special;
            batch.input_ids[at] = match i {
                0 => 2,
                _ if special => 3,
                _ => SPECIAL + i64::from(words.below(VOCABULARY as u32 - SPECIAL as u32)),
            };
        }
    }
    batch
}

/// Parameters of every role and of several shapes, as an optimizer meets them.
pub(crate) fn parameters() -> Vec<ParameterSpec> {
    let spec = |name: &str, shape: &[usize], role| ParameterSpec {
        name: name.to_owned(),
        shape: shape.to_vec(),
        role,
    };
    vec![
        spec(
            "bert.embeddings.word_embeddings.weight",
            &[10, 4],
            Role::Embedding,
        ),
        spec("bert.embeddings.LayerNorm.weight", &[4], Role::NormScale),
        spec("bert.embeddings.LayerNorm.bias", &[4], Role::NormBias),
        spec(
            "bert.encoder.layer.0.intermediate.dense.weight",
            &[6, 4],
            Role::Weight,
        ),
        spec(
            "bert.encoder.layer.0.output.dense.weight",
            &[4, 6],
            Role::Weight,
        ),
        spec(
            "bert.encoder.layer.0.intermediate.dense.bias",
            &[6],
            Role::Bias,
        ),
        spec("bert.pooler.dense.weight", &[5, 5], Role::Weight),
    ]
}

/// `count` numbers around zero from a named stream.
pub(crate) fn numbers(name: &str, count: usize) -> Vec<f32> {
    let mut reader = Stream::new(17, name).reader();
    (0..count).map(|_| reader.normal() as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_same_whatever_stands_beside_it() {
        let (few, many) = (batch(2, 0, 1, true), batch(4, 1, 1, true));
        assert_eq!(few.input_ids[..], many.input_ids[..2 * SEQ]);
        assert_eq!(few.row_keys[..], many.row_keys[..2]);
        assert!(many.special_tokens_mask[4 * SEQ..]
            .iter()
            .all(|special| *special));
        assert!(few
            .input_ids
            .iter()
            .all(|id| (0..VOCABULARY as i64).contains(id)));
        model(0.1).validate().unwrap();
    }
}
