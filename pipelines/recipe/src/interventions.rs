//! The experiment's interventions: each arm's recipe, and mistakes shown at the intervention that
//! made them.
//!
//! Owns which problem belongs to which intervention, and the warnings about comparisons that would
//! not be fair. Must not know the rules that find the problems.

use std::collections::HashSet;

use crate::{
    arms::{plan, Arm, BASELINE},
    overrides::Override,
    recipe::Recipe,
    resolve::Resolver,
    tree::{Node, Problem, Span},
    words::list,
};

/// Keys that all arms share, so that no intervention may change them.
const SHARED: [&str; 7] = [
    "pipeline",
    "seeds",
    "device",
    "precision",
    "plugins",
    "experiment",
    "report",
];
/// Keys that say how much an arm may train.
const BUDGET: [&str; 2] = ["train", "stop"];

/// One intervention of the file.
struct Intervention {
    group: &'static str,
    name: String,
    span: Span,
    overrides: Vec<Override>,
    /// Whether every override could be applied.
    whole: bool,
}

/// What tells two problems of different arms apart.
type Mark = (String, String);

fn mark(problem: &Problem) -> Mark {
    (problem.path.clone(), problem.message.clone())
}

/// Resolves every arm. The baseline and its problems come in; what goes wrong only in an arm is
/// added to the problems.
pub(crate) fn arms(
    resolver: &Resolver,
    tree: &Node,
    baseline: Option<&Recipe>,
    problems: &mut Vec<Problem>,
) -> Vec<Arm> {
    let known: HashSet<Mark> = problems.iter().map(mark).collect();
    let interventions = collect(resolver, tree, problems);
    check_names(&interventions, problems);

    let mut single: Vec<(Option<Recipe>, HashSet<Mark>)> = Vec::new();
    for one in &interventions {
        let (recipe, found) = resolve(resolver, tree, &[one]);
        let fresh: Vec<Problem> = found
            .into_iter()
            .filter(|p| !known.contains(&mark(p)))
            .collect();
        single.push((recipe, fresh.iter().map(mark).collect()));
        problems.extend(fresh.into_iter().map(|p| blame(p, &[one])));
    }
    let Some(baseline) = baseline else {
        return Vec::new();
    };
    if baseline.seeds.len() == 1 && !interventions.is_empty() {
        problems.push(
            Problem::warning(
                tree.locate("seeds"),
                "seeds",
                "with one seed a difference between arms cannot be told from chance",
            )
            .help("give three or more seeds"),
        );
    }
    for (one, (recipe, _)) in interventions.iter().zip(&single) {
        if let (Some(recipe), true) = (recipe, one.whole) {
            compare(one, baseline, recipe, problems);
        }
    }

    let mut arms = Vec::new();
    for plan in plan(&baseline.experiment) {
        let at = |group: &str, name: &Option<String>| {
            let name = name.as_ref()?;
            interventions
                .iter()
                .position(|i| i.group == group && i.name == *name)
        };
        let recipe = match (at("data", &plan.data), at("model", &plan.model)) {
            (None, None) => Some(baseline.clone()),
            (Some(i), None) | (None, Some(i)) => single[i].0.clone(),
            (Some(d), Some(m)) => {
                let pair = [&interventions[d], &interventions[m]];
                if single[d].0.is_none() || single[m].0.is_none() {
                    continue;
                }
                let (recipe, found) = resolve(resolver, tree, &pair);
                let fresh = found.into_iter().filter(|p| {
                    let mark = mark(p);
                    !known.contains(&mark)
                        && !single[d].1.contains(&mark)
                        && !single[m].1.contains(&mark)
                });
                problems.extend(fresh.map(|p| blame(p, &pair)));
                recipe
            }
        };
        if let Some(recipe) = recipe {
            arms.push(Arm {
                name: plan.name,
                kind: plan.kind,
                data: plan.data,
                model: plan.model,
                recipe,
            });
        }
    }
    arms
}

/// The interventions of the tree with the overrides that can be applied.
fn collect(resolver: &Resolver, tree: &Node, problems: &mut Vec<Problem>) -> Vec<Intervention> {
    let mut all = Vec::new();
    for group in ["data", "model"] {
        let path = format!("experiment.{group}");
        let Some(map) = tree.find(&path) else {
            continue;
        };
        for entry in map.entries() {
            let mut overrides: Vec<Override> = entry
                .value
                .entries()
                .iter()
                .map(Override::from_entry)
                .collect();
            overrides.sort_by_key(|o| o.rank(resolver.schema));
            let written = overrides.len();
            overrides.retain(|o| applies(resolver, tree, &entry.key, o, problems));
            warn_about(&entry.key, group, &overrides, problems);
            all.push(Intervention {
                group,
                name: entry.key.clone(),
                span: entry.key_span,
                whole: overrides.len() == written,
                overrides,
            });
        }
    }
    all
}

