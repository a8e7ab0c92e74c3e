//! YAML text to a tree with positions.
//!
//! Owns the agreement of the two YAML readers: saphyr-parser gives the structure with positions,
//! serde_yaml gives the values and must see the same structure. Must not know what a
//! recipe is.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span as Mark, Tag};

use crate::tree::{Content, Entry, Node, Problem, Span};

/// Deepest nesting, so that no file can exhaust the stack.
const MAX_DEPTH: usize = 64;
/// Most values, so that aliases of aliases cannot exhaust the memory.
const MAX_NODES: usize = 100_000;

/// Where a text begins inside its source: the columns before it on its first line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub source: usize,
    pub column: usize,
}

impl Origin {
    fn span(self, mark: Mark) -> Span {
        let shift = if mark.start.line() == 1 {
            self.column
        } else {
            0
        };
        Span {
            source: self.source,
            line: mark.start.line(),
            column: mark.start.col() + 1 + shift,
            width: mark.len(),
        }
    }
}

/// A collection that is being filled.
struct Open {
    span: Span,
    /// Line from 1 and column from 0 in the text itself.
    line: usize,
    column: usize,
    anchor: usize,
    entries: Option<Vec<Entry>>,
    items: Vec<Node>,
    /// The key that waits for its value; `Err` for a key that is no scalar.
    key: Option<Result<(String, Span), Span>>,
}

/// Reads one YAML document. Gives what could be read, and every problem found.
pub(crate) fn parse(text: &str, origin: Origin, problems: &mut Vec<Problem>) -> Option<Node> {
    let before = problems.len();
    let root = Builder {
        origin,
        problems,
        open: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
    }
    .run(text);
    if problems.len() > before {
        return root;
    }
    let mut root = root?;
    let clash = match serde_yaml::from_str::<serde_yaml::Value>(text) {
        Ok(value) => overlay(&mut root, value).err().map(|span| {
            Problem::error(span, "", "readers of YAML understand this differently")
                .help("put the value in quotes, or write it on one line")
        }),
        Err(error) => {
            let mut span = Span {
                width: 1,
                ..root.span
            };
            if let Some(at) = error.location() {
                let shift = if at.line() == 1 { origin.column } else { 0 };
                (span.line, span.column) = (at.line(), at.column() + shift);
            }
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message);
            let message = format!("this is not valid YAML: {message}");
            Some(Problem::error(span, "", message))
        }
    };
    match clash {
        Some(clash) => {
            problems.push(clash);
            None
        }
        None => Some(root),
    }
}

/// Puts the values of serde_yaml into the tree; gives the place where the structures differ.
fn overlay(node: &mut Node, value: serde_yaml::Value) -> Result<(), Span> {
    use serde_yaml::Value;
    let span = node.span;
    match (&mut node.content, value) {
        (Content::Map(entries), Value::Mapping(map)) => {
            if entries.len() != map.len() {
                return Err(span);
            }
            for (entry, (key, value)) in entries.iter_mut().zip(map) {
                if key.as_str().is_some_and(|key| key != entry.key) {
                    return Err(entry.key_span);
                }
                overlay(&mut entry.value, value)?;
            }
        }
        (Content::List(items), Value::Sequence(values)) => {
            if items.len() != values.len() {
                return Err(span);
            }
            for (item, value) in items.iter_mut().zip(values) {
                overlay(item, value)?;
            }
        }
        (Content::Map(_) | Content::List(_), _) => return Err(span),
        (scalar, Value::Null) => *scalar = Content::Null,
        (scalar, Value::Bool(b)) => *scalar = Content::Bool(b),
        (scalar, Value::Number(n)) => *scalar = number(&n),
        (scalar, Value::String(s)) => *scalar = Content::Text(s),
        (_, Value::Mapping(_) | Value::Sequence(_) | Value::Tagged(_)) => return Err(span),
    }
    Ok(())
}

