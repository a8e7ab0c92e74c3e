//! A tree read against a schema: every mistake at its own line, every default filled in.
//!
//! Owns the checks that a JSON Schema can say, in the subset listed at [`crate::Catalog`], and
//! their wording. Must not know which schema it reads.
//!
//! What is wrong is left out of the value that comes back, rather than replaced by its default, so
//! that later checks do not complain about numbers that nobody wrote.

use serde_json::{Map, Number, Value};

use crate::{
    expect::{choice, example, expected, follow, picks, plain, properties, types},
    schema::{is_name, NAME_PATTERN},
    tree::{Content, Node, Problem, Span},
    words::{join, list, nearest, suggest},
};

/// What plugins offer, as choices call it.
const PLUGGABLE: [&str; 5] = [
    "objective",
    "optimizer",
    "schedule",
    "stopping rule",
    "operator",
];

/// Whole numbers up to here survive the way through a float.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Reads a tree against a schema and gives the value with defaults, less what is wrong. `document` is
/// what the tree is called as a whole.
pub(crate) fn read(
    node: &Node,
    schema: &Value,
    document: &'static str,
    problems: &mut Vec<Problem>,
) -> Option<Value> {
    let mut reader = Reader {
        root: schema,
        document,
        problems,
    };
    reader.value(node, node.span, schema, "")
}

/// A value with the defaults of its schema filled in, at every depth.
pub(crate) fn fill(value: Value, schema: &Value) -> Value {
    match value {
        Value::Object(mut map) => {
            if let Some(properties) = properties(schema) {
                for (key, property) in properties {
                    if let Some(inner) = map.get_mut(key) {
                        *inner = fill(inner.take(), property);
                    } else if let Some(default) = property.get("default") {
                        map.insert(key.clone(), fill(default.clone(), property));
                    }
                }
            }
            Value::Object(map)
        }
        other => other,
    }
}

fn kind(node: &Node) -> &'static str {
    match &node.content {
        Content::Null => "null",
        Content::Bool(_) => "boolean",
        Content::Number(n) if n.is_i64() || n.is_u64() => "integer",
        Content::Number(n) if whole(n).is_some() => "integer",
        Content::Number(_) | Content::NotFinite(_) => "number",
        Content::Text(_) => "string",
        Content::List(_) => "array",
        Content::Map(_) => "object",
    }
}

/// A float such as `1e5` that is a whole number.
fn whole(n: &Number) -> Option<Number> {
    let x = n.as_f64()?;
    // Exact: a whole number below 2^53 is the same in both types.
    (x.fract() == 0.0 && x.abs() < EXACT).then(|| Number::from(x as i64))
}

struct Reader<'p> {
    /// Where references point.
    root: &'p Value,
    /// What the tree is called as a whole.
    document: &'static str,
    problems: &'p mut Vec<Problem>,
}

