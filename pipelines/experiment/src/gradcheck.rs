//! `ablate gradcheck`: the analytic gradient of every parameter against difference quotients.
//!
//! Owns the small copy of a trial that is checked, and the table. Must not know how differences are
//! taken nor how exact they are; that is [`ablate_graph::gradcheck`].
//!
//! The graph is the one that training runs: the recipe's model and objectives, dropout included (its
//! numbers are fixed by the key). Only sizes shrink, as the differences take hundreds of f64 runs, and the
//! report says which.

use std::collections::BTreeMap;
use std::sync::Arc;

use ablate_graph::gradcheck::{check, GradcheckRow, Options};
use ablate_graph::{Graph, RandomKey};
use ablate_recipe::Recipe;
use ablate_train::graphs::{forward, gradient_name, scale_name, ForwardShape};
use ablate_train::window::label;
use ablate_train::{BatchSource, PreparedBatch, VocabularyFacts};

use crate::batches::TrialBatches;
use crate::data::DataSet;
use crate::error::{ExperimentError, Result};
use crate::model;
use crate::objectives::pairs;
use crate::plugins::Plugins;

/// Largest relative error that passes, beyond what the difference quotients' own bounds explain. The
/// constants of the graph are f32, which alone costs 1e-7, and a hundred times that where large terms
/// cancel.
pub const TOLERANCE: f64 = 1e-4;

/// Sizes of the copy that is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shrink {
    /// Rows.
    pub batch: usize,
    /// Tokens a row.
    pub sequence: usize,
    /// Entries of the vocabulary; larger ids are folded into it.
    pub vocabulary: usize,
    /// Layers; None = the recipe's.
    pub layers: Option<usize>,
    /// Width; None = the recipe's. The feed-forward width shrinks along.
    pub hidden: Option<usize>,
    /// Elements tried of each parameter.
    pub samples: usize,
}

impl Default for Shrink {
    fn default() -> Self {
        Shrink {
            batch: 2,
            sequence: 32,
            vocabulary: 512,
            layers: None,
            hidden: None,
            samples: 4,
        }
    }
}

/// One line of the table: a parameter, the layers taken together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Name with `*` for the layer number.
    pub name: String,
    /// Parameters in the group.
    pub parameters: usize,
    /// Elements tried.
    pub checked: usize,
    /// Largest relative error beyond the bounds of the quotients.
    pub error: f64,
    /// Largest bound of a quotient, relative to the gradient: what the check can see.
    pub resolution: f64,
    /// Root mean square of the gradient, the smallest of the group.
    pub gradient: f64,
    /// What the errors say.
    pub verdict: Verdict,
}

/// What the differences say of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Within [`TOLERANCE`].
    Right,
    /// Gradient and quotient are both zero within the quotient's bound, such as those of the key biases:
    /// a constant added to all scores of a row leaves the softmax alone.
    Zero,
    /// Neither.
    Wrong,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct GradcheckReport {
    /// What was made smaller, in words.
    pub shrunk: Vec<String>,
    /// The groups in the order of the model.
    pub groups: Vec<Group>,
}

impl GradcheckReport {
    /// Whether no group is wrong.
    pub fn passed(&self) -> bool {
        self.groups.iter().all(|g| g.verdict != Verdict::Wrong)
    }
}

