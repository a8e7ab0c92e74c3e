//! What a process can name: kinds, origins, entries.
//!
//! Owns the words in which plugins are listed. Must not know function tables.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a capability is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A training objective.
    Objective,
    /// An optimizer.
    Optimizer,
    /// A learning-rate schedule.
    Schedule,
    /// A stopping rule.
    #[serde(rename = "stopping")]
    StoppingRule,
    /// A data operator.
    Operator,
    /// Something of a newer ABI: listed, not usable.
    Unknown,
}

impl Kind {
    /// Every kind that can be used.
    pub const ALL: [Kind; 5] = [
        Kind::Objective,
        Kind::Optimizer,
        Kind::Schedule,
        Kind::StoppingRule,
        Kind::Operator,
    ];

    /// One word, as the command line and JSON have it: `objective`, `optimizer`, `schedule`,
    /// `stopping`, `operator`, `unknown`.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Objective => "objective",
            Kind::Optimizer => "optimizer",
            Kind::Schedule => "schedule",
            Kind::StoppingRule => "stopping",
            Kind::Operator => "operator",
            Kind::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::StoppingRule => "stopping rule",
            Kind::Operator => "data operator",
            Kind::Unknown => "capability of an unknown kind",
            other => other.word(),
        })
    }
}

/// Where a plugin comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Linked into the program.
    BuiltIn,
    /// Loaded from a file.
    File {
        /// Its path, made absolute.
        path: PathBuf,
        /// SHA-256 of its bytes when it was loaded, in hexadecimal.
        sha256: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::BuiltIn => f.write_str("built in"),
            Origin::File { path, .. } => write!(f, "from `{}`", path.display()),
        }
    }
}

/// One thing that recipes can name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CatalogueEntry {
    /// What it is.
    pub kind: Kind,
    /// The name that recipes use.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// JSON Schema of its configuration.
    pub schema: Value,
    /// Extension ids that it offers.
    pub extensions: Vec<String>,
    /// Why it cannot be used here and what to do, where that is so.
    pub unusable: Option<String>,
    /// Name of the plugin.
    pub plugin: String,
    /// The plugin's own version.
    pub version: String,
    /// SPDX expression of the plugin's licence.
    pub license: String,
    /// ABI that the plugin was built with, major and minor.
    pub abi: (u16, u16),
    /// Where it comes from.
    pub origin: Origin,
}