impl Reader<'_> {
    /// The value of a key as a sentence names it.
    fn subject(&self, path: &str) -> String {
        if path.is_empty() {
            format!("the {}", self.document)
        } else {
            format!("`{path}`")
        }
    }

    /// Reads one value; `key` is where its key stands, for mistakes of a map as a whole.
    fn value(&mut self, node: &Node, key: Span, schema: &Value, path: &str) -> Option<Value> {
        let schema = follow(self.root, schema);
        let finite = !matches!(node.content, Content::NotFinite(_));
        let fitting: Vec<&Value> = picks(schema, kind(node)).filter(|_| finite).collect();
        let Some(one) = self.best(node, &fitting, path) else {
            return self.wrong(node, schema, path);
        };
        if one.get("const").is_some_and(|c| *c != node.to_json()) {
            return self.wrong(node, schema, path);
        }
        match &node.content {
            Content::Map(_) => self.map(node, key, one, path),
            // An empty value where a map is expected is an empty map.
            Content::Null if types(one).contains(&"object") => self.map(node, key, one, path),
            Content::List(items) => self.list(node, items, one, path),
            Content::Number(n) => self.number(node, n, one, path),
            Content::Text(text) => self.text(node, text, one, path),
            _ => match one.get("enum").and_then(Value::as_array) {
                Some(values) if !values.contains(&node.to_json()) => self.wrong(node, one, path),
                _ => Some(node.to_json()),
            },
        }
    }

    /// The branch that a value was meant for: the first that it fits without a mistake, else the
    /// first that knows its first key.
    fn best<'s>(&self, node: &Node, branches: &[&'s Value], path: &str) -> Option<&'s Value> {
        if branches.len() < 2 {
            return branches.first().copied();
        }
        let clean = branches.iter().find(|branch| {
            let mut problems = Vec::new();
            let mut trial = Reader {
                root: self.root,
                document: self.document,
                problems: &mut problems,
            };
            trial.value(node, node.span, branch, path);
            problems.is_empty()
        });
        let key = node.entries().first().map(|e| e.key.as_str());
        let knows = || {
            let knows =
                |b: &&&Value| key.is_some_and(|k| properties(b).is_some_and(|p| p.contains_key(k)));
            branches.iter().find(knows)
        };
        clean.or_else(knows).or(branches.first()).copied()
    }

    /// Reports a value that is not what its schema expects.
    fn wrong(&mut self, node: &Node, schema: &Value, path: &str) -> Option<Value> {
        let subject = self.subject(path);
        let problem = Problem::error(
            node.span,
            path,
            format!(
                "{subject} must be {}, found {}",
                expected(schema),
                node.describe()
            ),
        );
        let help = match (&node.content, schema.get("default")) {
            (Content::Null, Some(_)) => Some("remove the key to use its default".to_owned()),
            (Content::Text(text), _) if text.parse::<f64>().is_ok() => {
                Some(format!("remove the quotes: {text}"))
            }
            (Content::Text(text), _) if types(schema).contains(&"boolean") => {
                match text.to_ascii_lowercase().as_str() {
                    "yes" | "on" => Some("write `true`".to_owned()),
                    "no" | "off" => Some("write `false`".to_owned()),
                    _ => None,
                }
            }
            (Content::Text(text), _) if schema.get("enum").is_some() => {
                let values = schema.get("enum").and_then(Value::as_array);
                let values = plain(values.map_or(&[], Vec::as_slice));
                nearest(text, values.iter().map(String::as_str))
                    .map(|near| format!("did you mean `{near}`?"))
            }
            _ => example(schema).map(|e| format!("for example: {e}")),
        };
        self.problems.push(problem.maybe_help(help));
        None
    }

    fn number(&mut self, node: &Node, n: &Number, schema: &Value, path: &str) -> Option<Value> {
        let x = n.as_f64()?;
        let bound = |key| schema.get(key).and_then(Value::as_f64);
        let inside = bound("minimum").is_none_or(|b| x >= b)
            && bound("maximum").is_none_or(|b| x <= b)
            && bound("exclusiveMinimum").is_none_or(|b| x > b)
            && bound("exclusiveMaximum").is_none_or(|b| x < b);
        let listed = schema
            .get("enum")
            .and_then(Value::as_array)
            .is_none_or(|all| all.iter().any(|v| v.as_f64() == Some(x)));
        if !inside || !listed {
            return self.wrong(node, schema, path);
        }
        let needs_whole = types(schema).contains(&"integer");
        match whole(n) {
            Some(i) if needs_whole && n.is_f64() => Some(Value::Number(i)),
            _ => Some(Value::Number(n.clone())),
        }
    }

    fn text(&mut self, node: &Node, text: &str, schema: &Value, path: &str) -> Option<Value> {
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            if !values.iter().any(|v| v.as_str() == Some(text)) {
                return self.wrong(node, schema, path);
            }
        }
        let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
        if (text.chars().count() as u64) < least {
            let message = format!("{} must not be empty", self.subject(path));
            self.problems.push(Problem::error(node.span, path, message));
            return None;
        }
        if schema.get("pattern").and_then(Value::as_str) == Some(NAME_PATTERN) && !is_name(text) {
            self.problems.push(bad_name(node.span, path, text));
            return None;
        }
        Some(Value::String(text.to_owned()))
    }

    fn list(&mut self, node: &Node, items: &[Node], schema: &Value, path: &str) -> Option<Value> {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0) as usize;
        let most = schema.get("maxItems").and_then(Value::as_u64);
        let entries = |n: usize| if n == 1 { "entry" } else { "entries" };
        if items.len() < least {
            let message = format!(
                "{} must have at least {least} {}, found {}",
                self.subject(path),
                entries(least),
                items.len()
            );
            self.problems.push(
                Problem::error(node.span, path, message)
                    .maybe_help(example(schema).map(|e| format!("for example: {e}"))),
            );
            return None;
        }
        if let Some(most) = most.filter(|most| items.len() as u64 > *most) {
            let message = format!(
                "{} must have at most {most} {}, found {}",
                self.subject(path),
                entries(most as usize),
                items.len()
            );
            self.problems.push(Problem::error(node.span, path, message));
            return None;
        }
        if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
            for (i, item) in items.iter().enumerate() {
                if items[..i].iter().any(|one| one.to_json() == item.to_json()) {
                    let message = format!("{} is in {} twice", item.describe(), self.subject(path));
                    self.problems.push(Problem::error(item.span, path, message));
                }
            }
        }
        let any = Value::Bool(true);
        let inner = follow(self.root, schema.get("items").unwrap_or(&any));
        let values = items
            .iter()
            .enumerate()
            .filter_map(|(i, item)| {
                // An entry of a list of choices is known by its name, which its own map adds.
                let at = match choice(inner) {
                    Some(_) if matches!(item.content, Content::Map(_)) => path.to_owned(),
                    _ => join(path, &i.to_string()),
                };
                self.value(item, item.span, inner, &at)
            })
            .collect();
        Some(Value::Array(values))
    }

    fn map(&mut self, node: &Node, key: Span, schema: &Value, path: &str) -> Option<Value> {
        if schema.get("x-overrides").is_some() {
            // The keys are paths; `overrides` reads them.
            if node.entries().is_empty() {
                let message = format!("intervention {} changes nothing", self.subject(path));
                self.problems.push(
                    Problem::error(key, path, message).help("for example: {model.bert.layers: 4}"),
                );
            }
            return Some(node.to_json());
        }
        let none = Map::new();
        let properties = schema
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&none);
        let rest = schema.get("additionalProperties");
        let what = choice(schema);
        let mut out = Map::new();
        let mut seen = 0;
        for entry in node.entries() {
            seen += 1;
            let at = join(path, &entry.key);
            if let Some(property) = properties.get(&entry.key) {
                if let Some(value) = self.value(&entry.value, entry.key_span, property, &at) {
                    out.insert(entry.key.clone(), value);
                }
                continue;
            }
            match rest {
                Some(Value::Bool(false)) => {
                    let known = properties.keys().map(String::as_str);
                    self.problems.push(unknown(
                        entry.key_span,
                        path,
                        &entry.key,
                        what,
                        self.document,
                        known,
                    ));
                }
                Some(inner @ Value::Object(_)) => {
                    let named = schema
                        .get("propertyNames")
                        .and_then(|n| n.get("pattern"))
                        .and_then(Value::as_str);
                    if named == Some(NAME_PATTERN) && !is_name(&entry.key) {
                        self.problems
                            .push(bad_name(entry.key_span, &at, &entry.key));
                    }
                    if let Some(value) = self.value(&entry.value, entry.key_span, inner, &at) {
                        out.insert(entry.key.clone(), value);
                    }
                }
                _ => {
                    out.insert(entry.key.clone(), entry.value.to_json());
                }
            }
        }
        if let Some(what) = what.filter(|_| seen != 1) {
            let names = list(properties.keys().map(String::as_str));
            let message = format!(
                "{} must name exactly one {what}, found {}",
                self.subject(path),
                if seen == 0 {
                    "none".to_owned()
                } else {
                    list(node.entries().iter().map(|e| e.key.as_str()))
                }
            );
            let help = if seen > 1 {
                "keep one of them; in a list begin each with its own `-`".to_owned()
            } else {
                format!("known: {names}")
            };
            self.problems
                .push(Problem::error(key, path, message).help(help));
            return None;
        }
        let required = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        let misspelt = |name: &str| {
            let others = node.entries().iter().map(|e| e.key.as_str());
            others
                .filter(|key| !properties.contains_key(*key))
                .any(|key| nearest(key, properties.keys().map(String::as_str)) == Some(name))
        };
        let absent = |name: &&str| node.entry(name).is_none() && !misspelt(name);
        for name in required.filter(absent) {
            let property = properties.get(name).unwrap_or(&Value::Null);
            if property.get("default").is_some() {
                continue;
            }
            let inside = if path.is_empty() {
                String::new()
            } else {
                format!(" in `{path}`")
            };
            let help = match example(property) {
                Some(example) => format!("add `{name}: {example}`, for example"),
                None => format!("`{name}` is {}", expected(property)),
            };
            let span = if path.is_empty() {
                Span {
                    width: 1,
                    ..node.span
                }
            } else {
                key
            };
            self.problems.push(
                Problem::error(span, path, format!("missing key `{name}`{inside}")).help(help),
            );
        }
        for (name, property) in properties {
            if let (None, Some(default)) = (node.entry(name), property.get("default")) {
                out.insert(name.clone(), fill(default.clone(), property));
            }
        }
        Some(Value::Object(out))
    }
}

fn bad_name(span: Span, path: &str, name: &str) -> Problem {
    Problem::error(
        span,
        path,
        format!("{name:?} cannot be the name of a folder"),
    )
    .help("use letters, digits, `-` and `_`, at most 64, beginning with a letter or digit")
}

/// A key that is not known where it stands.
pub(crate) fn unknown<'a>(
    span: Span,
    path: &str,
    key: &str,
    what: Option<&str>,
    document: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Problem {
    match what {
        Some(what) => {
            let mut help = suggest(key, known, "known");
            if PLUGGABLE.contains(&what) {
                help.push_str("; a plugin of your own must be listed under `plugins`");
            }
            Problem::error(span, join(path, key), format!("unknown {what} `{key}`")).help(help)
        }
        None => {
            let (inside, here) = if path.is_empty() {
                (String::new(), format!("keys of a {document}"))
            } else {
                (format!(" in `{path}`"), format!("keys of `{path}`"))
            };
            Problem::error(
                span,
                join(path, key),
                format!("unknown key `{key}`{inside}"),
            )
            .help(suggest(key, known, &here))
        }
    }
}