/// Checks an arm's gradients under a seed.
///
/// # Errors
/// When the copy cannot be built, or a parameter is not reached by the loss.
pub fn run(
    recipe: &Recipe,
    data: &DataSet,
    plugins: &Plugins,
    seed: u64,
    shrink: Shrink,
) -> Result<GradcheckReport> {
    let mut shrunk = Vec::new();
    let mut smaller = |what: &str, from: usize, to: usize| {
        if to < from {
            shrunk.push(format!("{what} {from} -> {to}"));
        }
        to.min(from)
    };
    let mut plan = model::plan(&recipe.model.bert, data)?;
    // Trained weights belong to the full sizes.
    plan.initial.clear();
    let config = &mut plan.config;
    let rows = smaller("batch", recipe.train.batch_size, shrink.batch);
    let seq = smaller("sequence", data.sequence_length, shrink.sequence);
    config.vocab_size = smaller("vocabulary", config.vocab_size, shrink.vocabulary.max(16));
    config.max_position_embeddings = smaller("positions", config.max_position_embeddings, seq);
    if let Some(layers) = shrink.layers {
        config.num_hidden_layers = smaller("layers", config.num_hidden_layers, layers);
    }
    if let Some(hidden) = shrink.hidden {
        let ratio = (config.intermediate_size / config.hidden_size).max(1);
        config.hidden_size = smaller("hidden", config.hidden_size, hidden);
        config.intermediate_size = smaller(
            "intermediate",
            config.intermediate_size,
            config.hidden_size * ratio,
        );
    }
    config.validate()?;

    let mut objectives = plugins.objectives(&recipe.objectives)?;
    let pairs = pairs(&objectives)?;
    let small = DataSet {
        sequence_length: seq,
        evaluation_length: seq,
        ..data.clone()
    };
    let batch = TrialBatches::new(&small, pairs, rows, 1, seed)?
        .next_window()?
        .batches
        .into_iter()
        .next()
        .ok_or_else(|| ExperimentError::Recipe("there is no batch to check".to_owned()))?;
    let batch = fold(batch, config.vocab_size);
    let labelled = label(&mut objectives, batch)?.packed(recipe.train.packed);
    let shape = ForwardShape::of(&labelled, &labelled.predictions());
    let mut built = forward(config, &mut objectives, &shape, true)?;
    let loss = built.weighted_loss(&objectives)?;
    let names: Vec<String> = objectives.iter().map(|o| o.name().to_owned()).collect();
    let mut feeds = labelled.feeds(&names, &shape.capacities);
    for (objective, &units) in objectives.iter().zip(&labelled.units) {
        let scale = if units > 0.0 {
            objective.weight() / units
        } else {
            0.0
        };
        feeds.set(scale_name(objective.name()), vec![scale as f32]);
    }
    let pairs = gradient_outputs(&mut built.graph, &loss)?;
    let double = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect();
    let mut states: BTreeMap<String, Vec<f64>> = built
        .parameters
        .iter()
        .map(|spec| {
            let values = config.initial_values(spec, &plan.init, seed);
            (spec.name.clone(), double(&values))
        })
        .collect();
    let frozen = built.frozen.iter();
    states.extend(frozen.map(|s| (s.name.clone(), double(&s.values))));
    let options = Options {
        samples_per_tensor: shrink.samples,
        ..Options::default()
    };
    let key = RandomKey { seed, step: 0 };
    let rows = check(&built.graph, "loss", &pairs, &states, &feeds, key, options)?;

    Ok(GradcheckReport {
        shrunk,
        groups: group(&rows),
    })
}

fn group(rows: &[GradcheckRow]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for row in rows {
        let name = group_name(&row.parameter);
        let verdict = if row.zero {
            Verdict::Zero
        } else if row.max_relative_error <= TOLERANCE {
            Verdict::Right
        } else {
            Verdict::Wrong
        };
        match groups.iter_mut().find(|g| g.name == name) {
            Some(group) => {
                group.parameters += 1;
                group.checked += row.checked;
                group.error = worse(group.error, row.max_relative_error);
                group.resolution = worse(group.resolution, row.resolution);
                group.gradient = group.gradient.min(row.gradient_rms);
                if verdict == Verdict::Wrong || group.verdict == Verdict::Zero {
                    group.verdict = verdict;
                }
            }
            None => groups.push(Group {
                name,
                parameters: 1,
                checked: row.checked,
                error: row.max_relative_error,
                resolution: row.resolution,
                gradient: row.gradient_rms,
                verdict,
            }),
        }
    }
    groups
}

