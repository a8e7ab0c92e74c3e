//! Rules between the keys of a recipe, and what follows from one key for another.
//!
//! Owns everything a schema cannot say: sizes that must divide, numbers that a preset, a checkpoint
//! or a stopping rule gives, files that must exist. Must not know how a mistake is shown.
//!
//! Works on a value from which what was wrong has been left out, so every rule first asks whether
//! its numbers are there.

use std::path::{Path, PathBuf};

use serde_json::{json, Value};

use crate::{
    catalog::{Catalog, Kind, Together},
    files::Finder,
    recipe::is_card,
    schema::TOTAL_STEPS,
    stop::{self, Stop},
    tree::{Node, Problem, Span},
    words::join,
};

/// Checks one resolved value and completes it.
pub(crate) struct Checks<'a> {
    pub tree: &'a Node,
    pub finder: &'a Finder,
    pub catalog: &'a Catalog,
    pub wrong_cards: &'a [PathBuf],
    pub problems: &'a mut Vec<Problem>,
}

/// The value at a dotted path of maps.
pub(crate) fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |v, key| v.get(key))
}

pub(crate) fn whole(value: &Value, path: &str) -> Option<u64> {
    at(value, path)?.as_u64()
}

/// The config of an entry in a list of `{name: config}`.
fn entries<'v>(value: &'v Value, path: &str) -> Vec<(&'v str, &'v Value)> {
    at(value, path)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_object()?.iter().next())
        .map(|(name, config)| (name.as_str(), config))
        .collect()
}

