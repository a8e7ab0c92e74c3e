//! The run store: which file of a run lies where, and how a finished trial is recognised.
//!
//! Owns the layout of `runs/<pipeline>/` and the records written there by this crate. Must not know
//! what a trial does. Every record is replaced atomically.
//!
//! ```text
//! runs/<pipeline>/
//!   recipe.yaml  environment.json  experiment.json
//!   report.html  report.md  figures/  tables/          (written by ablate-reports)
//!   trials/<arm>/seed-<n>/
//!     metrics.jsonl  metrics.parquet  result.json
//!     export/step-0/  export/final/
//!     checkpoint.safetensors                            (only while unfinished)
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use ablate_train::files::{create_folder, write_bytes};
use ablate_train::FileError;
use serde::Serialize;

use crate::error::{ExperimentError, Result};

/// Folder of one pipeline's run.
#[derive(Debug)]
pub struct RunStore {
    root: PathBuf,
    /// Held while the store is open, so that two processes never share a run.
    lock: File,
}

impl RunStore {
    /// Opens `<runs>/<pipeline>`, making it if need be. With `fresh` everything that an earlier run
    /// wrote there is removed first.
    ///
    /// # Errors
    /// When the folder cannot be written, or another process works in it.
    pub fn open(runs: &Path, pipeline: &str, fresh: bool) -> Result<Self> {
        let root = runs.join(pipeline);
        create_folder(&root)?;
        let path = root.join(".lock");
        let lock = File::create(&path).map_err(FileError::at("write", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(ExperimentError::Record {
                    path: root,
                    detail: "another process is running in this folder; wait for it, or choose another folder with --runs".to_owned(),
                })
            }
            // Some network file systems have no locks; then the user must take care.
            Err(fs::TryLockError::Error(error)) => {
                tracing::warn!("cannot lock {}: {error}", path.display());
            }
        }
        let store = RunStore { root, lock };
        if fresh {
            store.clear()?;
        }
        create_folder(&store.root.join("trials"))?;
        Ok(store)
    }

    /// Removes what a run writes, and nothing else that may lie in the folder.
    fn clear(&self) -> Result<()> {
        for name in ["trials", "figures", "tables"] {
            let path = self.root.join(name);
            if path.exists() {
                fs::remove_dir_all(&path).map_err(FileError::at("remove", &path))?;
            }
        }
        for name in [
            "recipe.yaml",
            "environment.json",
            "experiment.json",
            "report.html",
            "report.md",
        ] {
            let path = self.root.join(name);
            if path.exists() {
                fs::remove_file(&path).map_err(FileError::at("remove", &path))?;
            }
        }
        Ok(())
    }

    /// The lock of the run, for a process that works in the folder on this one's behalf.
    pub(crate) fn lock(&self) -> &File {
        &self.lock
    }

    /// The folder of the run.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Writes a text file into the run's folder.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_text(&self, name: &str, text: &str) -> Result<()> {
        Ok(write_bytes(&self.root.join(name), text.as_bytes())?)
    }

    /// Writes a record into the run's folder.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        write_json(&self.root.join(name), value)
    }

    /// The folder of a trial.
    pub fn trial(&self, arm: &str, seed: u64) -> TrialStore {
        TrialStore {
            root: self
                .root
                .join("trials")
                .join(arm)
                .join(format!("seed-{seed}")),
        }
    }
}

/// Folder of one trial.
#[derive(Clone, Debug)]
pub struct TrialStore {
    root: PathBuf,
}

impl TrialStore {
    /// The trial in this folder, for a process that was told where.
    pub(crate) fn at(root: PathBuf) -> Self {
        TrialStore { root }
    }

    /// Makes the folder.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn create(&self) -> Result<()> {
        Ok(create_folder(&self.root)?)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `metrics.jsonl`.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    /// The checkpoint; gone once the trial is finished.
    pub fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint.safetensors")
    }

    /// `export/<name>`, a folder in Hugging Face format.
    pub fn export(&self, name: &str) -> PathBuf {
        self.root.join("export").join(name)
    }

    /// `result.json`, if the trial has one.
    ///
    /// # Errors
    /// When the file is there but no record.
    pub fn result(&self) -> Result<Option<serde_json::Value>> {
        let path = self.root.join("result.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(FileError::at("read", &path)(e).into()),
        };
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(ExperimentError::Record {
                path,
                detail: format!(
                    "this is no trial record ({error}); remove it, or start over with --fresh"
                ),
            }),
        }
    }

    /// Writes `result.json`; with it the trial counts as done, unless its status is `failed`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_result(&self, result: &impl Serialize) -> Result<()> {
        write_json(&self.root.join("result.json"), result)
    }

    /// Removes the checkpoint, if there is one.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove_checkpoint(&self) -> Result<()> {
        let path = self.checkpoint();
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(FileError::at("remove", &path)(e).into()),
        }
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| ExperimentError::Record {
        path: path.to_owned(),
        detail: e.to_string(),
    })?;
    text.push('\n');
    Ok(write_bytes(path, text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_removes_what_a_run_wrote_and_nothing_else() {
        let runs = tempfile::tempdir().unwrap();
        let store = RunStore::open(runs.path(), "p", false).unwrap();
        let trial = store.trial("a+b", 7);
        assert!(trial.root().ends_with("p/trials/a+b/seed-7"));
        trial.create().unwrap();
        trial
            .write_result(&serde_json::json!({"steps": 1}))
            .unwrap();
        assert!(trial.result().unwrap().is_some());
        store.write_text("recipe.yaml", "x").unwrap();
        store.write_text("notes.txt", "mine").unwrap();
        drop(store);
        let store = RunStore::open(runs.path(), "p", true).unwrap();
        assert!(trial.result().unwrap().is_none());
        assert!(store.root().join("notes.txt").exists());
        assert!(!store.root().join("recipe.yaml").exists());
    }

    #[test]
    fn two_runs_cannot_share_a_folder() {
        let runs = tempfile::tempdir().unwrap();
        let first = RunStore::open(runs.path(), "p", false).unwrap();
        let error = RunStore::open(runs.path(), "p", false).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
        drop(first);
        RunStore::open(runs.path(), "p", false).unwrap();
    }

    #[test]
    fn an_unwritable_folder_is_one_clear_message() {
        let runs = tempfile::tempdir().unwrap();
        let file = runs.path().join("file");
        fs::write(&file, "").unwrap();
        let error = RunStore::open(&file, "p", false).unwrap_err().to_string();
        assert!(error.contains("cannot create the folder"), "{error}");
        assert!(error.contains("file"), "{error}");
    }

    #[test]
    fn a_damaged_record_says_what_to_do() {
        let runs = tempfile::tempdir().unwrap();
        let store = RunStore::open(runs.path(), "p", false).unwrap();
        let trial = store.trial("baseline", 1);
        trial.create().unwrap();
        fs::write(trial.root().join("result.json"), "{").unwrap();
        let error = trial.result().unwrap_err().to_string();
        assert!(error.contains("--fresh"), "{error}");
    }
}