/// Declares the loss and every parameter's gradient as outputs; returns (parameter, output) names.
fn gradient_outputs(
    graph: &mut Graph,
    loss: &ablate_graph::Tensor,
) -> Result<Vec<(String, String)>> {
    graph.output("loss", loss)?;
    let parameters = graph.parameters().to_vec();
    let tensors: Vec<_> = parameters.iter().map(|(_, t)| t.clone()).collect();
    let gradients = graph.gradients(loss, &tensors)?;
    let mut pairs = Vec::new();
    for ((name, _), gradient) in parameters.iter().zip(&gradients) {
        let output = gradient_name(name);
        graph.output(&output, gradient)?;
        pairs.push((name.clone(), output));
    }
    Ok(pairs)
}

/// Folds ids into a smaller vocabulary; special ids, which come first, stay.
fn fold(mut batch: PreparedBatch, vocabulary: usize) -> PreparedBatch {
    let facts = &batch.vocabulary;
    let keep = facts
        .special_ids
        .iter()
        .max()
        .map_or(0, |&m| m + 1)
        .min(vocabulary as i64 / 2);
    let size = vocabulary as i64;
    let small = |id: i64| {
        if id < size {
            id
        } else {
            keep + (id - keep) % (size - keep)
        }
    };
    for id in &mut batch.input_ids {
        *id = small(*id);
    }
    batch.vocabulary = Arc::new(VocabularyFacts {
        size: vocabulary.min(facts.size),
        special_ids: facts
            .special_ids
            .iter()
            .copied()
            .filter(|&id| id < size)
            .collect(),
        continuation: facts
            .continuation
            .iter()
            .copied()
            .take(vocabulary)
            .collect(),
        ..(**facts).clone()
    });
    batch
}

fn group_name(parameter: &str) -> String {
    parameter
        .split('.')
        .map(|part| {
            if part.bytes().all(|b| b.is_ascii_digit()) {
                "*"
            } else {
                part
            }
        })
        .collect::<Vec<_>>()
        .join(".")
}

fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_fall_into_one_group() {
        assert_eq!(
            group_name("bert.encoder.layer.11.attention.self.query.weight"),
            "bert.encoder.layer.*.attention.self.query.weight"
        );
        assert_eq!(group_name("cls.predictions.bias"), "cls.predictions.bias");
    }

    fn row(parameter: &str, error: f64, zero: bool) -> GradcheckRow {
        GradcheckRow {
            parameter: parameter.to_owned(),
            elements: 1,
            checked: 1,
            max_relative_error: error,
            resolution: 1e-8,
            zero,
            max_absolute_error: error,
            gradient_rms: 1.0,
            worst: 0,
            analytic: 1.0,
            numeric: 1.0,
        }
    }

    #[test]
    fn only_what_is_beyond_the_bounds_is_wrong() {
        let verdict = |r: GradcheckRow| group(&[r])[0].verdict;
        assert_eq!(verdict(row("a", 0.0, false)), Verdict::Right);
        assert_eq!(verdict(row("a", 9e-5, false)), Verdict::Right);
        assert_eq!(verdict(row("a", 0.0, true)), Verdict::Zero);
        assert_eq!(verdict(row("a", 2e-4, false)), Verdict::Wrong);
        // The gradient says nothing, the quotient does: an untrained parameter.
        assert_eq!(verdict(row("a", 1.0, false)), Verdict::Wrong);
        assert_eq!(verdict(row("a", f64::NAN, false)), Verdict::Wrong);
    }

    #[test]
    fn one_wrong_layer_spoils_its_group() {
        let groups = group(&[
            row("l.0.b", 0.0, true),
            row("l.1.b", 1.0, false),
            row("l.2.b", 1e-8, false),
        ]);
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].verdict, Verdict::Wrong);
    }
}