struct Builder<'p> {
    origin: Origin,
    problems: &'p mut Vec<Problem>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl Builder<'_> {
    fn run(mut self, text: &str) -> Option<Node> {
        let mut root = None;
        let mut documents = 0;
        for event in Parser::new_from_str(text) {
            let (event, mark) = match event {
                Ok(event) => event,
                Err(error) => {
                    self.syntax(text, &error);
                    return None;
                }
            };
            let span = self.origin.span(mark);
            let done = match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        self.problems.push(
                            Problem::error(span, "", "a second YAML document begins here")
                                .help("a recipe is one document; remove the `---`"),
                        );
                        return None;
                    }
                    None
                }
                Event::Alias(id) => self.alias(id, span),
                Event::Scalar(value, style, anchor, tag) => {
                    let content = self.scalar(&value, style, tag.as_deref(), span);
                    self.remember(anchor, Node { content, span })
                }
                Event::SequenceStart(anchor, _) => {
                    self.begin(mark, anchor, None)?;
                    None
                }
                Event::MappingStart(anchor, _) => {
                    self.begin(mark, anchor, Some(Vec::new()))?;
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                    Some(closed) => {
                        let content = match closed.entries {
                            Some(entries) => Content::Map(entries),
                            None => Content::List(closed.items),
                        };
                        self.remember(
                            closed.anchor,
                            Node {
                                content,
                                span: closed.span,
                            },
                        )
                    }
                    None => None,
                },
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => None,
            };
            if let Some(node) = done {
                self.nodes += 1;
                if self.nodes > MAX_NODES {
                    self.problems.push(Problem::error(
                        node.span,
                        "",
                        format!("the file has more than {MAX_NODES} values"),
                    ));
                    return None;
                }
                if let Some(node) = self.place(node) {
                    root = Some(node);
                }
            }
        }
        root
    }

    fn syntax(&mut self, text: &str, error: &ScanError) {
        let at = *error.marker();
        let mut span = self.origin.span(Mark::new(at, at));
        // What is missing at the end of the text is shown after its last character.
        let lines = text.lines().count().max(1);
        if span.line > lines {
            let last = text.lines().last().unwrap_or("").chars().count();
            let shift = if lines == 1 { self.origin.column } else { 0 };
            (span.line, span.column) = (lines, last + 1 + shift);
        }
        let tab = text
            .lines()
            .nth(at.line().saturating_sub(1))
            .is_some_and(|l| l.trim_start_matches(' ').starts_with('\t'));
        let begins = |open: &&Open| {
            let line = text.lines().nth(open.line.saturating_sub(1))?;
            line.chars().nth(open.column).filter(|c| "[{".contains(*c))
        };
        let bracket = self.open.iter().rev().find_map(|o| Some((begins(&o)?, o)));
        let help = match bracket {
            _ if tab => "YAML is indented with spaces, not tabs".to_owned(),
            Some((bracket, open)) => format!(
                "the `{bracket}` on line {}, column {} may not be closed",
                open.span.line, open.span.column
            ),
            None => {
                "look here and on the line above for a missing quote or colon, or a wrong indent"
                    .to_owned()
            }
        };
        let message = format!("this is not valid YAML: {}", error.info());
        self.problems
            .push(Problem::error(span, "", message).help(help));
    }

    fn begin(&mut self, mark: Mark, anchor: usize, entries: Option<Vec<Entry>>) -> Option<()> {
        let span = self.origin.span(mark);
        if self.open.len() == MAX_DEPTH {
            self.problems.push(Problem::error(
                span,
                "",
                format!("values are nested more than {MAX_DEPTH} deep"),
            ));
            return None;
        }
        self.open.push(Open {
            span: Span { width: 1, ..span },
            line: mark.start.line(),
            column: mark.start.col(),
            anchor,
            entries,
            items: Vec::new(),
            key: None,
        });
        Some(())
    }

    fn remember(&mut self, anchor: usize, node: Node) -> Option<Node> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Some(node)
    }

    fn alias(&mut self, id: usize, span: Span) -> Option<Node> {
        let content = match self.anchors.get(&id) {
            Some(node) => {
                self.nodes += node.count();
                node.content.clone()
            }
            None => {
                self.problems
                    .push(Problem::error(span, "", "an alias cannot contain itself"));
                Content::Null
            }
        };
        Some(Node { content, span })
    }

    /// What a scalar means. serde_yaml's reading of the whole text replaces this one; on its own it
    /// counts only where serde_yaml stops at a mistake, such as a duplicate key, and the rest of the
    /// file is to be checked all the same.
    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Content {
        let string = match tag {
            Some(tag) if tag.is_yaml_core_schema() => tag.suffix == "str",
            Some(tag) => {
                self.problems.push(
                    Problem::error(span, "", format!("the YAML tag `{tag}` means nothing here"))
                        .help("write the value without a tag"),
                );
                false
            }
            None => style != ScalarStyle::Plain,
        };
        if string {
            return Content::Text(text.to_owned());
        }
        match serde_yaml::from_str::<serde_yaml::Value>(text) {
            Ok(serde_yaml::Value::Null) => Content::Null,
            Ok(serde_yaml::Value::Bool(b)) => Content::Bool(b),
            Ok(serde_yaml::Value::Number(n)) => number(&n),
            _ => Content::Text(text.to_owned()),
        }
    }

    /// Puts a finished value where it belongs; gives it back when it is the whole document.
    fn place(&mut self, node: Node) -> Option<Node> {
        let Some(open) = self.open.last_mut() else {
            return Some(node);
        };
        let Some(entries) = &mut open.entries else {
            open.items.push(node);
            return None;
        };
        match open.key.take() {
            None => {
                open.key = Some(match node.content {
                    Content::Text(key) => Ok((key, node.span)),
                    Content::Bool(b) => Ok((b.to_string(), node.span)),
                    Content::Number(n) => Ok((n.to_string(), node.span)),
                    _ => Err(node.span),
                });
            }
            Some(Err(span)) => {
                self.problems.push(
                    Problem::error(span, "", "a key must be a word")
                        .help("quote it, or check the brackets around it"),
                );
            }
            Some(Ok((key, key_span))) => {
                if let Some(first) = entries.iter().find(|e| e.key == key) {
                    self.problems.push(
                        Problem::error(
                            key_span,
                            key.clone(),
                            format!("the key `{key}` is written twice"),
                        )
                        .help(format!(
                            "it was first written on line {}; keep one of them",
                            first.key_span.line
                        )),
                    );
                    return None;
                }
                // A value that is not there stands at its key.
                let empty = node.content == Content::Null && node.span.width == 0;
                let span = if empty { key_span } else { node.span };
                entries.push(Entry {
                    key,
                    key_span,
                    value: Node { span, ..node },
                });
            }
        }
        None
    }
}

