//! What the objectives of a recipe ask of its rows, of the rest of the recipe, and of each other.
//!
//! Owns the layout of rows that they need, what held-out batches ask an arm, and whether they can work
//! in a recipe at all. Must not know how objectives are made or what they compute.

use ablate_bert::BertConfig;
use ablate_datasets::{Pairs, Tokenizer};
use ablate_host::Registry;
use ablate_recipe::Together;
use ablate_train::{Objective, Setup};

use crate::batches::Yardstick;
use crate::data::DataSet;
use crate::error::{ExperimentError, Result};

/// The layout of rows that objectives ask for.
///
/// # Errors
/// When two of them ask for different ones.
pub fn pairs(objectives: &[Box<dyn Objective>]) -> Result<Pairs> {
    let all: Vec<&dyn Objective> = objectives.iter().map(|o| &**o).collect();
    layout(&all).map_err(|(_, message)| ExperimentError::Recipe(message))
}

/// The layout, or which objective contradicts another and how.
fn layout(objectives: &[&dyn Objective]) -> std::result::Result<Pairs, (usize, String)> {
    let next = objectives.iter().position(|o| o.needs_pairs());
    let order = objectives.iter().position(|o| o.needs_ordered_pairs());
    match (next, order) {
        (None, None) => Ok(Pairs::None),
        (Some(_), None) => Ok(Pairs::NextSentence),
        (None, Some(_)) => Ok(Pairs::SentenceOrder),
        (Some(next), Some(order)) => {
            let (n, o) = (objectives[next].name(), objectives[order].name());
            let message = format!(
                "`{n}` and `{o}` cannot train together: `{n}` needs rows whose second segment is the \
                 next or a random one, `{o}` needs rows of two successive segments, in order or swapped; \
                 keep one of them"
            );
            Err((next.max(order), message))
        }
    }
}

/// What held-out batches ask an arm with these objectives.
pub(crate) fn yardstick(
    arm: &[Box<dyn Objective>],
    baseline: &[Box<dyn Objective>],
) -> Result<Yardstick> {
    let known = |name: &&str| baseline.iter().any(|b| b.name() == *name);
    let names = arm.iter().map(|o| o.name());
    let shared: Vec<String> = names.filter(known).map(str::to_owned).collect();
    Ok(Yardstick {
        pairs: pairs(baseline)?,
        others: shared.len() < arm.len(),
        shared: shared.into(),
    })
}

/// Lets every objective look at the model and the vocabulary of its trial.
///
/// # Errors
/// What the first of them refuses.
pub(crate) fn check(
    objectives: &[Box<dyn Objective>],
    model: &BertConfig,
    data: &DataSet,
) -> Result<()> {
    let names: Vec<String> = objectives.iter().map(|o| o.name().to_owned()).collect();
    let vocabulary = tokens(&data.tokenizer);
    for (index, objective) in objectives.iter().enumerate() {
        objective.check(&Setup {
            objectives: &names,
            index,
            hidden_dropout: model.hidden_dropout_prob,
            attention_dropout: model.attention_probs_dropout_prob,
            sequence_length: data.sequence_length,
            vocabulary: Some(&vocabulary),
        })?;
    }
    Ok(())
}

fn tokens(tokenizer: &Tokenizer) -> Vec<String> {
    // Ids are whole numbers below the size, which a tokenizer keeps far below u32::MAX.
    (0..tokenizer.facts().size as u32)
        .map(|id| tokenizer.piece(id).unwrap_or_default().to_owned())
        .collect()
}

/// What is wrong with the objectives of a recipe, each with the place of the objective that says so.
/// Plugins that are not in this process are asked when their trial begins.
pub(crate) fn problems(registry: &Registry, recipe: &Together<'_>) -> Vec<(usize, String)> {
    let made: Vec<Option<_>> = recipe
        .objectives
        .iter()
        // What cannot be made has been reported with the component itself.
        .map(|(name, config)| registry.make_objective(name, config).ok())
        .collect();
    let (places, known): (Vec<usize>, Vec<&dyn Objective>) = made
        .iter()
        .enumerate()
        .filter_map(|(i, o)| Some((i, o.as_ref()? as &dyn Objective)))
        .unzip();
    let mut problems = Vec::new();
    if let Err((at, message)) = layout(&known) {
        problems.push((places[at], message));
    }
    let names: Vec<String> = recipe
        .objectives
        .iter()
        .map(|(n, _)| (*n).to_owned())
        .collect();
    // A file that cannot be read is the tokenizer's own mistake, told where it is named.
    let vocabulary = recipe
        .tokenizer
        .and_then(|file| Some(tokens(&Tokenizer::load(file).ok()?)));
    if recipe.tokenizer.is_some() && vocabulary.is_none() {
        return problems;
    }
    for (index, objective) in places.into_iter().zip(known) {
        let checked = objective.check(&Setup {
            objectives: &names,
            index,
            hidden_dropout: recipe.hidden_dropout,
            attention_dropout: recipe.attention_dropout,
            sequence_length: recipe.sequence_length,
            vocabulary: vocabulary.as_deref(),
        });
        if let Err(error) = checked {
            problems.push((index, error.message));
        }
    }
    problems
}
