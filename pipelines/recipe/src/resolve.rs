//! From a tree to a recipe.
//!
//! Owns the order of the steps: schema, rules between keys, typed value. Must not know where the
//! tree came from.

use std::path::PathBuf;

use serde_json::Value;

use crate::{
    catalog::{Catalog, Kind},
    checks::{own_config, Checks},
    diagnostic::Severity,
    files::Finder,
    reader::read,
    recipe::Recipe,
    tree::{Node, Problem},
};

/// What is the same for the baseline and every arm.
pub(crate) struct Resolver<'a> {
    pub schema: &'a Value,
    pub catalog: &'a Catalog,
    pub finder: &'a Finder,
    /// Cards in which a mistake was found.
    pub wrong_cards: &'a [PathBuf],
}

impl Resolver<'_> {
    /// Reads, completes and checks a tree. None when there was an error.
    pub fn resolve(&self, tree: &Node, problems: &mut Vec<Problem>) -> Option<Recipe> {
        let before = problems.len();
        let mut value = read(tree, self.schema, "recipe", problems)?;
        Checks {
            tree,
            finder: self.finder,
            catalog: self.catalog,
            wrong_cards: self.wrong_cards,
            problems,
        }
        .run(&mut value);
        if problems[before..]
            .iter()
            .any(|p| p.severity == Severity::Error)
        {
            return None;
        }
        match serde_json::from_value::<Recipe>(value) {
            Ok(mut recipe) => {
                keep_own_configs(&mut recipe, self.catalog);
                Some(recipe)
            }
            Err(error) => {
                // The schema and the structs are held together by a test; this is for the day they
                // part all the same.
                problems.push(Problem::error(
                    tree.span,
                    "",
                    format!("the recipe passed every check but cannot be used: {error}"),
                ));
                None
            }
        }
    }
}

/// Takes the host's keys out of the configs, where the components do not declare them too.
pub(crate) fn keep_own_configs(recipe: &mut Recipe, catalog: &Catalog) {
    for one in &mut recipe.objectives {
        one.config = own_config(catalog, Kind::Objective, &one.name, &one.config);
    }
    let one = &mut recipe.optimizer;
    one.config = own_config(catalog, Kind::Optimizer, &one.name, &one.config);
}
