//! A corpus, an objective and an optimizer small enough for the reference backend.

use std::path::Path;
use std::sync::Arc;

use ablate_bert::{BertConfig, Init, ParameterSpec, Role};
use ablate_compiler::{Backend, ReferenceBackend};
use ablate_graph::{Graph, GraphError};
use ablate_random::Stream;
use ablate_train::checkpoint::States;
use ablate_train::*;

pub const VOCABULARY: usize = 11;
pub const SEQ: usize = 5;
const MASK: i64 = 4;

pub fn model() -> BertConfig {
    BertConfig {
        vocab_size: VOCABULARY,
        hidden_size: 4,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 6,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        max_position_embeddings: SEQ,
        layer_norm_eps: 1e-6,
        ..BertConfig::default()
    }
}

/// Delivers `examples` in order, epoch after epoch.
pub struct Rows {
    pub examples: Vec<Vec<i64>>,
    pub batch: usize,
    pub accumulate: usize,
    pub at: (u64, usize),
}

impl Rows {
    pub fn new(examples: usize, batch: usize, accumulate: usize) -> Self {
        let mut draw = Stream::new(7, "data").reader();
        let examples = (0..examples)
            .map(|_| {
                let words = 2 + draw.below(2) as usize;
                let mut ids = vec![2];
                ids.extend((0..words).map(|_| 5 + i64::from(draw.below(6))));
                ids.push(3);
                ids
            })
            .collect();
        Rows {
            examples,
            batch,
            accumulate,
            at: (0, 0),
        }
    }

    fn batch_of(&self, from: usize, to: usize, epoch: u64) -> PreparedBatch {
        let n = self.batch * SEQ;
        let mut b = PreparedBatch {
            rows: to - from,
            batch: self.batch,
            seq: SEQ,
            input_ids: vec![0; n],
            token_type_ids: vec![0; n],
            attention_mask: vec![0; n],
            special_tokens_mask: vec![true; n],
            next_sentence_label: None,
            example_ids: vec![0; self.batch],
            row_keys: vec![0; self.batch],
            vocabulary: Arc::new(VocabularyFacts {
                size: VOCABULARY,
                mask_id: MASK,
                ..VocabularyFacts::default()
            }),
            ..PreparedBatch::default()
        };
        for (row, index) in (from..to).enumerate() {
            let ids = &self.examples[index];
            for (i, &id) in ids.iter().enumerate() {
                let at = row * SEQ + i;
                b.input_ids[at] = id;
                b.attention_mask[at] = 1;
                b.special_tokens_mask[at] = id < 5;
            }
            b.example_ids[row] = index as u64;
            b.row_keys[row] = Stream::new(1, "masks")
                .child(index as u64)
                .child(epoch)
                .key();
        }
        b
    }
}

impl BatchSource for Rows {
    fn next_window(&mut self) -> Result<Window, SourceError> {
        let (epoch, mut from) = self.at;
        let mut batches = Vec::new();
        while batches.len() < self.accumulate && from < self.examples.len() {
            let to = (from + self.batch).min(self.examples.len());
            batches.push(self.batch_of(from, to, epoch));
            from = to;
        }
        self.at = if from < self.examples.len() {
            (epoch, from)
        } else {
            (epoch + 1, 0)
        };
        Ok(Window { epoch, batches })
    }

    fn cursor(&self) -> serde_json::Value {
        serde_json::json!([self.at.0, self.at.1])
    }

    fn restore(&mut self, cursor: &serde_json::Value) -> Result<(), SourceError> {
        self.at =
            serde_json::from_value(cursor.clone()).map_err(|e| SourceError::new(e.to_string()))?;
        Ok(())
    }

    fn evaluation(
        &mut self,
        split: Split,
    ) -> Result<Box<dyn Iterator<Item = PreparedBatch> + '_>, SourceError> {
        let rows = match split {
            Split::Train => 0,
            Split::Validation | Split::Test => self.batch.min(self.examples.len()),
        };
        let batch = (rows > 0).then(|| self.batch_of(0, rows, u64::MAX));
        Ok(Box::new(batch.into_iter()))
    }
}

/// Predicts about half of the words from the rest, with a dense head.
pub struct Words;

impl Objective for Words {
    fn name(&self) -> &str {
        "words"
    }
    fn weight(&self) -> f64 {
        2.0
    }
    fn needs_pairs(&self) -> bool {
        false
    }
    fn duplicate(&self) -> Result<Box<dyn Objective>, PluginError> {
        Ok(Box::new(Words))
    }
    fn prepare(&mut self, batch: &mut PreparedBatch) -> Result<f64, PluginError> {
        let mut labels = vec![IGNORED; batch.batch * batch.seq];
        for row in 0..batch.rows {
            let mut draw = Stream::from_key(batch.row_keys[row]).reader();
            let from = row * batch.seq;
            for (i, label) in labels[from..from + batch.seq].iter_mut().enumerate() {
                if !batch.special_tokens_mask[from + i] && draw.uniform() < 0.5 {
                    *label = batch.input_ids[from + i];
                    batch.input_ids[from + i] = batch.vocabulary.mask_id;
                }
            }
        }
        let units = labels.iter().filter(|&&l| l != IGNORED).count();
        batch
            .features
            .insert("labels".into(), Feature::PerToken(labels));
        Ok(units as f64)
    }
    fn build(&mut self, cx: &mut ObjectiveContext<'_>) -> Result<ObjectiveGraph, PluginError> {
        self.nodes(cx)
            .map_err(|e| PluginError::new("words", "build", e))
    }
}