/// Whether an override can be applied; says why not.
fn applies(
    resolver: &Resolver,
    tree: &Node,
    name: &str,
    change: &Override,
    problems: &mut Vec<Problem>,
) -> bool {
    let root = root(&change.path);
    if SHARED.contains(&root) {
        problems.push(
            Problem::error(
                change.span,
                change.path.clone(),
                format!("the intervention `{name}` cannot change `{root}`"),
            )
            .help(format!("all arms share {}", list(SHARED))),
        );
        return false;
    }
    let before = problems.len();
    let who = format!("the intervention `{name}` changes");
    change.apply(&mut tree.clone(), resolver.schema, &who, problems);
    problems.len() == before
}

fn root(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

fn warn_about(name: &str, group: &str, overrides: &[Override], problems: &mut Vec<Problem>) {
    let other = if group == "data" { "model" } else { "data" };
    for change in overrides {
        let root = root(&change.path);
        let message = if root == other {
            format!("`{name}` is listed as a {group} intervention but changes the {other}")
        } else if BUDGET.contains(&root) {
            format!("`{name}` changes `{root}`, so its arm has another budget than the baseline")
        } else {
            continue;
        };
        let help = if root == other {
            format!("move it to experiment.{other}, or its effect is credited to the {group}")
        } else {
            "compare arms at the same number of steps and examples".to_owned()
        };
        problems.push(Problem::warning(change.span, change.path.clone(), message).help(help));
    }
}

fn check_names(all: &[Intervention], problems: &mut Vec<Problem>) {
    for (i, one) in all.iter().enumerate() {
        let path = format!("experiment.{}.{}", one.group, one.name);
        if one.name.eq_ignore_ascii_case(BASELINE) {
            problems.push(
                Problem::error(
                    one.span,
                    path,
                    format!("`{BASELINE}` is the arm without interventions"),
                )
                .help("choose another name"),
            );
            continue;
        }
        // Names become folders, and some file systems do not tell case apart.
        let same = all[..i]
            .iter()
            .find(|other| other.name.eq_ignore_ascii_case(&one.name));
        if let Some(other) = same {
            problems.push(
                Problem::error(
                    one.span,
                    path,
                    format!("two interventions have the name `{}`", one.name),
                )
                .help(format!(
                    "the other is experiment.{} on line {}; arms are told apart by name",
                    other.group, other.span.line
                )),
            );
        }
    }
}

fn resolve(
    resolver: &Resolver,
    tree: &Node,
    interventions: &[&Intervention],
) -> (Option<Recipe>, Vec<Problem>) {
    let mut tree = tree.clone();
    let mut problems = Vec::new();
    for one in interventions {
        for change in &one.overrides {
            let who = format!("the intervention `{}` changes", one.name);
            change.apply(&mut tree, resolver.schema, &who, &mut problems);
        }
    }
    let recipe = resolver.resolve(&tree, &mut problems);
    (recipe, problems)
}

/// Shows a problem at the override that made it, unless it already stands there.
fn blame(mut problem: Problem, interventions: &[&Intervention]) -> Problem {
    let overrides = || interventions.iter().flat_map(|i| &i.overrides);
    let stands = |span: Span| overrides().any(|o| o.span == span || o.value.stands_at(span));
    let names = match interventions {
        [one] => format!("with `{}`", one.name),
        all => {
            let names: Vec<String> = all.iter().map(|i| format!("`{}`", i.name)).collect();
            format!("with {} together", names.join(" and "))
        }
    };
    let together = interventions.len() > 1;
    if problem.span.is_some_and(stands) && !together {
        return problem;
    }
    problem.message = format!("{names}: {}", problem.message);
    if !problem.span.is_some_and(stands) {
        let touches = |o: &&Override| {
            std::iter::once(&problem.path)
                .chain(&problem.related)
                .any(|path| within(path, &o.path) || within(&o.path, path))
        };
        let culprit = overrides().rfind(touches);
        let span = culprit
            .or_else(|| overrides().next_back())
            .map(|o| o.span)
            .or_else(|| interventions.last().map(|i| i.span));
        problem.span = span.or(problem.span);
    }
    problem
}

/// Whether one path is another or below it.
fn within(path: &str, above: &str) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Warns when an arm is not different, or differs in what its loss counts.
fn compare(one: &Intervention, baseline: &Recipe, arm: &Recipe, problems: &mut Vec<Problem>) {
    let path = format!("experiment.{}.{}", one.group, one.name);
    if arm == baseline {
        problems.push(
            Problem::warning(
                one.span,
                path,
                format!(
                    "`{}` changes nothing: its arm repeats the baseline",
                    one.name
                ),
            )
            .help("change a value that differs from the baseline's"),
        );
    } else if arm.data.tokenizer != baseline.data.tokenizer {
        problems.push(
            Problem::warning(
                one.span,
                path,
                format!(
                    "`{}` changes the tokenizer, so its losses count other tokens than the baseline's",
                    one.name
                ),
            )
            .help("losses over different vocabularies cannot be compared directly"),
        );
    }
}