fn number(n: &serde_yaml::Number) -> Content {
    if let Some(i) = n.as_i64() {
        return Content::Number(i.into());
    }
    if let Some(u) = n.as_u64() {
        return Content::Number(u.into());
    }
    let x = n.as_f64().unwrap_or(f64::NAN);
    serde_json::Number::from_f64(x).map_or(Content::NotFinite(x), Content::Number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{json, Value};

    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<Problem>) {
        let mut problems = Vec::new();
        let origin = Origin {
            source: 0,
            column: 0,
        };
        let node = parse(text, origin, &mut problems);
        (node, problems)
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>()
                .prop_filter("JSON has no such number", |x| x.is_finite())
                .prop_map(Value::from),
            "[ -~]{0,12}".prop_map(Value::from),
            "(yes|no|~|null|0x1f|1e5|-\\.5|true|0o7|1_0|<<|é|=|\\.nan)".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-z.+_ ]{1,8}", inner, 0..5)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Block style, as serde_yaml writes it, and flow style, as JSON is.
        #[test]
        fn both_readers_see_the_same_values(value in json_value()) {
            for text in [serde_yaml::to_string(&value).unwrap(), value.to_string()] {
                let (node, problems) = read(&text);
                prop_assert!(problems.is_empty(), "{text}: {problems:?}");
                let expected: Value = serde_yaml::from_str(&text).unwrap();
                prop_assert_eq!(node.map_or(Value::Null, |n| n.to_json()), expected, "{}", text);
            }
        }

        /// Any text: no panic, every span inside the text, and no value that serde_yaml sees
        /// differently.
        #[test]
        fn any_text_is_read_or_refused(text in "([a-c]|[-:?,{}\\[\\]#&*!|>'\"%@`~.0-9\t\n ]|: |\n  |- ){0,40}") {
            let (node, problems) = read(&text);
            let lines = text.lines().count().max(1);
            for problem in &problems {
                let line = problem.span.map_or(0, |s| s.line);
                prop_assert!((1..=lines + 1).contains(&line), "{line} of {text:?}");
            }
            if let (Some(node), true) = (node, problems.is_empty()) {
                let expected: Result<Value, _> = serde_yaml::from_str(&text);
                if let Ok(expected) = expected {
                    prop_assert_eq!(node.to_json(), expected, "{:?}", text);
                }
            }
        }
    }

    #[test]
    fn every_key_and_value_has_its_place() {
        let text =
            "a: {b: [1, 'two'], \"c\": }\nñandú:\n  - x: |\n      text\n    y: &n 5\n  - *n\n";
        let (node, problems) = read(text);
        assert!(problems.is_empty(), "{problems:?}");
        let node = node.unwrap();
        assert_eq!(
            node.to_json(),
            json!({"a": {"b": [1, "two"], "c": null}, "ñandú": [{"x": "text\n", "y": 5}, 5]})
        );
        let at = |path: &str| {
            let span = node.locate(path);
            (span.line, span.column, span.width)
        };
        assert_eq!(at("a"), (1, 4, 1));
        assert_eq!(at("a.b.0"), (1, 9, 1));
        assert_eq!(at("a.b.1"), (1, 12, 5));
        // A value that is not there stands at its key.
        assert_eq!(at("a.c"), (1, 20, 3));
        assert_eq!(at("ñandú.0.y"), (5, 8, 4));
        assert_eq!(at("ñandú.1"), (6, 5, 2));
        // A path that goes on stands at the last part that is there.
        assert_eq!(at("ñandú.0.y.z"), (5, 8, 4));
    }

    #[test]
    fn the_mark_of_a_text_file_moves_nothing() {
        let (node, problems) = read("\u{feff}a: 1\n");
        assert!(problems.is_empty(), "{problems:?}");
        let span = node.unwrap().locate("a");
        assert_eq!((span.line, span.column), (1, 4));
    }
}
