//! A plugin to begin with: a project that builds, passes the validator and trains.
//!
//! Owns: the files of a new project, from the templates in `plugins/templates`. Must not know what a plugin
//! is made of; the templates do.

mod kinds;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ablate_abi::{ABI_MAJOR, ABI_MINOR};
use ablate_host::{Kind, Registry};

use crate::words::did_you_mean;
use kinds::{facts, Facts};

/// What the plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// A crate with the SDK.
    Rust,
    /// One file with the header.
    C,
}

/// Where a Rust project finds the SDK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sdk {
    /// In a checkout of Ablate.
    Path(PathBuf),
    /// In the registry, by version.
    Version(&'static str),
}

impl Sdk {
    /// The SDK of the checkout that this program was built from, where that still exists; else the SDK of
    /// this version.
    pub fn of_this_program() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk");
        match folder.canonicalize() {
            Ok(folder) if folder.join("Cargo.toml").exists() => Sdk::Path(folder),
            _ => Sdk::Version(env!("CARGO_PKG_VERSION")),
        }
    }

    /// As a dependency in `Cargo.toml`.
    fn dependency(&self) -> String {
        match self {
            // As TOML writes a basic string.
            Sdk::Path(folder) => format!("{{ path = {:?} }}", folder.display().to_string()),
            Sdk::Version(version) => format!("{version:?}"),
        }
    }
}

/// A project cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    /// The name is none for a crate and a recipe.
    #[error(
        "`{name}` cannot be the name of a plugin: it begins with a letter, and has a-z, 0-9, `-` and `_` \
         only"
    )]
    Name {
        /// As given.
        name: String,
    },
    /// The recipe's name is taken.
    #[error(
        "there is a built-in {kind} called `{name}`, so a recipe could not tell the two apart; choose \
         another name"
    )]
    Taken {
        /// Its kind.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// There is no such kind.
    #[error(
        "there is no kind `{name}`{}; the kinds are: {}",
        did_you_mean(name, KINDS.into_iter()),
        KINDS.join(", ")
    )]
    Kind {
        /// As given.
        name: String,
    },
    /// The folder has something in it.
    #[error("`{}` is there already and not empty; choose another folder with --path", folder.display())]
    Exists {
        /// The folder.
        folder: PathBuf,
    },
    /// The disk refuses.
    #[error("cannot write `{}`: {source}", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Names of the kinds, as the command line has them.
const KINDS: [&str; 5] = ["objective", "optimizer", "schedule", "stopping", "operator"];

/// The kind of a name: `objective`, `optimizer`, `schedule`, `stopping`, `operator`.
///
/// # Errors
/// [`ScaffoldError::Kind`].
pub fn kind(name: &str) -> Result<Kind, ScaffoldError> {
    Kind::ALL
        .into_iter()
        .find(|kind| kind.word() == name)
        .ok_or_else(|| ScaffoldError::Kind {
            name: name.to_owned(),
        })
}

/// A new plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    name: String,
    kind: Kind,
    language: Language,
}

impl Project {
    /// A project by this name: `my-lion` is the crate, `my_lion` the name in recipes.
    ///
    /// # Errors
    /// A name that cannot be one, or is a built-in's.
    pub fn new(name: &str, kind: Kind, language: Language) -> Result<Self, ScaffoldError> {
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let begins = name.chars().next().is_some_and(|c| c.is_ascii_lowercase());
        if !begins || !name.chars().all(fine) {
            return Err(ScaffoldError::Name {
                name: name.to_owned(),
            });
        }
        let project = Project {
            name: name.to_owned(),
            kind,
            language,
        };
        let built_in = Registry::with_builtins().unwrap_or_default();
        if built_in.find(kind, &project.in_recipes()).is_some() {
            return Err(ScaffoldError::Taken {
                kind,
                name: project.in_recipes(),
            });
        }
        Ok(project)
    }

    /// The name in recipes.
    pub fn in_recipes(&self) -> String {
        self.name.replace('-', "_")
    }

    /// File name of the built library.
    pub fn library(&self) -> String {
        let name = self.in_recipes();
        match self.language {
            // As cargo names it.
            Language::Rust => format!(
                "{}{name}{}",
                std::env::consts::DLL_PREFIX,
                std::env::consts::DLL_SUFFIX
            ),
            Language::C => format!("{name}{}", std::env::consts::DLL_SUFFIX),
        }
    }

    /// Path of the built library, relative to the project.
    pub fn built(&self) -> PathBuf {
        match self.language {
            Language::Rust => Path::new("target/release").join(self.library()),
            Language::C => PathBuf::from(self.library()),
        }
    }

    /// The command that builds it, in its folder.
    pub fn build_line(&self) -> String {
        match self.language {
            Language::Rust => "cargo build --release".to_owned(),
            Language::C => format!(
                "cc -std=c11 -O2 -shared -fPIC -o {} {}.c -lm",
                self.library(),
                self.in_recipes()
            ),
        }
    }