impl Checks<'_> {
    /// Runs every rule.
    pub fn run(mut self, value: &mut Value) {
        self.arithmetic(value);
        self.plugins(value);
        self.device(value);
        self.source(value);
        self.source_itself(value);
        let vocabulary = self.tokenizer(value);
        self.split(value);
        self.bert(value, vocabulary);
        self.objectives(value);
        self.schedule(value);
        self.component_paths(value);
        self.components(value);
        self.together(value);
    }

    fn span(&self, path: &str) -> Span {
        self.tree.locate(path)
    }

    /// Whether something is already wrong at a path or below it.
    pub(crate) fn wrong(&self, path: &str) -> bool {
        let below = format!("{path}.");
        self.problems
            .iter()
            .any(|p| p.path == path || p.path.starts_with(&below))
    }

    pub(crate) fn error(
        &mut self,
        path: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let problem = Problem::error(self.span(path), path, message).help(help);
        self.problems.push(problem);
    }

    pub(crate) fn error_of(
        &mut self,
        paths: &[&str],
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if let Some(path) = paths.first() {
            let problem = Problem::error(self.span(path), *path, message).help(help);
            self.problems.push(problem.related(paths));
        }
    }

    pub(crate) fn warn(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        let problem = Problem::warning(self.span(path), path, message).help(help);
        self.problems.push(problem);
    }

    /// Arithmetic that the chosen device does not have.
    fn arithmetic(&mut self, value: &Value) {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let (message, help) = match (text("precision"), text("device")) {
            (Some("tf32"), Some("cpu")) => (
                "`precision: tf32` is for tensor cores of a GPU, and `device` is cpu",
                "write `device: cuda` or `device: auto`, or `precision: f32`",
            ),
            (Some("f32_split"), Some("cuda")) => (
                "`precision: f32_split` is computed on the processor only, and `device` is cuda",
                "write `device: cpu` or `device: auto`, or a precision of the GPU: f32, tf32 or bf16",
            ),
            _ => return,
        };
        self.error_of(&["precision", "device"], message, help);
    }

    fn plugins(&mut self, value: &mut Value) {
        let paths = value.get_mut("plugins").and_then(Value::as_array_mut);
        for (i, path) in paths.into_iter().flatten().enumerate() {
            let mut at = format!("plugins.{i}");
            if let Value::Object(pinned) = &*path {
                let digits = pinned.get("sha256").and_then(Value::as_str);
                if digits
                    .is_some_and(|d| d.len() != 64 || !d.chars().all(|c| c.is_ascii_hexdigit()))
                {
                    let message = format!("`{at}.sha256` is no SHA-256");
                    let help = "write the 64 hexadecimal digits that `sha256sum` prints";
                    self.error(&format!("{at}.sha256"), message, help.to_owned());
                }
                at.push_str(".path");
            }
            let path = match path {
                Value::Object(pinned) => pinned.get_mut("path"),
                path => Some(path),
            };
            let Some(Value::String(path)) = path else {
                continue;
            };
            match self.finder.path(path) {
                Ok(found) => *path = found.to_string_lossy().into_owned(),
                Err(missing) => {
                    let message = format!("the plugin `{path}` does not exist");
                    self.error(&at, message, missing.help);
                }
            }
        }
    }

    /// Asks whether the device is there.
    fn device(&mut self, value: &Value) {
        let Some(check) = self.catalog.check_device.clone() else {
            return;
        };
        let written = at(value, "device")
            .cloned()
            .filter(|_| !self.wrong("device"));
        let Some(Ok(device)) = written.map(serde_json::from_value) else {
            return;
        };
        if let Some(problem) = check(device) {
            self.error_of(&["device"], problem.message, problem.help);
        }
    }

    fn source(&mut self, value: &mut Value) {
        let Some(data) = value.get_mut("data") else {
            return;
        };
        match data.get_mut("source") {
            Some(Value::String(path)) => match self.finder.pattern(path) {
                Ok(found) if !is_card(Path::new(&found)) && Path::new(&found).is_dir() => {
                    let help = format!("write {found}/*.jsonl, or name a dataset card");
                    let message = format!("the data source `{path}` is a folder");
                    self.error("data.source", message, help);
                }
                Ok(found) => *path = found,
                Err(missing) => {
                    let what = if is_card(Path::new(path)) {
                        "dataset card"
                    } else {
                        "data file"
                    };
                    let message = format!("the {what} `{path}` does not exist");
                    self.error("data.source", message, missing.help);
                }
            },
            Some(Value::Object(files)) => {
                if let Some(Value::String(path)) = files.get_mut("path") {
                    match self.finder.pattern(path) {
                        Ok(found) => *path = found,
                        Err(missing) => {
                            let message = format!("no file matches `{path}`");
                            self.error("data.source.path", message, missing.help);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// Lets the data crate look at the source, once its paths are found.
    fn source_itself(&mut self, value: &Value) {
        let Some(check) = self.catalog.check_source.clone() else {
            return;
        };
        let written = at(value, "data.source").and_then(Value::as_str);
        let told =
            written.is_some_and(|path| self.wrong_cards.iter().any(|c| c == Path::new(path)));
        if told || self.wrong("data.source") {
            return;
        }
        let source = at(value, "data.source").map(|s| serde_json::from_value(s.clone()));
        if let Some(Ok(source)) = source {
            if let Err(message) = check(&source) {
                let message = format!("the data source cannot be used: {message}");
                let span = self.span("data.source");
                self.problems
                    .push(Problem::error(span, "data.source", message));
            }
        }
    }

    /// Finds and looks at a tokenizer file; gives the entries of its vocabulary.
    fn tokenizer(&mut self, value: &mut Value) -> Option<usize> {
        const PATH: &str = "data.tokenizer.file";
        let file = value
            .get_mut("data")
            .and_then(|d| d.get_mut("tokenizer"))
            .and_then(|t| t.get_mut("file"));
        let Some(Value::String(path)) = file else {
            return None;
        };
        let found = match self.finder.path(path) {
            Ok(found) => found,
            Err(missing) => {
                let message = format!("the tokenizer file `{path}` does not exist");
                self.error(PATH, message, missing.help);
                return None;
            }
        };
        *path = found.to_string_lossy().into_owned();
        let check = self.catalog.check_tokenizer.clone()?;
        match check(&found) {
            Ok(entries) => Some(entries),
            Err(message) => {
                let help = "a tokenizer is a vocab.txt or a tokenizer.json of WordPiece";
                self.error(PATH, format!("`{PATH}` cannot be used: {message}"), help);
                None
            }
        }
    }

    fn split(&mut self, value: &Value) {
        let part = |key: &str| at(value, &format!("data.split.{key}"))?.as_f64();
        if let (Some(validation), Some(test)) = (part("validation"), part("test")) {
            if validation + test >= 1.0 {
                self.error_of(
                    &["data.split.validation", "data.split.test"],
                    format!(
                        "nothing is left to train on: {validation} for validation and {test} for the test"
                    ),
                    "their sum must be less than 1",
                );
            }
        }
    }

    fn objectives(&mut self, value: &Value) {
        let all = entries(value, "objectives");
        for (i, (name, _)) in all.iter().enumerate() {
            if all[..i].iter().any(|(one, _)| one == name) {
                let span = self.tree.entry("objectives").map_or(self.tree.span, |e| {
                    let mut same = e
                        .value
                        .items()
                        .iter()
                        .filter(|n| n.only_key() == Some(name));
                    same.next_back().map_or(e.key_span, |n| n.span)
                });
                self.problems.push(
                    Problem::error(
                        span,
                        "objectives",
                        format!("the objective `{name}` is listed twice"),
                    )
                    .help("keep one; `weight` says how much it counts"),
                );
            }
        }
        let weight = |config: &Value| config.get("weight").and_then(Value::as_f64);
        if !all.is_empty() && all.iter().all(|(_, c)| weight(c) == Some(0.0)) {
            let paths: Vec<String> = all
                .iter()
                .map(|(name, _)| format!("objectives.{name}.weight"))
                .collect();
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            self.error_of(
                &paths,
                "every objective has weight 0, so there is nothing to learn",
                "give one of them a weight above 0",
            );
        }
    }

    /// Fills `total_steps` of a schedule that declares it from the `max_steps` rule.
    fn schedule(&mut self, value: &mut Value) {
        let limit = stop::first_of(&stop::entries(value));
        let Some((name, config)) = value
            .get_mut("schedule")
            .and_then(Value::as_object_mut)
            .and_then(|s| s.iter_mut().next())
        else {
            return;
        };
        let Some(schema) = self.catalog.schedules.get(name) else {
            return;
        };
        let declares = |key: &str| {
            schema
                .get("properties")
                .is_some_and(|p| p.get(key).is_some())
        };
        if !declares(TOTAL_STEPS) {
            return;
        }
        let needs = schema
            .get("required")
            .and_then(Value::as_array)
            .is_some_and(|names| names.iter().any(|name| name == TOTAL_STEPS));
        let path = format!("schedule.{name}");
        let name = name.clone();
        let written_total = self.tree.find(&join(&path, TOTAL_STEPS)).is_some();
        if !written_total {
            match limit {
                Some(limit) => config[TOTAL_STEPS] = json!(limit),
                None if self.wrong("stop") || !needs => {}
                None => {
                    let problem = Problem::error(
                        self.span(&path),
                        path.clone(),
                        format!("`{name}` does not know at which step it ends"),
                    )
                    .help("set `total_steps`, or add the stopping rule max_steps: {steps: ...}")
                    .related(&[&path, "stop"]);
                    self.problems.push(problem);
                }
            }
        }
        let number = |key: &str| config.get(key).and_then(Value::as_u64);
        let Some(total) = number(TOTAL_STEPS) else {
            return;
        };
        let at_total = join(&path, TOTAL_STEPS);
        if let Some(warmup) = number("warmup_steps").filter(|warmup| *warmup > total) {
            let at_warmup = join(&path, "warmup_steps");
            self.error_of(
                &[&at_warmup, &at_total, "stop.max_steps.steps", "stop"],
                format!(
                    "the warm-up of {warmup} steps is longer than the {total} steps of the schedule"
                ),
                "lower `warmup_steps`",
            );
        }
        if limit.is_some_and(|limit| limit > total) {
            self.warn(
                &at_total,
                format!("the schedule ends at step {total}, but training goes on"),
                "raise `total_steps`, or leave it out to follow `max_steps`",
            );
        }
    }

    /// Looks for rules that end a trial at once, or never.
    fn stop(&mut self, stop: &[Stop]) {
        if stop.is_empty() || self.wrong("stop") {
            return;
        }
        for (i, entry) in stop.iter().enumerate().filter(|(_, s)| s.holds_at_first()) {
            self.error(
                &join("stop", &i.to_string()),
                format!(
                    "this `{}` holds from the first step on, so a trial would end there",
                    entry.word()
                ),
                "put `not` beside other rules in `all`: [{max_steps: {steps: 100}}, {not: {..}}]",
            );
        }
        if !stop.iter().any(Stop::is_bound) {
            self.warn(
                "stop",
                "no stopping rule bounds the number of steps, so a trial may never end",
                "add max_steps: {steps: ...}",
            );
        }
    }

    /// Finds the files that configs of objectives name.
    fn component_paths(&mut self, value: &mut Value) {
        let list = value.get_mut("objectives").and_then(Value::as_array_mut);
        for item in list.into_iter().flatten() {
            let one = item.as_object_mut().and_then(|map| map.iter_mut().next());
            let Some((name, Value::Object(config))) = one else {
                continue;
            };
            let Some(schema) = self.catalog.objectives.get(name.as_str()) else {
                continue;
            };
            let is_path = |key: &str| {
                let property = schema.get("properties").and_then(|p| p.get(key));
                property.and_then(|p| p.get("format")) == Some(&json!("path"))
            };
            for (key, text) in config.iter_mut().filter(|(key, _)| is_path(key)) {
                let Value::String(path) = text else { continue };
                match self.finder.path(path) {
                    Ok(found) => *path = found.to_string_lossy().into_owned(),
                    Err(missing) => {
                        let at = format!("objectives.{name}.{key}");
                        let message = format!("`{key}` of `{name}`: `{path}` does not exist");
                        self.error(&at, message, missing.help);
                    }
                }
            }
        }
    }

    /// Lets the objectives look at each other and at the rest of the recipe.
    fn together(&mut self, value: &Value) {
        let Some(check) = self.catalog.check_together.clone() else {
            return;
        };
        let rest = [
            "objectives",
            "model",
            "data.tokenizer",
            "data.sequence_length",
        ];
        if rest.iter().any(|path| self.wrong(path)) {
            return;
        }
        let number = |path: &str| at(value, path).and_then(Value::as_f64);
        let (Some(hidden_dropout), Some(attention_dropout), Some(length)) = (
            number("model.bert.dropout"),
            number("model.bert.attention_dropout"),
            whole(value, "data.sequence_length"),
        ) else {
            return;
        };
        let all = entries(value, "objectives");
        let own = |name, config| own_config(self.catalog, Kind::Objective, name, config);
        let problems = check(&Together {
            objectives: all.iter().map(|(n, c)| (*n, own(n, c))).collect(),
            hidden_dropout,
            attention_dropout,
            sequence_length: length as usize,
            tokenizer: at(value, "data.tokenizer.file")
                .and_then(Value::as_str)
                .map(Path::new),
        });
        for (index, message) in problems {
            let Some((name, _)) = all.get(index) else {
                continue;
            };
            let here = join("objectives", name);
            let problem = Problem::error(self.span(&here), here.clone(), message);
            self.problems.push(problem.related(&rest));
        }
    }

    /// Lets each plugin and operator look at its own config, and gives it only what it declares.
    fn components(&mut self, value: &Value) {
        let stop = stop::entries(value);
        self.stop(&stop);
        let Some(check) = self.catalog.check.clone() else {
            return;
        };
        let mut all = Vec::new();
        for (kind, path) in [
            (Kind::Objective, "objectives"),
            (Kind::Operator, "data.curate"),
        ] {
            let here = entries(value, path).into_iter();
            all.extend(here.map(|(name, config)| (kind, join(path, name), name, config)));
        }
        let mut rules = Vec::new();
        stop.iter().for_each(|s| s.rules("stop", &mut rules));
        all.extend(
            rules
                .iter()
                .map(|(path, r)| (Kind::StoppingRule, path.clone(), r.name.as_str(), &r.config)),
        );
        for (kind, path) in [(Kind::Optimizer, "optimizer"), (Kind::Schedule, "schedule")] {
            let one = value.get(path).and_then(Value::as_object);
            all.extend(
                one.and_then(|o| o.iter().next())
                    .map(|(name, config)| (kind, join(path, name), name.as_str(), config)),
            );
        }
        for (kind, here, name, config) in all {
            // What does not fit the schema has been reported and left out.
            if self.wrong(&here) {
                continue;
            }
            if let Err(problem) = check(kind, name, &own_config(self.catalog, kind, name, config)) {
                let at = problem.key.map_or(here.clone(), |key| join(&here, &key));
                let problem = Problem::error(
                    self.span(&at),
                    at.clone(),
                    format!("`{at}`: {}", problem.message),
                );
                self.problems.push(problem);
            }
        }
    }
}

/// A component's config without the key of the host, unless the component declares that key too.
pub(crate) fn own_config(catalog: &Catalog, kind: Kind, name: &str, config: &Value) -> Value {
    let host = match kind {
        Kind::Objective => "weight",
        Kind::Optimizer => "learning_rate",
        Kind::Schedule | Kind::StoppingRule | Kind::Operator => return config.clone(),
    };
    let declared = catalog
        .of(kind)
        .get(name)
        .and_then(|schema| schema.get("properties")?.get(host))
        .is_some();
    match config {
        Value::Object(map) if !declared => {
            let mut map = map.clone();
            map.shift_remove(host);
            Value::Object(map)
        }
        other => other.clone(),
    }
}
