//! A temporary folder with a tiny recipe in it, and ways to run the binary there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Two arms, two seeds, six steps of a model of a few thousand parameters.
pub const TINY: &str = "\
pipeline: tiny
seeds: [1, 2]
device: cpu
data:
  source: card.yaml
  split: {validation: 0.1, test: 0.1}
  tokenizer: {wordpiece: {vocab_size: 300, lowercase: true}}
  sequence_length: 32
model:
  bert: {layers: 1, hidden: 16, heads: 2, intermediate: 32, dropout: 0.1}
objectives:
  - mlm: {mask_rate: 0.15}
  - nsp: {weight: 1.0}
optimizer: {adamw: {learning_rate: 1.0e-3, weight_decay: 0.01}}
schedule: {warmup_linear: {warmup_steps: 2}}
train: {batch_size: 8, clip_norm: 1.0}
stop:
  - max_steps: {steps: 6}
evaluate: {every_steps: 3}
experiment:
  model:
    wider: {model.bert.intermediate: 64}
report: {formats: [html, markdown]}
";

const CARD: &str = "\
name: small sample
licence: CC0-1.0
generator: {seed: 3, documents: 60, topics: 2, duplicates: 0.1, noise: 0.0}
";

/// A temporary folder with `tiny.yaml` and its corpus.
pub struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    pub fn new() -> Self {
        let folder = Folder {
            folder: tempfile::tempdir().unwrap(),
        };
        folder.write("tiny.yaml", TINY);
        folder.write("card.yaml", CARD);
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// `tiny.yaml` with one piece of text replaced, under another name.
    pub fn variant(&self, name: &str, from: &str, to: &str) {
        assert_eq!(TINY.matches(from).count(), 1, "{from}");
        self.write(name, TINY.replace(from, to));
    }

    /// A folder of a run in `runs/`.
    pub fn trial(&self, runs: &str, arm: &str, seed: u64) -> PathBuf {
        self.path(&format!("{runs}/tiny/trials/{arm}/seed-{seed}"))
    }

    /// The command, to be run in this folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = ablate(arguments);
        command.current_dir(self.folder.path());
        command
    }

    /// Runs the command in this folder.
    pub fn ablate(&self, arguments: &[&str]) -> Done {
        self.done(self.command(arguments).output().unwrap())
    }

    pub fn done(&self, output: Output) -> Done {
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            let real = fs::canonicalize(self.folder.path()).unwrap();
            text.replace(real.to_str().unwrap(), "[FOLDER]")
                .replace(self.folder.path().to_str().unwrap(), "[FOLDER]")
        };
        Done {
            code: output.status.code().expect("ended by a signal"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The binary with a plain environment.
pub fn ablate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ablate"));
    command.args(arguments).stdin(Stdio::null());
    for name in ["ABLATE_LOG", "RUST_BACKTRACE", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

/// What a command said; paths into the test's folder read `[FOLDER]`.
#[derive(Clone, Debug)]
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// Asserts the exit code.
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "exit code {}\n----- stdout\n{}----- stderr\n{}",
            self.code, self.stdout, self.stderr
        )
    }
}

pub fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_str(&read(path)).unwrap()
}

/// The rows of `metrics.jsonl`.
pub fn metrics(trial: &Path) -> Vec<Value> {
    read(trial.join("metrics.jsonl"))
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The same without the clock.
pub fn timeless_metrics(trial: &Path) -> Vec<Value> {
    let mut rows = metrics(trial);
    for row in &mut rows {
        let row = row.as_object_mut().unwrap();
        row.remove("seconds").unwrap();
        let waited = row.remove("data_seconds");
        assert_eq!(waited.is_some(), row.get("split").is_none(), "{row:?}");
    }
    rows
}

pub fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

/// Every file below a folder with its bytes, by its path relative to the folder.
pub fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap_or_else(|e| panic!("{}: {e}", next.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap();
                found.insert(name.to_str().unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Asserts that two trials gave the same numbers: every row but for the clock, every exported byte.
pub fn assert_same_trial(a: &Path, b: &Path) {
    assert_eq!(timeless_metrics(a), timeless_metrics(b));
    let (a, b) = (tree(&a.join("export")), tree(&b.join("export")));
    assert!(a.contains_key("final/model.safetensors"), "{:?}", a.keys());
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in &a {
        assert!(*bytes == b[name], "{name} differs");
    }
}
