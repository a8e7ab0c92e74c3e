//! The run records as they lie on disk.
//!
//! Owns the names of the files and fields, and what state a trial is in. It judges nothing: which trials take
//! part in a comparison is decided by the analysis.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::files::io_error;
use crate::metrics::{self, Metrics};
use crate::ReportError;

/// One arm of the experiment: the baseline with no, one or two interventions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Arm {
    /// Name, also of its folder under `trials/`.
    pub name: String,
    /// The data intervention, if any.
    #[serde(default)]
    pub data: Option<String>,
    /// The model intervention, if any.
    #[serde(default)]
    pub model: Option<String>,
}

impl Arm {
    /// Whether the arm carries no intervention.
    #[must_use]
    pub fn is_baseline(&self) -> bool {
        self.data.is_none() && self.model.is_none()
    }
}

/// What is known of the corpus of the baseline.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CorpusFacts {
    /// Documents read.
    pub documents: Option<f64>,
    /// Tokens after tokenisation.
    pub tokens: Option<f64>,
    /// Entropy of the token frequencies, in nats a token: the loss of a model that knows the
    /// frequencies and nothing else.
    pub unigram_entropy_nats: Option<f64>,
    /// Lines of the source that could not be read.
    pub dropped_lines: Option<f64>,
}

#[derive(Deserialize)]
struct ExperimentRecord {
    pipeline: String,
    arms: Vec<Arm>,
    seeds: Vec<u64>,
    #[serde(default)]
    corpus: CorpusFacts,
    #[serde(default)]
    objectives: Vec<Value>,
}

/// How far a trial came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Trained until a stopping rule held, and evaluated.
    Finished,
    /// Ended by the `diverged` rule.
    Diverged,
    /// Ended by an error.
    Failed,
    /// Has a folder but no readable result.
    Unfinished,
    /// Has no folder.
    NotStarted,
}

impl Status {
    /// The word that tables print.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Status::Finished => "finished",
            Status::Diverged => "diverged",
            Status::Failed => "failed",
            Status::Unfinished => "unfinished",
            Status::NotStarted => "not started",
        }
    }
}

/// The fields of `result.json` that a report reads. A number that was not finite is `null` in JSON.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TrialResult {
    /// Name of the stopping rule that held.
    pub stopped_by: Option<String>,
    /// Its reason in words, or the diagnosis.
    pub reason: Option<String>,
    /// Optimizer steps.
    pub steps: Option<f64>,
    /// Tokens seen, padding left out.
    pub tokens: Option<f64>,
    /// Floating-point operations of the contractions.
    pub flops: Option<f64>,
    /// Wall-clock seconds.
    pub seconds: Option<f64>,
    /// Number of trained parameters.
    pub parameters: Option<f64>,
    /// Final metrics on the validation split.
    #[serde(deserialize_with = "metric_map")]
    pub validation: BTreeMap<String, f64>,
    /// Final metrics on the test split.
    #[serde(deserialize_with = "metric_map")]
    pub test: BTreeMap<String, f64>,
    /// "finished", "diverged" or "failed".
    pub status: Option<String>,
}

/// The numbers of a map of metrics; anything that is no number is left out.
fn metric_map<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, f64>, D::Error> {
    let map = Option::<BTreeMap<String, Value>>::deserialize(deserializer)?.unwrap_or_default();
    let numbers = map
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_f64()?)));
    Ok(numbers.collect())
}

/// One arm with one seed.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The arm's name.
    pub arm: String,
    /// The seed.
    pub seed: u64,
    /// How far it came.
    pub status: Status,
    /// `result.json`, with every field absent when there is none.
    pub result: TrialResult,
    /// What is wrong with `result.json`, when it is there but cannot be read.
    pub result_error: Option<String>,
    /// `metrics.jsonl`; none when there is no such file.
    pub metrics: Option<Metrics>,
}

/// Everything under `runs/<pipeline>/` that a report reads.
#[derive(Clone, Debug)]
pub struct Run {
    /// Name of the pipeline.
    pub pipeline: String,
    /// The arms in the order of the recipe, baseline first.
    pub arms: Vec<Arm>,
    /// The seeds in the order of the recipe.
    pub seeds: Vec<u64>,
    /// The corpus.
    pub corpus: CorpusFacts,
    /// Names of the objectives.
    pub objectives: Vec<String>,
    /// `environment.json` flattened to dotted keys.
    pub environment: Vec<(String, String)>,
    /// `recipe.yaml` as text.
    pub recipe: Option<String>,
    /// Every arm with every seed, arms outermost.
    pub trials: Vec<Trial>,
    /// Folders under `trials/` that belong to no arm and seed of the experiment.
    pub strangers: Vec<String>,
}