    /// The files, by path relative to the project.
    pub fn files(&self, sdk: &Sdk) -> Vec<(PathBuf, String)> {
        let Some(facts) = facts(self.kind) else {
            return Vec::new();
        };
        let snake = self.in_recipes();
        let mut files = vec![
            (
                "corpus.yaml".to_owned(),
                include_str!("../../templates/corpus.yaml").to_owned(),
            ),
            (
                "try.yaml".to_owned(),
                include_str!("../../templates/try.yaml").to_owned(),
            ),
        ];
        match self.language {
            Language::Rust => files.extend([
                (
                    "Cargo.toml".to_owned(),
                    include_str!("../../templates/rust/manifest.toml").to_owned(),
                ),
                (
                    "README.md".to_owned(),
                    include_str!("../../templates/rust/README.md").to_owned(),
                ),
                (".gitignore".to_owned(), "target\nruns\n".to_owned()),
                ("src/lib.rs".to_owned(), facts.rust.to_owned()),
            ]),
            Language::C => {
                let parts = [
                    include_str!("../../templates/c/prelude.c"),
                    facts.c,
                    include_str!("../../templates/c/descriptor.c"),
                ];
                files.extend([
                    (format!("{snake}.c"), parts.concat()),
                    (
                        "ablate_plugin.h".to_owned(),
                        include_str!("../../abi/include/ablate_plugin.h").to_owned(),
                    ),
                    (
                        "Makefile".to_owned(),
                        include_str!("../../templates/c/Makefile").to_owned(),
                    ),
                    (
                        "README.md".to_owned(),
                        include_str!("../../templates/c/README.md").to_owned(),
                    ),
                    (
                        ".gitignore".to_owned(),
                        format!("{}\nruns\n", self.library()),
                    ),
                ]);
            }
        }
        files
            .into_iter()
            .map(|(path, text)| (PathBuf::from(path), self.filled(&text, &facts, sdk)))
            .collect()
    }

    /// A template with its places filled.
    fn filled(&self, text: &str, facts: &Facts, sdk: &Sdk) -> String {
        let snake = self.in_recipes();
        let type_name: String = snake
            .split('_')
            .flat_map(|word| {
                let mut letters = word.chars();
                let first = letters.next().map(|c| c.to_ascii_uppercase());
                first.into_iter().chain(letters)
            })
            .collect();
        let mut article = facts.article.to_owned();
        article[..1].make_ascii_uppercase();
        let only = |kind: Kind, own: String, other: &str| {
            if self.kind == kind {
                own
            } else {
                other.to_owned()
            }
        };
        let objective = only(
            Kind::Objective,
            format!("{snake}: {{}}"),
            "mlm: {mask_rate: 0.15}",
        );
        let optimizer = only(
            Kind::Optimizer,
            format!("{snake}: {{learning_rate: 0.01}}"),
            "adamw: {learning_rate: 1.0e-3}",
        );
        let schedule = only(
            Kind::Schedule,
            format!("{snake}: {{warmup_steps: 10}}"),
            "constant: {}",
        );
        let stop = only(
            Kind::StoppingRule,
            format!("  - {snake}: {{rises: 3}}\n"),
            "",
        );
        let curate = only(
            Kind::Operator,
            format!("  curate: [{{{snake}: {{words: 5}}}}]\n"),
            "",
        );
        let library = match self.language {
            Language::Rust => self.built().display().to_string(),
            Language::C => self.library(),
        };
        let abi = format!("{ABI_MAJOR}.{ABI_MINOR}");
        [
            ("{{{optimizer}}}", format!("{{{optimizer}}}").as_str()),
            ("{{{schedule}}}", &format!("{{{schedule}}}")),
            ("{{name}}", &self.name),
            ("{{snake}}", &snake),
            ("{{Type}}", &type_name),
            ("{{kind}}", &self.kind.to_string()),
            ("{{article}}", &article),
            ("{{article_small}}", facts.article),
            ("{{what}}", facts.sentence),
            ("{{sentence}}", facts.sentence),
            ("{{API}}", facts.api),
            ("{{use}}", &facts.key.replace("NAME", &snake)),
            ("{{library}}", &library),
            ("{{file}}", &self.library()),
            ("{{sdk}}", &sdk.dependency()),
            ("{{objective}}", &objective),
            ("{{stop}}", &stop),
            ("{{curate}}", &curate),
            ("{{abi}}", &abi),
        ]
        .into_iter()
        .fold(text.to_owned(), |text, (place, value)| {
            text.replace(place, value)
        })
    }

    /// Writes the project into a folder, which must be empty or not be there.
    ///
    /// # Errors
    /// A folder that has something in it, or a disk that refuses.
    pub fn write(&self, folder: &Path, sdk: &Sdk) -> Result<Vec<PathBuf>, ScaffoldError> {
        let disk = |path: &Path| {
            let path = path.to_owned();
            move |source| ScaffoldError::Disk { path, source }
        };
        let taken = match fs::read_dir(folder) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(disk(folder)(error)),
        };
        if taken {
            return Err(ScaffoldError::Exists {
                folder: folder.to_owned(),
            });
        }
        let mut written = Vec::new();
        for (path, text) in self.files(sdk) {
            let place = folder.join(&path);
            if let Some(parent) = place.parent() {
                fs::create_dir_all(parent).map_err(disk(parent))?;
            }
            fs::write(&place, text).map_err(disk(&place))?;
            written.push(path);
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests;
