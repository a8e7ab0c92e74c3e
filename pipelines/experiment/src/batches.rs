//! Batches of a data set as the trainer takes them.
//!
//! Owns the conversion from `ablate-datasets` arrays to [`PreparedBatch`], the keys of the masking
//! streams, and the fixed batches of the held-out splits. Must not know objectives.

use std::sync::Arc;

use ablate_datasets::batches::NO_EXAMPLE;
use ablate_datasets::{sequential, Batch, Batches, Cursor, ExampleSource, Pairs, TokenizedCorpus};
use ablate_random::Stream;
use ablate_train::{
    Asks, BatchSource, Place, PreparedBatch, SourceError, Split, VocabularyFacts, Window,
};

use crate::data::DataSet;
use crate::error::Result;

/// Seed of the pairs and masks of held-out batches. The same for every trial: all arms and all seeds
/// are measured on the same questions, which takes that noise out of every difference.
pub const EVALUATION_SEED: u64 = 0x00E7_A100;

/// What held-out batches ask, so that arms with other objectives than the baseline's still answer the
/// same questions; see [`Asks`].
#[derive(Clone, Debug)]
pub struct Yardstick {
    /// Layout of the baseline's rows.
    pub pairs: Pairs,
    /// Objectives of the arm that the baseline has too.
    pub shared: Arc<[String]>,
    /// Whether the arm has others as well.
    pub others: bool,
}

/// A data set under one seed.
pub struct TrialBatches {
    data: DataSet,
    pairs: Pairs,
    train: Batches,
    validation: Vec<(ExampleSource, Asks)>,
    test: Vec<(ExampleSource, Asks)>,
    facts: Arc<VocabularyFacts>,
    masks: Stream,
    batch: usize,
    accumulate: usize,
    /// Windows handed out so far.
    steps: u64,
}

impl TrialBatches {
    /// Batches of `batch` rows, windows of `accumulate` batches. Rows are pairs of segments as `pairs`
    /// says. Held-out batches ask all objectives.
    ///
    /// # Errors
    /// When the training split gives no example.
    pub fn new(
        data: &DataSet,
        pairs: Pairs,
        batch: usize,
        accumulate: usize,
        seed: u64,
    ) -> Result<Self> {
        let facts = data.tokenizer.facts();
        let train = ExampleSource::new(
            data.train.clone(),
            facts.clone(),
            data.sequence_length,
            pairs,
            seed,
        )?;
        let mut batches = TrialBatches {
            data: data.clone(),
            pairs,
            train: Batches::new(train, batch)?,
            validation: Vec::new(),
            test: Vec::new(),
            facts: Arc::new(convert_facts(facts)),
            masks: Stream::new(seed, "masks"),
            batch,
            accumulate,
            steps: 0,
        };
        batches.hold_out(&[(pairs, Asks::All)])?;
        Ok(batches)
    }

    /// The same with held-out batches that ask what the baseline is asked, and what is left.
    ///
    /// # Errors
    /// When the held-out documents give no rows of the baseline's layout.
    pub fn measured_by(mut self, yardstick: &Yardstick) -> Result<Self> {
        let Yardstick {
            pairs,
            shared,
            others,
        } = yardstick;
        let mut layouts = Vec::new();
        if !others {
            layouts.push((*pairs, Asks::All));
        } else if shared.is_empty() {
            layouts.push((self.pairs, Asks::All));
        } else {
            layouts.push((*pairs, Asks::Only(shared.clone())));
            layouts.push((self.pairs, Asks::AllBut(shared.clone())));
        }
        self.hold_out(&layouts)?;
        Ok(self)
    }

    fn hold_out(&mut self, layouts: &[(Pairs, Asks)]) -> Result<()> {
        let of = |corpus: &Arc<TokenizedCorpus>| -> Result<Vec<(ExampleSource, Asks)>> {
            if corpus.documents() == 0 {
                return Ok(Vec::new());
            }
            let facts = self.data.tokenizer.facts();
            let source = |pairs| {
                let length = self.data.evaluation_length;
                ExampleSource::new(
                    corpus.clone(),
                    facts.clone(),
                    length,
                    pairs,
                    EVALUATION_SEED,
                )
            };
            layouts
                .iter()
                // One fixed set of questions has no use for the short sequences that vary training.
                .map(|(pairs, asks)| Ok((source(*pairs)?.with_short_sequences(0.0), asks.clone())))
                .collect()
        };
        let (validation, test) = (of(&self.data.validation)?, of(&self.data.test)?);
        self.validation = validation;
        self.test = test;
        Ok(())
    }
}

fn prepared(
    batch: Batch,
    place: Place,
    asks: Asks,
    masks: &Stream,
    facts: &Arc<VocabularyFacts>,
) -> PreparedBatch {
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
        place,
        asks,
        rows: batch.rows,
        batch: batch.batch,
        seq: batch.seq,
        input_ids: batch.input_ids,
        token_type_ids: batch.token_type_ids,
        attention_mask: batch.attention_mask,
        special_tokens_mask: batch.special_tokens_mask,
        next_sentence_label: batch.next_sentence_label,
        segment_order_label: batch.segment_order_label,
        example_ids,
        row_keys,
        vocabulary: facts.clone(),
        ..PreparedBatch::default()
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
        self.steps += 1;
        let place = Place {
            split: Split::Train,
            epoch,
            step: self.steps,
        };
        Ok(Window {
            epoch,
            batches: batches
                .into_iter()
                .map(|b| prepared(b, place, Asks::All, &self.masks, &self.facts))
                .collect(),
        })
    }

    fn cursor(&self) -> serde_json::Value {
        let Cursor { epoch, position } = self.train.cursor();
        serde_json::json!({"epoch": epoch, "position": position, "steps": self.steps})
    }

    fn restore(&mut self, cursor: &serde_json::Value) -> std::result::Result<(), SourceError> {
        let TrialCursor {
            epoch,
            position,
            steps,
        } = serde_json::from_value(cursor.clone())
            .map_err(|e| SourceError::new(format!("the checkpoint's place in the data: {e}")))?;
        self.train.seek(Cursor { epoch, position });
        self.steps = steps;
        Ok(())
    }

    fn evaluation(
        &mut self,
        split: Split,
    ) -> std::result::Result<Box<dyn Iterator<Item = PreparedBatch> + '_>, SourceError> {
        let sources: &[_] = match split {
            Split::Train => &[],
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        };
        let masks = Stream::new(EVALUATION_SEED, "masks");
        let place = Place {
            split,
            epoch: 0,
            step: 0,
        };
        let mut all: Box<dyn Iterator<Item = PreparedBatch> + '_> = Box::new(std::iter::empty());
        for (source, asks) in sources {
            let facts = self.facts.clone();
            let batches =
                sequential(source, self.batch).map_err(|e| SourceError::new(e.to_string()))?;
            let batches = batches.map(move |b| prepared(b, place, asks.clone(), &masks, &facts));
            all = Box::new(all.chain(batches));
        }
        Ok(all)
    }
}

/// A [`Cursor`] and the windows handed out before it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct TrialCursor {
    epoch: u64,
    position: u64,
    steps: u64,
}
