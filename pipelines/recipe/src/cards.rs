//! Dataset cards that a recipe names: their keys are checked with the recipe's own, each mistake at its
//! place in the card.
//!
//! Owns which cards are looked at. Must not know what a card may say; that is a schema of the catalog.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{
    files::Finder,
    normal::normalise,
    parse::{parse, Origin},
    reader::read,
    recipe::is_card,
    tree::{Content, Node, Problem, Sources},
};

/// Key that names a card.
const KEY: &str = "data.source";

/// Checks every card of the baseline and of the interventions against the schema; gives those in which
/// something is wrong. A card that is missing or cannot be read as text is left to other checks.
pub(crate) fn check(
    tree: &Node,
    finder: &Finder,
    schema: &Value,
    sources: &mut Sources,
    problems: &mut Vec<Problem>,
) -> Vec<PathBuf> {
    let schema = normalise(schema);
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut wrong = Vec::new();
    for written in named(tree) {
        let Ok(path) = finder.path(written) else {
            continue;
        };
        if !is_card(&path) || seen.contains(&path) {
            continue;
        }
        seen.push(path.clone());
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let source = sources.add(path.display().to_string(), text.clone());
        let mut found = Vec::new();
        if let Some(card) = parse(&text, Origin { source, column: 0 }, &mut found) {
            read(&card, &schema, "card", &mut found);
        }
        if !found.is_empty() {
            wrong.push(path);
        }
        problems.extend(found.into_iter().map(|problem| Problem {
            path: KEY.to_owned(),
            ..problem
        }));
    }
    wrong
}

/// What stands where a card may be named.
fn named(tree: &Node) -> Vec<&str> {
    let groups = ["experiment.data", "experiment.model"];
    let interventions = groups.iter().filter_map(|group| tree.find(group));
    let overrides = interventions
        .flat_map(|group| group.entries())
        .flat_map(|intervention| intervention.value.entries())
        .filter(|change| change.key == KEY)
        .map(|change| &change.value);
    tree.find(KEY)
        .into_iter()
        .chain(overrides)
        .filter_map(|node| match &node.content {
            Content::Text(path) if is_card(Path::new(path)) => Some(path.as_str()),
            _ => None,
        })
        .collect()
}
