//! Mistakes in a recipe and how they are shown.
//!
//! Owns the one error type of this crate and its rendering. Must not know what can be wrong.

use std::fmt;

/// How bad a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing can be run.
    Error,
    /// It runs, but probably not as meant.
    Warning,
}

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file as it was named by the caller, or `--set`.
    pub file: String,
    /// Where in the file; `None` when the mistake is the file itself.
    pub position: Option<Position>,
    /// The line of the file that the position is in.
    pub source_line: Option<String>,
    /// Characters to underline from the position on.
    pub width: usize,
    /// Dotted path of the key, such as `model.bert.layers`; empty for the whole file.
    pub path: String,
    /// What was expected and what was found.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// All mistakes of a recipe, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    /// The mistakes.
    pub items: Vec<Diagnostic>,
}

impl std::error::Error for Diagnostics {}

/// ANSI codes, or nothing.
struct Paint {
    error: &'static str,
    warning: &'static str,
    gutter: &'static str,
    help: &'static str,
    bold: &'static str,
    off: &'static str,
}

const PLAIN: Paint = Paint {
    error: "",
    warning: "",
    gutter: "",
    help: "",
    bold: "",
    off: "",
};
const COLOUR: Paint = Paint {
    error: "\x1b[1;31m",
    warning: "\x1b[1;33m",
    gutter: "\x1b[1;34m",
    help: "\x1b[1;36m",
    bold: "\x1b[1m",
    off: "\x1b[0m",
};

impl Diagnostics {
    /// Number of errors.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// Number of warnings.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn count(&self, severity: Severity) -> usize {
        self.items.iter().filter(|d| d.severity == severity).count()
    }

    /// The text shown to a user, each mistake with its line, then a line that counts them.
    /// `colour` adds ANSI codes.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let paint = if colour { &COLOUR } else { &PLAIN };
        let mut out = String::new();
        for item in &self.items {
            item.write(paint, &mut out);
            out.push('\n');
        }
        let count = |n: usize, word: &str| match n {
            0 => None,
            1 => Some(format!("1 {word}")),
            n => Some(format!("{n} {word}s")),
        };
        let counts: Vec<String> = [
            count(self.errors(), "error"),
            count(self.warnings(), "warning"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if self.errors() > 0 {
            out.push_str(&format!("Found {}. Nothing was run.\n", counts.join(", ")));
        }
        out
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl Diagnostic {
    fn write(&self, paint: &Paint, out: &mut String) {
        let Paint {
            gutter, bold, off, ..
        } = paint;
        let (word, colour) = match self.severity {
            Severity::Error => ("error", paint.error),
            Severity::Warning => ("warning", paint.warning),
        };
        out.push_str(&format!(
            "{colour}{word}{off}{bold}: {}{off}\n",
            self.message
        ));
        let number = self
            .position
            .map_or_else(String::new, |p| p.line.to_string());
        let margin = " ".repeat(number.len().max(1));
        match self.position {
            Some(Position { line, column }) => {
                out.push_str(&format!(
                    "{margin}{gutter}-->{off} {}:{line}:{column}\n",
                    self.file
                ));
            }
            None => out.push_str(&format!("{margin}{gutter}-->{off} {}\n", self.file)),
        }
        if let (Some(source), Some(at)) = (&self.source_line, self.position) {
            // Tabs become one space so that the caret stays under its column.
            let source = source.replace('\t', " ");
            let room = source.chars().count().saturating_sub(at.column - 1).max(1);
            let carets = "^".repeat(self.width.clamp(1, room));
            let indent = " ".repeat(at.column - 1);
            out.push_str(&format!("{margin} {gutter}|{off}\n"));
            out.push_str(&format!("{gutter}{number} |{off} {}\n", source.trim_end()));
            out.push_str(&format!(
                "{margin} {gutter}|{off} {indent}{colour}{carets}{off}\n"
            ));
        }
        if let Some(help) = &self.help {
            out.push_str(&format!("{margin} {}= help{off}: {help}\n", paint.help));
        }
    }
}
