//! `ablate batches`: the exact batches that training sees.
//!
//! Owns the tensors' names and shapes and the text form. Must not know the trainer's loop beyond its
//! windows: it takes them from the same source and labels them by the same hooks.

use std::collections::BTreeSet;
use std::path::Path;

use ablate_datasets::Tokenizer;
use ablate_recipe::Recipe;
use ablate_train::files::write_bytes;
use ablate_train::window::{label_window, LabelledWindow};
use ablate_train::{BatchSource, Feature, PreparedBatch, IGNORED};
use safetensors::tensor::{Dtype, TensorView};

use crate::batches::TrialBatches;
use crate::data::DataSet;
use crate::error::{ExperimentError, Result};
use crate::objectives::pairs;
use crate::plugins::Plugins;

/// The windows of the first steps.
pub struct StepBatches {
    /// Steps, in order.
    pub windows: Vec<LabelledWindow>,
    /// Names of the objectives.
    objectives: Vec<String>,
    /// Features of each objective whose labels are token ids.
    tokens: Vec<BTreeSet<String>>,
    /// Rows of a step: batch size times accumulation.
    rows: usize,
    seq: usize,
}

/// Takes the windows of the first `steps` steps of an arm under a seed.
///
/// # Errors
/// When the data or a plugin fails.
pub fn collect(
    recipe: &Recipe,
    data: &DataSet,
    plugins: &Plugins,
    seed: u64,
    steps: usize,
) -> Result<StepBatches> {
    let mut objectives = plugins.objectives(&recipe.objectives)?;
    let pairs = pairs(&objectives)?;
    let train = &recipe.train;
    let mut source = TrialBatches::new(data, pairs, train.batch_size, train.accumulate, seed)?;
    let windows = (0..steps)
        .map(|_| Ok(label_window(&mut objectives, source.next_window()?)?))
        .collect::<Result<Vec<_>>>()?;
    let written = windows.first().and_then(|w| w.batches.first());
    let tokens = objectives
        .iter()
        .zip(written.iter().flat_map(|b| &b.features))
        .map(|(o, features)| {
            let names = features.keys().filter(|name| o.predicts_tokens(name));
            names.cloned().collect()
        })
        .collect();
    Ok(StepBatches {
        tokens,
        windows,
        objectives: objectives.iter().map(|o| o.name().to_owned()).collect(),
        rows: train.batch_size * train.accumulate,
        seq: data.sequence_length,
    })
}

/// One tensor of all steps.
struct Stacked {
    name: String,
    shape: Vec<usize>,
    values: Vec<i64>,
}

