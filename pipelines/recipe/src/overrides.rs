//! Dotted paths that change a recipe: `--set model.bert.layers=4` and the interventions.
//!
//! Owns what a path means and what else setting it drops. Must not know which keys exist (the
//! schema says so) or whether the result makes sense (`reader` and `checks` say so).

use serde_json::Value;

use crate::{
    expect::{choice, follow, pick, properties},
    parse::{parse, Origin},
    tree::{list_index, Content, Entry, Node, Problem, Sources, Span},
    words::{join, list, nearest},
};

/// One change: a path and its new value.
#[derive(Clone, Debug)]
pub(crate) struct Override {
    /// Dotted, without the `+`.
    pub path: String,
    /// Whether the value is added to the end of a list.
    pub append: bool,
    /// Where the path stands.
    pub span: Span,
    /// The new value, with its own positions.
    pub value: Node,
}

impl Override {
    /// An entry of an intervention.
    pub fn from_entry(entry: &Entry) -> Self {
        Self::new(&entry.key, entry.key_span, entry.value.clone())
    }

    fn new(key: &str, span: Span, value: Node) -> Self {
        let key = key.trim();
        let (path, append) = match key.strip_suffix('+') {
            Some(path) => (path.trim_end(), true),
            None => (key, false),
        };
        Self {
            path: path.to_owned(),
            append,
            span,
            value,
        }
    }

    /// A `--set PATH=VALUE` argument; the value is YAML.
    pub fn from_set(
        argument: &str,
        sources: &mut Sources,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let source = sources.add("--set", argument);
        let whole = |width| Span {
            source,
            line: 1,
            column: 1,
            width,
        };
        let Some((key, text)) = argument
            .split_once('=')
            .filter(|(k, _)| !k.trim().is_empty())
        else {
            let width = argument.chars().count();
            problems.push(
                Problem::error(whole(width), "", format!("`--set {argument}` sets nothing"))
                    .help("write --set PATH=VALUE, for example --set model.bert.layers=4"),
            );
            return None;
        };
        let width = key.chars().count();
        let origin = Origin {
            source,
            column: width + 1,
        };
        let before = problems.len();
        let value = parse(text, origin, problems);
        if problems.len() > before {
            return None;
        }
        let span = whole(width);
        let value = value.unwrap_or(Node {
            content: Content::Null,
            span,
        });
        Some(Self::new(key, span, value))
    }

    /// The place of this override in an intervention, whose keys have no order of their own: whole
    /// maps before what is in them, a shape by name before its numbers.
    pub fn rank(&self, schema: &Value) -> (usize, bool) {
        let mut at = Some(schema);
        for segment in self.path.split('.') {
            at = at.and_then(properties).and_then(|p| p.get(segment));
        }
        let replaces = at.is_some_and(|s| s.get("x-replaces").is_some());
        (self.path.split('.').count(), !replaces)
    }

    /// Changes the tree. `who` names the override in a message.
    pub fn apply(&self, tree: &mut Node, schema: &Value, who: &str, problems: &mut Vec<Problem>) {
        let segments: Vec<&str> = self.path.split('.').collect();
        let candidate = tree.clone();
        let walk = Walk {
            change: self,
            who,
            root: schema,
        };
        if let Err(problem) = walk.descend(tree, schema, &segments, "") {
            *tree = candidate;
            let help = problem.help.clone();
            let mut all = Vec::new();
            collect(tree, schema, schema, "", &mut all);
            let near = near_path(&self.path, &all);
            problems.push(match (near, help) {
                (Some(near), Some(help)) => problem.help(format!("did you mean `{near}`? {help}")),
                (Some(near), None) => problem.help(format!("did you mean `{near}`?")),
                (None, _) => *problem,
            });
        }
    }
}

struct Walk<'a> {
    change: &'a Override,
    who: &'a str,
    /// Where references point.
    root: &'a Value,
}

type Step = Result<(), Box<Problem>>;

