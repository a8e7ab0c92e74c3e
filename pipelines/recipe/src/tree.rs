//! A parsed document in which every key and value knows where it stands.
//!
//! Owns the tree, its positions and the texts they point into. Must not know what a recipe is.

use serde_json::{Map, Number, Value};

use crate::diagnostic::{Diagnostic, Position, Severity};

/// A stretch of one line in one of the [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Span {
    /// Index of the text.
    pub source: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters; what goes past the end of the line is not drawn.
    pub width: usize,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub content: Content,
    pub span: Span,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    /// `.nan` and `.inf`, which JSON has no number for.
    NotFinite(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map with its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Node,
}

impl Node {
    /// The entries, when this is a map.
    pub fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The entry of a key, when this is a map that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|e| e.key == key)
    }

    /// The node at a dotted path of maps.
    pub fn find(&self, path: &str) -> Option<&Node> {
        path.split('.')
            .try_fold(self, |node, key| node.entry(key).map(|e| &e.value))
    }

    /// Whether this node or one below it stands at a span.
    pub fn stands_at(&self, span: Span) -> bool {
        self.span == span
            || self.items().iter().any(|n| n.stands_at(span))
            || self
                .entries()
                .iter()
                .any(|e| e.key_span == span || e.value.stands_at(span))
    }

    /// The items, when this is a list.
    pub fn items(&self) -> &[Node] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    /// The key of a map that has exactly one, such as `{mlm: {}}`.
    pub fn only_key(&self) -> Option<&str> {
        match self.entries() {
            [one] => Some(&one.key),
            _ => None,
        }
    }

    /// The node and all below it.
    pub fn count(&self) -> usize {
        1 + self.items().iter().map(Node::count).sum::<usize>()
            + self
                .entries()
                .iter()
                .map(|e| e.value.count())
                .sum::<usize>()
    }

    /// The value without positions. What JSON cannot hold becomes null.
    pub fn to_json(&self) -> Value {
        match &self.content {
            Content::Null | Content::NotFinite(_) => Value::Null,
            Content::Bool(b) => Value::Bool(*b),
            Content::Number(n) => Value::Number(n.clone()),
            Content::Text(s) => Value::String(s.clone()),
            Content::List(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Content::Map(entries) => Value::Object(Map::from_iter(
                entries.iter().map(|e| (e.key.clone(), e.value.to_json())),
            )),
        }
    }

    /// A value that stands everywhere at one place.
    pub fn from_json(value: &Value, span: Span) -> Self {
        let content = match value {
            Value::Null => Content::Null,
            Value::Bool(b) => Content::Bool(*b),
            Value::Number(n) => Content::Number(n.clone()),
            Value::String(s) => Content::Text(s.clone()),
            Value::Array(items) => {
                Content::List(items.iter().map(|v| Self::from_json(v, span)).collect())
            }
            Value::Object(map) => Content::Map(
                map.iter()
                    .map(|(key, v)| Entry {
                        key: key.clone(),
                        key_span: span,
                        value: Self::from_json(v, span),
                    })
                    .collect(),
            ),
        };
        Self { content, span }
    }

    /// What was found, as a message says it.
    pub fn describe(&self) -> String {
        match &self.content {
            Content::Null => "nothing".to_owned(),
            Content::Bool(b) => b.to_string(),
            Content::Number(n) => n.to_string(),
            Content::NotFinite(x) => x.to_string(),
            Content::Text(s) if s.chars().count() > 40 => {
                let head: String = s.chars().take(40).collect();
                format!("the text {:?}", head + "...")
            }
            Content::Text(s) => format!("the text {s:?}"),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a map".to_owned(),
        }
    }

    /// The span of the deepest part of a dotted path that exists. An entry of a list is named by
    /// its index or, when it is a map with one key, by that key.
    pub fn locate(&self, path: &str) -> Span {
        let mut node = self;
        let mut span = self.span;
        for segment in path.split('.').filter(|s| !s.is_empty()) {
            let next = match &node.content {
                Content::Map(_) => node.entry(segment).map(|e| (&e.value, e.value.span)),
                Content::List(items) => list_index(items, segment).map(|(at, named)| {
                    let item = &items[at];
                    match item.entries().first() {
                        Some(only) if named => (&only.value, only.key_span),
                        _ => (item, item.span),
                    }
                }),
                _ => None,
            };
            match next {
                Some((child, at)) => (node, span) = (child, at),
                None => break,
            }
        }
        span
    }
}

/// The item of a list that a path segment means, and whether by name rather than by index.
pub(crate) fn list_index(items: &[Node], segment: &str) -> Option<(usize, bool)> {
    if let Ok(index) = segment.parse::<usize>() {
        return (index < items.len()).then_some((index, false));
    }
    items
        .iter()
        .position(|item| item.only_key() == Some(segment))
        .map(|index| (index, true))
}

/// A mistake before it is tied to a text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem {
    pub severity: Severity,
    pub span: Option<Span>,
    pub path: String,
    pub message: String,
    pub help: Option<String>,
    /// Paths that took part in it, so that it can be shown at the override that caused it.
    pub related: Vec<String>,
}

impl Problem {
    /// An error at a place.
    pub fn error(span: Span, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            span: Some(span),
            path: path.into(),
            message: message.into(),
            help: None,
            related: Vec::new(),
        }
    }

    /// A warning at a place.
    pub fn warning(span: Span, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(span, path, message)
        }
    }

    /// Adds what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds what to do, if there is something to say.
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// Adds the paths that took part.
    pub fn related(mut self, paths: &[&str]) -> Self {
        self.related = paths.iter().map(|p| (*p).to_owned()).collect();
        self
    }
}

/// The texts that spans point into: the file, then each `--set` argument.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    texts: Vec<(String, String)>,
}

impl Sources {
    /// Adds a text under a name and gives its index.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> usize {
        self.texts.push((name.into(), text.into()));
        self.texts.len() - 1
    }

    /// Ties a problem to its text.
    pub fn diagnostic(&self, problem: Problem) -> Diagnostic {
        let source = problem.span.map_or(0, |s| s.source);
        let (file, text) = match self.texts.get(source) {
            Some((name, text)) => (name.clone(), text.as_str()),
            None => (String::new(), ""),
        };
        Diagnostic {
            severity: problem.severity,
            file,
            position: problem.span.map(|s| Position {
                line: s.line,
                column: s.column,
            }),
            source_line: problem
                .span
                .and_then(|s| text.lines().nth(s.line.saturating_sub(1)))
                .map(|line| line.trim_start_matches('\u{feff}').to_owned()),
            width: problem.span.map_or(1, |s| s.width),
            path: problem.path,
            message: problem.message,
            help: problem.help,
        }
    }
}
