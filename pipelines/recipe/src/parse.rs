//! YAML text to a tree with positions.
//!
//! Owns the agreement of the two YAML readers: saphyr-parser gives the structure with positions,
//! serde_yaml says what each plain scalar means and must accept the same text. Must not know what a
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
    if problems.len() == before {
        if let Err(error) = serde_yaml::from_str::<serde_yaml::Value>(text) {
            let span = error.location().map_or(
                Span {
                    source: origin.source,
                    line: 1,
                    column: 1 + origin.column,
                    width: 1,
                },
                |at| Span {
                    source: origin.source,
                    line: at.line(),
                    column: at.column() + if at.line() == 1 { origin.column } else { 0 },
                    width: 1,
                },
            );
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message);
            problems.push(Problem::error(
                span,
                "",
                format!("this is not valid YAML: {message}"),
            ));
            return None;
        }
    }
    root
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

    /// What a scalar means. Plain ones are resolved by serde_yaml, the reader of the values.
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
                    Content::Null if node.span.width > 0 => Ok(("null".to_owned(), node.span)),
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