impl Walk<'_> {
    fn missing(&self, at: &str, help: Option<String>) -> Step {
        let path = &self.change.path;
        let message = format!("{} `{path}`, which does not exist", self.who);
        let mut problem = Problem::error(self.change.span, at, message);
        problem.help = help;
        Err(Box::new(problem))
    }

    fn descend(&self, node: &mut Node, schema: &Value, rest: &[&str], at: &str) -> Step {
        let schema = follow(self.root, schema);
        let Some((first, below)) = rest.split_first() else {
            return self.set(node, schema, at);
        };
        if schema.get("x-overrides").is_some() {
            // Inside an intervention the rest of the path is one key, `+` included.
            let mut key = rest.join(".");
            if self.change.append {
                key.push('+');
            }
            let mut entries = take_entries(node);
            let index = slot(&mut entries, &key, self.change.span);
            entries[index].value = self.change.value.clone();
            node.content = Content::Map(entries);
            return Ok(());
        }
        if let Content::List(items) = &mut node.content {
            let inner = pick(schema, "array").and_then(|s| s.get("items"));
            let names: Vec<String> = items
                .iter()
                .filter_map(|i| i.only_key().map(str::to_owned))
                .collect();
            let (Some(inner), Some((index, named))) = (inner, list_index(items, first)) else {
                let has = list(names.iter().map(String::as_str));
                return self.missing(
                    &join(at, first),
                    Some(format!("`{at}` has {has}; `{at}+` adds to it")),
                );
            };
            let next = join(at, first);
            return if named {
                // The name stays a segment: it is the key of the entry's own map.
                self.descend(&mut items[index], inner, rest, at)
            } else {
                self.descend(&mut items[index], inner, below, &next)
            };
        }
        let next = join(at, first);
        if let Some(property) = properties(schema).and_then(|p| p.get(*first)) {
            if !matches!(node.content, Content::Map(_)) {
                // Another form of the value, such as a map for `source` in place of a path.
                node.content = Content::Map(Vec::new());
                node.span = self.change.span;
            }
            if choice(pick(schema, "object").unwrap_or(schema)).is_some() {
                drop_others(node, |key| key != *first);
            }
            if below.is_empty() {
                let replaces = property.get("x-replaces").and_then(Value::as_array);
                let gone: Vec<&str> = replaces
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                drop_others(node, |key| gone.contains(&key));
            }
            let fresh = node.entry(first).is_none();
            let mut entries = take_entries(node);
            let index = slot(&mut entries, first, self.change.span);
            let entry = &mut entries[index];
            if fresh && self.change.append {
                if let Some(default) = property.get("default").filter(|_| below.is_empty()) {
                    entry.value = Node::from_json(default, self.change.span);
                }
            }
            if below.is_empty() {
                entry.key_span = self.change.span;
            }
            let step = self.descend(&mut entry.value, property, below, &next);
            node.content = Content::Map(entries);
            return step;
        }
        let open = |inner: &Value, node: &mut Node| {
            let mut entries = take_entries(node);
            let index = slot(&mut entries, first, self.change.span);
            let step = self.descend(&mut entries[index].value, inner, below, &next);
            node.content = Content::Map(entries);
            step
        };
        match pick(schema, "object").and_then(|s| s.get("additionalProperties")) {
            Some(inner @ Value::Object(_)) => open(inner, node),
            Some(Value::Bool(true)) => open(&Value::Null, node),
            _ => {
                let help = properties(schema).filter(|p| !p.is_empty()).map(|p| {
                    let here = if at.is_empty() { "a recipe" } else { at };
                    format!("keys of `{here}`: {}", list(p.keys().map(String::as_str)))
                });
                self.missing(&next, help.map(|h| h.replace("`a recipe`", "a recipe")))
            }
        }
    }

    fn set(&self, node: &mut Node, schema: &Value, at: &str) -> Step {
        let value = &self.change.value;
        if !self.change.append {
            *node = value.clone();
            return Ok(());
        }
        if pick(schema, "array").is_none_or(|s| s.get("type").is_none()) {
            let message = format!("`{at}+` adds to a list, but `{at}` is none");
            let problem = Problem::error(self.change.span, at, message)
                .help(format!("leave the `+` out to replace `{at}`"));
            return Err(Box::new(problem));
        }
        if !matches!(node.content, Content::List(_)) {
            node.content = Content::List(Vec::new());
            node.span = self.change.span;
        }
        if let Content::List(items) = &mut node.content {
            match &value.content {
                Content::List(more) => items.extend(more.iter().cloned()),
                _ => items.push(value.clone()),
            }
        }
        Ok(())
    }
}

/// Takes the entries out of a map; what is no map has none.
fn take_entries(node: &mut Node) -> Vec<Entry> {
    match std::mem::replace(&mut node.content, Content::Null) {
        Content::Map(entries) => entries,
        _ => Vec::new(),
    }
}

/// The index of a key's entry, made empty if it is not there.
fn slot(entries: &mut Vec<Entry>, key: &str, span: Span) -> usize {
    entries
        .iter()
        .position(|e| e.key == key)
        .unwrap_or_else(|| {
            entries.push(Entry {
                key: key.to_owned(),
                key_span: span,
                value: Node {
                    content: Content::Null,
                    span,
                },
            });
            entries.len() - 1
        })
}

fn drop_others(node: &mut Node, gone: impl Fn(&str) -> bool) {
    if let Content::Map(entries) = &mut node.content {
        entries.retain(|e| !gone(&e.key));
    }
}

/// Every path that can be set in this tree, for suggestions.
fn collect(node: &Node, schema: &Value, root: &Value, at: &str, out: &mut Vec<String>) {
    if !at.is_empty() {
        out.push(at.to_owned());
    }
    let target = follow(root, schema);
    // What is not there is not followed: a definition may contain itself.
    if !std::ptr::eq(target, schema) && node.content == Content::Null {
        return;
    }
    let schema = target;
    if let Content::List(items) = &node.content {
        let inner = pick(schema, "array").and_then(|s| s.get("items"));
        for (item, inner) in items.iter().zip(inner.into_iter().cycle()) {
            if item.only_key().is_some() {
                keys(item, follow(root, inner), root, at, out, true);
            }
        }
        return;
    }
    keys(node, schema, root, at, out, false);
}

fn keys(node: &Node, schema: &Value, root: &Value, at: &str, out: &mut Vec<String>, only: bool) {
    let nothing = Node {
        content: Content::Null,
        span: node.span,
    };
    for (key, property) in properties(schema).into_iter().flatten() {
        let below = node.entry(key).map(|e| &e.value);
        if below.is_some() || !only {
            let below = below.unwrap_or(&nothing);
            collect(below, property, root, &join(at, key), out);
        }
    }
}

/// The path that was probably meant: one that ends like it, or one spelt like it.
fn near_path<'a>(wrong: &str, all: &'a [String]) -> Option<&'a str> {
    let tail = format!(".{wrong}");
    let ends: Vec<&String> = all.iter().filter(|p| p.ends_with(&tail)).collect();
    if let [one] = ends.as_slice() {
        return Some(one);
    }
    nearest(wrong, all.iter().map(String::as_str))
}
