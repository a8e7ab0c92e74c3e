//! Batches of a data set as the trainer takes them.
//!
//! Owns the conversion from `ablate-datasets` arrays to [`PreparedBatch`], the keys of the masking
//! streams, and the fixed batches of the held-out splits. Must not know objectives.

use std::sync::Arc;

use ablate_datasets::batches::NO_EXAMPLE;
use ablate_datasets::{sequential, Batch, Batches, Cursor, ExampleSource};
use ablate_random::Stream;
use ablate_train::{BatchSource, PreparedBatch, SourceError, Split, VocabularyFacts, Window};

use crate::data::DataSet;
use crate::error::Result;

/// Seed of the pairs and masks of held-out batches. The same for every trial: all arms and all seeds
/// are measured on the same questions, which takes that noise out of every difference.
pub const EVALUATION_SEED: u64 = 0x00E7_A100;

/// A data set under one seed.
pub struct TrialBatches {
    train: Batches,
    validation: Option<ExampleSource>,
    test: Option<ExampleSource>,
    facts: Arc<VocabularyFacts>,
    masks: Stream,
    batch: usize,
    accumulate: usize,
}

impl TrialBatches {
    /// Batches of `batch` rows, windows of `accumulate` batches. `pairs`: rows are sentence pairs.
    ///
    /// # Errors
    /// When the training split gives no example.
    pub fn new(
        data: &DataSet,
        pairs: bool,
        batch: usize,
        accumulate: usize,
        seed: u64,
    ) -> Result<Self> {
        let facts = data.tokenizer.facts();
        let examples = |corpus: &Arc<ablate_datasets::TokenizedCorpus>, length, seed| {
            ExampleSource::new(corpus.clone(), facts.clone(), length, pairs, seed)
        };
        let held_out = |corpus: &Arc<ablate_datasets::TokenizedCorpus>| -> Result<_> {
            if corpus.documents() == 0 {
                return Ok(None);
            }
            let source = examples(corpus, data.evaluation_length, EVALUATION_SEED)?;
            // One fixed set of questions has no use for the short sequences that vary training.
            Ok(Some(source.with_short_sequences(0.0)))
        };
        let train = examples(&data.train, data.sequence_length, seed)?;
        Ok(TrialBatches {
            train: Batches::new(train, batch)?,
            validation: held_out(&data.validation)?,
            test: held_out(&data.test)?,
            facts: Arc::new(convert_facts(facts)),
            masks: Stream::new(seed, "masks"),
            batch,
            accumulate,
        })
    }

    fn prepared(&self, batch: Batch, masks: &Stream) -> PreparedBatch {
        prepared(batch, masks, &self.facts)
    }
}

fn prepared(batch: Batch, masks: &Stream, facts: &Arc<VocabularyFacts>) -> PreparedBatch {
    let row_keys = batch
        .example_ids
        .iter()
        .map(|&id| match id {
            NO_EXAMPLE => 0,
            id => masks.child(id).child(batch.epoch).key(),
        })
        .collect();
    let example_ids = batch
        .example_ids
        .iter()
        .map(|&id| if id == NO_EXAMPLE { 0 } else { id })
        .collect();
    PreparedBatch {
        rows: batch.rows,
        batch: batch.batch,
        seq: batch.seq,
        input_ids: batch.input_ids,
        token_type_ids: batch.token_type_ids,
        attention_mask: batch.attention_mask,
        special_tokens_mask: batch.special_tokens_mask,
        next_sentence_label: batch.next_sentence_label,
        example_ids,
        row_keys,
        vocabulary: facts.clone(),
        features: Default::default(),
    }
}

fn convert_facts(facts: &ablate_datasets::VocabularyFacts) -> VocabularyFacts {
    VocabularyFacts {
        size: facts.size,
        pad_id: i64::from(facts.pad),
        unknown_id: i64::from(facts.unk),
        cls_id: i64::from(facts.cls),
        sep_id: i64::from(facts.sep),
        mask_id: i64::from(facts.mask),
        special_ids: (0..)
            .zip(&facts.special)
            .filter(|(_, &special)| special)
            .map(|(id, _)| id)
            .collect(),
        continuation: facts.continuation.clone(),
    }
}

impl BatchSource for TrialBatches {
    fn next_window(&mut self) -> std::result::Result<Window, SourceError> {
        let batches = self.train.next_window(self.accumulate);
        let epoch = batches.first().map_or(0, |b| b.epoch);
        let masks = self.masks;
        Ok(Window {
            epoch,
            batches: batches
                .into_iter()
                .map(|b| self.prepared(b, &masks))
                .collect(),
        })
    }

    fn cursor(&self) -> serde_json::Value {
        let Cursor { epoch, position } = self.train.cursor();
        serde_json::json!({"epoch": epoch, "position": position})
    }

    fn restore(&mut self, cursor: &serde_json::Value) -> std::result::Result<(), SourceError> {
        let cursor: Cursor = serde_json::from_value(cursor.clone())
            .map_err(|e| SourceError::new(format!("the checkpoint's place in the data: {e}")))?;
        self.train.seek(cursor);
        Ok(())
    }

    fn evaluation(
        &mut self,
        split: Split,
    ) -> std::result::Result<Box<dyn Iterator<Item = PreparedBatch> + '_>, SourceError> {
        let source = match split {
            Split::Train => None,
            Split::Validation => self.validation.as_ref(),
            Split::Test => self.test.as_ref(),
        };
        let Some(source) = source else {
            return Ok(Box::new(std::iter::empty()));
        };
        let masks = Stream::new(EVALUATION_SEED, "masks");
        let facts = self.facts.clone();
        let batches =
            sequential(source, self.batch).map_err(|e| SourceError::new(e.to_string()))?;
        Ok(Box::new(batches.map(move |b| prepared(b, &masks, &facts))))
    }
}
