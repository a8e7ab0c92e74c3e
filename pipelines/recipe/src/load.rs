//! From a file and `--set` arguments to a recipe and its arms, or to every mistake in them.
//!
//! Owns reading the file and the order in which its parts are looked at. Must not know any key of a
//! recipe but `plugins`, which must be read before the rest can be checked.

use std::path::Path;

use serde_json::Value;

use crate::{
    arms::Arm,
    cards,
    catalog::Catalog,
    diagnostic::{Diagnostics, Severity},
    files::{near, Finder},
    interventions::arms,
    overrides::Override,
    parse::{parse, Origin},
    recipe::{Pinned, PluginPath, Recipe},
    resolve::Resolver,
    schema::schema,
    tree::{Content, Node, Problem, Sources, Span},
};

/// A recipe that can be run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The baseline's recipe.
    pub recipe: Recipe,
    /// Every arm with its own recipe, the baseline first.
    pub arms: Vec<Arm>,
    /// What is allowed but probably not meant.
    pub warnings: Diagnostics,
    /// The file as it was read.
    pub text: String,
}

/// Reads a recipe, applies `--set PATH=VALUE` arguments in order, and resolves every arm.
///
/// # Errors
/// Every mistake that was found in the file, the arguments and the interventions.
pub fn load(path: &Path, sets: &[String], catalog: &Catalog) -> Result<Loaded, Diagnostics> {
    load_with(path, sets, |_| (catalog.clone(), Vec::new()))
}

/// As [`load`], for a catalog that depends on the plugins which the recipe itself names.
///
/// `resolve` gets the entries of `plugins` whose paths exist, and gives the catalog and what was wrong
/// with them, as index and message; that is reported where the path stands.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    path: &Path,
    sets: &[String],
    resolve: impl FnOnce(&[PluginPath]) -> (Catalog, Vec<(usize, String)>),
) -> Result<Loaded, Diagnostics> {
    let mut sources = Sources::default();
    let mut problems = Vec::new();
    let text = match read_text(path) {
        Ok(text) => text,
        Err(Unread { text, problem }) => {
            sources.add(path.display().to_string(), text);
            return Err(finish(&sources, vec![*problem]));
        }
    };
    let source = sources.add(path.display().to_string(), text.clone());
    let origin = Origin { source, column: 0 };
    let root = parse(&text, origin, &mut problems);
    let overrides: Vec<Override> = sets
        .iter()
        .filter_map(|set| Override::from_set(set, &mut sources, &mut problems))
        .collect();
    let Some(mut tree) = whole(root, source, &mut problems) else {
        return Err(finish(&sources, problems));
    };

    let finder = Finder::of(path);
    let named = plugins(&tree, &overrides, &finder);
    let paths: Vec<PluginPath> = named.iter().map(|(path, _)| path.clone()).collect();
    let (catalog, wrong) = resolve(&paths);
    for (index, message) in wrong {
        if let Some((path, span)) = named.get(index) {
            let message = format!(
                "the plugin `{}` cannot be used: {message}",
                path.path().display()
            );
            problems.push(
                Problem::error(*span, "plugins", message)
                    .help("remove it from `plugins`, or build it for this version of Ablate"),
            );
        }
    }

    let schema = schema(&catalog);
    for change in &overrides {
        change.apply(&mut tree, &schema, "`--set` changes", &mut problems);
    }
    let wrong_cards = match &catalog.card {
        Some(schema) => cards::check(&tree, &finder, schema, &mut sources, &mut problems),
        None => Vec::new(),
    };
    let resolver = Resolver {
        schema: &schema,
        catalog: &catalog,
        finder: &finder,
        wrong_cards: &wrong_cards,
    };
    let recipe = resolver.resolve(&tree, &mut problems);
    let arms = arms(&resolver, &tree, recipe.as_ref(), &mut problems);
    let diagnostics = finish(&sources, problems);
    match recipe {
        Some(recipe) if diagnostics.errors() == 0 => Ok(Loaded {
            recipe,
            arms,
            warnings: diagnostics,
            text,
        }),
        _ => Err(diagnostics),
    }
}

/// A file that could not be read as text.
struct Unread {
    text: String,
    problem: Box<Problem>,
}

fn read_text(path: &Path) -> Result<String, Unread> {
    let bytes = std::fs::read(path).map_err(|error| {
        let (message, help) = match error.kind() {
            std::io::ErrorKind::NotFound => (
                "the recipe does not exist".to_owned(),
                near(path).map(|near| format!("did you mean `{}`?", near.display())),
            ),
            _ => (format!("the recipe cannot be read: {error}"), None),
        };
        Unread {
            text: String::new(),
            problem: Box::new(Problem {
                severity: Severity::Error,
                span: None,
                path: String::new(),
                message,
                help,
                related: Vec::new(),
            }),
        }
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let before = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        let span = Span {
            source: 0,
            line,
            column,
            width: 1,
        };
        Unread {
            text,
            problem: Box::new(
                Problem::error(span, "", "the recipe is not UTF-8 text")
                    .help("save the file as UTF-8"),
            ),
        }
    })
}

/// The document, if it is a map.
fn whole(root: Option<Node>, source: usize, problems: &mut Vec<Problem>) -> Option<Node> {
    let help = "a recipe begins with `pipeline: NAME`; `ablate schema` lists the keys";
    match root {
        Some(node) if matches!(node.content, Content::Map(_)) => Some(node),
        Some(node) if node.content != Content::Null => {
            let message = format!("a recipe must be a map of keys, found {}", node.describe());
            problems.push(Problem::error(node.span, "", message).help(help));
            None
        }
        _ => {
            if problems.is_empty() {
                let span = Span {
                    source,
                    line: 1,
                    column: 1,
                    width: 1,
                };
                problems.push(Problem::error(span, "", "the recipe is empty").help(help));
            }
            None
        }
    }
}

/// The entries of `plugins` whose paths exist, each with its place.
fn plugins(tree: &Node, overrides: &[Override], finder: &Finder) -> Vec<(PluginPath, Span)> {
    let mut tree = tree.clone();
    let schema: Value = schema(&Catalog::default());
    // Mistakes are found again, and reported, when everything is applied.
    let mut ignored = Vec::new();
    for change in overrides.iter().filter(|o| o.path == "plugins") {
        change.apply(&mut tree, &schema, "`--set` changes", &mut ignored);
    }
    let Some(list) = tree.find("plugins") else {
        return Vec::new();
    };
    list.items()
        .iter()
        .filter_map(|item| match &item.content {
            Content::Text(path) => Some((finder.path(path).ok()?.into(), item.span)),
            Content::Map(_) => {
                let text = |key| match &item.find(key)?.content {
                    Content::Text(text) => Some(text),
                    _ => None,
                };
                let pinned = Pinned {
                    path: finder.path(text("path")?).ok()?,
                    sha256: text("sha256")?.clone(),
                };
                Some((PluginPath::Pinned(pinned), item.span))
            }
            _ => None,
        })
        .collect()
}

/// Orders problems by place and drops repetitions.
fn finish(sources: &Sources, mut problems: Vec<Problem>) -> Diagnostics {
    problems.sort_by_key(|p| p.span);
    let mut items = Vec::new();
    for problem in problems {
        let item = sources.diagnostic(problem);
        if !items.contains(&item) {
            items.push(item);
        }
    }
    Diagnostics { items }
}