impl Run {
    /// Reads the records of a run.
    ///
    /// # Errors
    /// When `experiment.json` is missing or malformed, or a file that exists cannot be read.
    pub fn read(directory: &Path) -> Result<Run, ReportError> {
        let path = directory.join("experiment.json");
        let text =
            read_optional(&path)?.ok_or(ReportError::MissingRecord { path: path.clone() })?;
        let record: ExperimentRecord =
            serde_json::from_str(&text).map_err(|error| ReportError::BadRecord {
                path: path.clone(),
                detail: error.to_string(),
            })?;
        let mut arms = record.arms;
        // Stable: the order of the recipe is kept among the rest.
        arms.sort_by_key(|arm| !arm.is_baseline());
        let root = directory.join("trials");
        let mut trials = Vec::with_capacity(arms.len() * record.seeds.len());
        for arm in &arms {
            for &seed in &record.seeds {
                trials.push(read_trial(&root, &arm.name, seed)?);
            }
        }
        let strangers = strangers(&root, &trials)?;
        Ok(Run {
            pipeline: record.pipeline,
            arms,
            seeds: record.seeds,
            corpus: record.corpus,
            objectives: record
                .objectives
                .iter()
                .filter_map(objective_name)
                .collect(),
            environment: environment(&directory.join("environment.json"))?,
            recipe: read_optional(&directory.join("recipe.yaml"))?,
            trials,
            strangers,
        })
    }
}

/// The text of a file, or none when there is no such file.
fn read_optional(path: &Path) -> Result<Option<String>, ReportError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

fn trial_folder(root: &Path, arm: &str, seed: u64) -> PathBuf {
    root.join(arm).join(format!("seed-{seed}"))
}

fn read_trial(root: &Path, arm: &str, seed: u64) -> Result<Trial, ReportError> {
    let folder = trial_folder(root, arm, seed);
    let (result, result_error) = match read_optional(&folder.join("result.json"))? {
        None => (None, None),
        Some(text) => match serde_json::from_str::<TrialResult>(&text) {
            Ok(result) => (Some(result), None),
            Err(error) => (None, Some(format!("result.json: {error}"))),
        },
    };
    let status = match &result {
        None if folder.is_dir() => Status::Unfinished,
        None => Status::NotStarted,
        Some(result) => match result.status.as_deref() {
            // A record without a status was written by a trial that reached its end.
            None | Some("finished") => Status::Finished,
            Some("diverged") => Status::Diverged,
            Some(_) => Status::Failed,
        },
    };
    let lines = folder.join("metrics.jsonl");
    let metrics = if lines.is_file() {
        Some(metrics::read(&lines)?)
    } else {
        None
    };
    Ok(Trial {
        arm: arm.to_string(),
        seed,
        status,
        result: result.unwrap_or_default(),
        result_error,
        metrics,
    })
}

/// Folders of trials that the experiment does not name, such as those of an arm since removed.
fn strangers(root: &Path, trials: &[Trial]) -> Result<Vec<String>, ReportError> {
    let known: Vec<PathBuf> = trials
        .iter()
        .map(|t| trial_folder(root, &t.arm, t.seed))
        .collect();
    let mut found = Vec::new();
    for arm in folders(root)? {
        for trial in folders(&arm)? {
            let looks_like_a_trial = trial
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("seed-"));
            if looks_like_a_trial && !known.contains(&trial) {
                let relative = trial.strip_prefix(root).unwrap_or(&trial);
                found.push(relative.display().to_string());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn folders(path: &Path) -> Result<Vec<PathBuf>, ReportError> {
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io_error("read", path))? {
        let entry = entry.map_err(io_error("read", path))?.path();
        if entry.is_dir() {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
}

/// An objective is recorded as `"mlm"`, `{"name": "mlm", ..}` or, as in a recipe, `{"mlm": {..}}`.
fn objective_name(value: &Value) -> Option<String> {
    match value {
        Value::String(name) => Some(name.clone()),
        Value::Object(map) => match map.get("name") {
            Some(name) => name.as_str().map(str::to_string),
            None => map.keys().next().cloned(),
        },
        _ => None,
    }
}

fn environment(path: &Path) -> Result<Vec<(String, String)>, ReportError> {
    let Some(text) = read_optional(path)? else {
        return Ok(Vec::new());
    };
    // The environment is only shown, so a broken record is shown as such.
    let value = serde_json::from_str(&text)
        .unwrap_or_else(|error| Value::String(format!("environment.json is unreadable: {error}")));
    let mut facts = Vec::new();
    flatten("", &value, &mut facts);
    Ok(facts)
}

fn flatten(prefix: &str, value: &Value, facts: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                flatten(&key, value, facts);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (i, item) in items.iter().enumerate() {
                flatten(&format!("{prefix}.{i}"), item, facts);
            }
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            facts.push((prefix.to_string(), items.join(", ")));
        }
        other => facts.push((prefix.to_string(), plain(other))),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "unknown".to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_named_in_three_ways() {
        for text in [
            r#""mlm""#,
            r#"{"name": "mlm"}"#,
            r#"{"mlm": {"mask_rate": 0.15}}"#,
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(objective_name(&value).as_deref(), Some("mlm"), "{text}");
        }
    }

    #[test]
    fn the_environment_is_flattened_in_its_own_order() {
        let mut facts = Vec::new();
        let value =
            serde_json::json!({"cpu": {"threads": 2, "features": ["avx2", "fma"]}, "git": null});
        flatten("", &value, &mut facts);
        let facts: Vec<_> = facts.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            facts,
            ["cpu.threads=2", "cpu.features=avx2, fma", "git=unknown"]
        );
    }

    #[test]
    fn a_folder_without_an_experiment_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = Run::read(folder.path()).unwrap_err();
        assert!(matches!(error, ReportError::MissingRecord { .. }));
        std::fs::write(folder.path().join("experiment.json"), "{\"pipeline\": ").unwrap();
        let error = Run::read(folder.path()).unwrap_err();
        assert!(matches!(error, ReportError::BadRecord { .. }), "{error}");
    }
}