impl Words {
    fn nodes(&self, cx: &mut ObjectiveContext<'_>) -> Result<ObjectiveGraph, GraphError> {
        let width = cx.encoder.hidden().shape()[2];
        let weight = cx.parameter("head.weight", &[VOCABULARY, width], Role::Weight)?;
        let bias = cx.parameter("head.bias", &[VOCABULARY], Role::Bias)?;
        let flat = cx
            .graph
            .reshape(&cx.encoder.hidden().clone(), &[cx.batch * cx.seq, width])?;
        let picked = cx.graph.gather(&flat, &cx.features["labels.positions"])?;
        let logits = cx.graph.linear(&picked, &weight, Some(&bias))?;
        let losses = cx.graph.cross_entropy(
            &logits,
            &cx.features["labels.values"],
            Some(&cx.features["labels.weights"]),
        )?;
        let loss_sum = cx.graph.sum(&losses, &[0], false)?;
        let count = cx.graph.sum(&cx.features["labels.weights"], &[0], false)?;
        Ok(ObjectiveGraph {
            loss_sum,
            metrics: vec![("count".into(), count)],
        })
    }
}

/// Gradient descent with momentum.
pub struct Momentum;

impl Optimizer for Momentum {
    fn name(&self) -> &str {
        "momentum"
    }
    fn slots(&self, parameter: &ParameterSpec) -> Result<Vec<SlotSpec>, PluginError> {
        Ok(vec![SlotSpec {
            name: "velocity".into(),
            shape: parameter.shape.clone(),
            initial: 0.0,
        }])
    }
    fn scalar_names(&self) -> Result<Vec<String>, PluginError> {
        Ok(vec!["learning_rate".into()])
    }
    fn scalars(&self, _: u64, learning_rate: f64) -> Result<Vec<f64>, PluginError> {
        Ok(vec![learning_rate])
    }
    fn update(&mut self, g: &mut Graph, cx: UpdateContext) -> Result<Update, PluginError> {
        let mut nodes = || -> Result<Update, GraphError> {
            let kept = g.mul_scalar(&cx.slots[0], 0.9)?;
            let velocity = g.add(&kept, &cx.gradient)?;
            let change = g.mul(&velocity, &cx.scalars[0])?;
            Ok(Update {
                parameter: g.sub(&cx.parameter, &change)?,
                slots: vec![velocity],
            })
        };
        nodes().map_err(|e| PluginError::new("momentum", "update", e))
    }
}

/// Ends at a step, and counts what it saw in its saved state.
pub struct Until {
    pub steps: u64,
    pub seen: u8,
}

impl StoppingRule for Until {
    fn name(&self) -> &str {
        "until"
    }
    fn observe(&mut self, event: &Event<'_>) -> Result<Decision, PluginError> {
        self.seen += 1;
        Ok(if event.step >= self.steps {
            Decision::Stop {
                reason: format!("{} events", self.seen),
            }
        } else {
            Decision::Continue
        })
    }
    fn save(&self) -> Result<Vec<u8>, PluginError> {
        Ok(vec![self.seen])
    }
    fn load(&mut self, state: &[u8]) -> Result<(), PluginError> {
        self.seen = state[0];
        Ok(())
    }
}

pub fn config(folder: Option<&Path>) -> TrainerConfig {
    TrainerConfig {
        model: model(),
        init: Init::Normal { std: 0.3 },
        initial: States::new(),
        seed: 5,
        packed: false,
        clip_norm: None,
        learning_rate: 0.1,
        evaluate_every: None,
        metrics: folder.map(|f| f.join("metrics.jsonl")),
        checkpoint: CheckpointPolicy {
            path: folder.map(|f| f.join("checkpoint.safetensors")),
            ..CheckpointPolicy::default()
        },
        fingerprint: "test".into(),
    }
}

pub fn parts(source: impl BatchSource + 'static, steps: u64) -> Parts {
    Parts {
        session: ReferenceBackend.session().unwrap(),
        objectives: vec![Box::new(Words)],
        optimizer: Box::new(Momentum),
        schedule: Box::new(schedule::Constant),
        rules: vec![Box::new(Until { steps, seen: 0 })],
        source: Box::new(source),
    }
}

pub fn trainer(config: TrainerConfig, source: impl BatchSource + 'static, steps: u64) -> Trainer {
    Trainer::new(config, parts(source, steps)).unwrap()
}