impl StepBatches {
    /// Writes int64 tensors stacked over the steps: `input_ids`, `token_type_ids`, `attention_mask`
    /// and `labels` `[steps, batch, seq]`, `next_sentence_label` or `segment_order_label` `[steps, batch]` when rows are
    /// pairs.
    ///
    /// `batch` counts all micro-batches of a step; the missing rows of a partial window are padding
    /// with labels -100. `labels` are those of the first objective that writes per-token labels; other
    /// features are called `<objective>.<feature>`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let stacked = self.stacked();
        let bytes: Vec<Vec<u8>> = stacked
            .iter()
            .map(|t| t.values.iter().flat_map(|v| v.to_le_bytes()).collect())
            .collect();
        let record = |detail: String| ExperimentError::Record {
            path: path.to_owned(),
            detail,
        };
        let mut views = Vec::new();
        for (tensor, bytes) in stacked.iter().zip(&bytes) {
            let view = TensorView::new(Dtype::I64, tensor.shape.clone(), bytes)
                .map_err(|e| record(e.to_string()))?;
            views.push((tensor.name.as_str(), view));
        }
        let file = safetensors::serialize(views, None).map_err(|e| record(e.to_string()))?;
        write_bytes(path, &file)?;
        Ok(())
    }

    fn stacked(&self) -> Vec<Stacked> {
        let steps = self.windows.len();
        let cells = self.rows * self.seq;
        let token = |name: &str, fill: i64, of: &dyn Fn(&LabelledWindow) -> Vec<i64>| {
            stack(
                name,
                &self.windows,
                vec![steps, self.rows, self.seq],
                cells,
                fill,
                of,
            )
        };
        let mut tensors = vec![
            token("input_ids", self.pad(), &|w| {
                join(w, |b| &b.batch.input_ids)
            }),
            token("token_type_ids", 0, &|w| {
                join(w, |b| &b.batch.token_type_ids)
            }),
            token("attention_mask", 0, &|w| {
                join(w, |b| &b.batch.attention_mask)
            }),
        ];
        let first = self.windows.first().and_then(|w| w.batches.first());
        let mut labels_named = false;
        for (i, features) in first.iter().flat_map(|b| b.features.iter().enumerate()) {
            for (name, feature) in features {
                let of = |w: &LabelledWindow| -> Vec<i64> {
                    w.batches
                        .iter()
                        .flat_map(|b| match b.features[i].get(name) {
                            Some(Feature::PerToken(v) | Feature::PerSequence(v)) => v.clone(),
                            None => Vec::new(),
                        })
                        .collect()
                };
                let pair_labels = [
                    first.and_then(|b| b.batch.next_sentence_label.as_ref()),
                    first.and_then(|b| b.batch.segment_order_label.as_ref()),
                ];
                if matches!(feature, Feature::PerSequence(v) if pair_labels.contains(&Some(v))) {
                    // The same numbers as those of the rows below.
                    continue;
                }
                let long = format!("{}.{name}", self.objectives[i]);
                tensors.push(match feature {
                    Feature::PerToken(_) => {
                        let name = if labels_named { long } else { "labels".into() };
                        labels_named = true;
                        token(&name, IGNORED, &of)
                    }
                    Feature::PerSequence(_) => {
                        let shape = vec![steps, self.rows];
                        stack(&long, &self.windows, shape, self.rows, IGNORED, &of)
                    }
                });
            }
        }
        type Labels = fn(&PreparedBatch) -> &Option<Vec<i64>>;
        let pair_labels: [(&str, Labels); 2] = [
            ("next_sentence_label", |b| &b.next_sentence_label),
            ("segment_order_label", |b| &b.segment_order_label),
        ];
        for (name, labels) in pair_labels {
            if first.is_none_or(|b| labels(&b.batch).is_none()) {
                continue;
            }
            let of = |w: &LabelledWindow| -> Vec<i64> {
                let batches = w.batches.iter();
                batches
                    .flat_map(|b| labels(&b.batch).clone().unwrap_or_default())
                    .collect()
            };
            let shape = vec![steps, self.rows];
            tensors.push(stack(name, &self.windows, shape, self.rows, IGNORED, &of));
        }
        tensors
    }

    fn pad(&self) -> i64 {
        self.windows
            .first()
            .and_then(|w| w.batches.first())
            .map_or(0, |b| b.batch.vocabulary.pad_id)
    }

    /// The first `count` rows as words: what the model reads and, behind it, what it is to predict.
    pub fn show(&self, tokenizer: &Tokenizer, count: usize) -> String {
        let mut text = String::new();
        let mut shown = 0;
        for (step, window) in self.windows.iter().enumerate() {
            for labelled in &window.batches {
                for row in 0..labelled.batch.rows {
                    if shown == count {
                        return text;
                    }
                    shown += 1;
                    self.show_row(&mut text, tokenizer, step + 1, labelled, row);
                }
            }
        }
        text
    }

    fn show_row(
        &self,
        text: &mut String,
        tokenizer: &Tokenizer,
        step: usize,
        labelled: &ablate_train::window::Labelled,
        row: usize,
    ) {
        let batch = &labelled.batch;
        let piece = |id: i64| {
            u32::try_from(id)
                .ok()
                .and_then(|id| tokenizer.piece(id))
                .unwrap_or("?")
                .to_owned()
        };
        let cells = row * batch.seq..(row + 1) * batch.seq;
        text.push_str(&format!(
            "step {step}, row {}, example {}\n",
            row + 1,
            batch.example_ids[row]
        ));
        let words: Vec<String> = cells
            .clone()
            .filter(|&i| batch.attention_mask[i] == 1)
            .map(|i| piece(batch.input_ids[i]))
            .collect();
        text.push_str(&format!("  reads: {}\n", words.join(" ")));
        let named = self.objectives.iter().zip(&self.tokens);
        for ((name, tokens), features) in named.zip(&labelled.features) {
            for (feature, values) in features {
                match values {
                    Feature::PerToken(labels) if !tokens.contains(feature) => {
                        let other: Vec<String> = cells
                            .clone()
                            .filter(|&i| labels[i] != IGNORED && labels[i] != 0)
                            .map(|i| {
                                let (at, read) = (i - cells.start, piece(batch.input_ids[i]));
                                format!("{at}: {read} = {}", labels[i])
                            })
                            .collect();
                        let (all, labels) = (other.join(", "), &labels[cells.clone()]);
                        let zeros = labels.iter().filter(|l| **l == 0).count();
                        text.push_str(&format!("  {name} {feature}: {all}; 0 for {zeros} more\n"));
                    }
                    Feature::PerToken(labels) => {
                        let wanted: Vec<String> = cells
                            .clone()
                            .filter(|&i| labels[i] != IGNORED)
                            .map(|i| {
                                let at = i - cells.start;
                                format!(
                                    "{at}: {} -> {}",
                                    piece(batch.input_ids[i]),
                                    piece(labels[i])
                                )
                            })
                            .collect();
                        text.push_str(&format!("  {name} {feature}: {}\n", wanted.join(", ")));
                    }
                    Feature::PerSequence(labels) => {
                        text.push_str(&format!("  {name} {feature}: {}\n", labels[row]));
                    }
                }
            }
        }
        if let Some(labels) = &batch.next_sentence_label {
            let meaning = match labels[row] {
                0 => "the second segment follows the first",
                1 => "the second segment is a random one",
                _ => "no pair",
            };
            text.push_str(&format!("  next sentence: {} ({meaning})\n", labels[row]));
        }
        if let Some(labels) = &batch.segment_order_label {
            let meaning = match labels[row] {
                0 => "the segments are in order",
                1 => "the segments are swapped",
                _ => "no pair",
            };
            text.push_str(&format!("  segment order: {} ({meaning})\n", labels[row]));
        }
        text.push('\n');
    }
}

fn join(
    window: &LabelledWindow,
    field: impl Fn(&ablate_train::window::Labelled) -> &Vec<i64>,
) -> Vec<i64> {
    window
        .batches
        .iter()
        .flat_map(|b| field(b).iter().copied())
        .collect()
}

fn stack(
    name: &str,
    windows: &[LabelledWindow],
    shape: Vec<usize>,
    cells: usize,
    fill: i64,
    of: &dyn Fn(&LabelledWindow) -> Vec<i64>,
) -> Stacked {
    let mut values = Vec::with_capacity(windows.len() * cells);
    for window in windows {
        let mut step = of(window);
        step.resize(cells, fill);
        values.append(&mut step);
    }
    Stacked {
        name: name.to_owned(),
        shape,
        values,
    }
}
