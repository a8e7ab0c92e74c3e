//! The whole experiment: arms times seeds.
//!
//! Owns the order of trials, what is skipped, and that one failing trial leaves the others running.
//! Must not know how a trial is run or how progress is shown.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ablate_datasets::curate::OperatorReport;
use ablate_recipe::{Arm, Loaded, Recipe};
use ablate_train::FileError;
use ablate_validator::process::Program;

use crate::data::{CorpusFacts, DataSet, DataStore};
use crate::device;
use crate::environment::{self, Environment};
use crate::error::{ExperimentError, LastSeen, Result};
use crate::events::{Event, Progress};
use crate::isolated::{self, Isolated, Office};
use crate::plugins::{in_words, Plugins};
use crate::result::{Status, TrialResult};
use crate::store::{RunStore, TrialStore};
use crate::trial::{self, TrialEnd, TrialInput};

/// How an experiment is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Folder of all runs.
    pub runs: PathBuf,
    /// Remove what an earlier run left, and start over.
    pub fresh: bool,
    /// Threads; 0 = all cores.
    pub threads: usize,
    /// How this program is started as a worker. Then a trial that uses loaded plugins runs in a process of
    /// its own, to the same bits, and takes nobody along when it crashes. None: all run in this process.
    pub worker: Option<Program>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            runs: PathBuf::from("runs"),
            fresh: false,
            threads: 0,
            worker: None,
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// `<runs>/<pipeline>`.
    pub folder: PathBuf,
    /// Folders of all trials that have a record now.
    pub trials: Vec<PathBuf>,
    /// Trials that were finished before.
    pub skipped: usize,
    /// Trials that ran and ended by a rule.
    pub finished: usize,
    /// Trials that ran and diverged.
    pub diverged: usize,
    /// Trials that broke.
    pub failed: usize,
    /// Whether it was asked to stop before the end.
    pub interrupted: bool,
}

/// Runs every trial of a recipe that has no record yet.
///
/// A trial that breaks (a plugin's error, a model that cannot be built) is recorded as failed, and the
/// others go on. A disk that cannot be written ends the run.
///
/// # Errors
/// When the run folder cannot be used or holds trials of another recipe, the baseline's data cannot
/// be prepared, or the device cannot be opened.
pub fn run(
    loaded: &Loaded,
    plugins: &Plugins,
    options: &RunOptions,
    progress: &mut dyn Progress,
    interrupt: &AtomicBool,
) -> Result<RunSummary> {
    let recipe = &loaded.recipe;
    let backend = device::open(recipe.device, recipe.precision, options.threads)?;
    let store = RunStore::open(&options.runs, &recipe.pipeline, options.fresh)?;
    let plan = plan(loaded, plugins, &store)?;
    let finished = plan.iter().filter(|t| t.done).count();
    let mut summary = RunSummary {
        folder: store.root().to_owned(),
        trials: plan
            .iter()
            .filter(|t| t.done)
            .map(|t| t.store.root().to_owned())
            .collect(),
        skipped: finished,
        finished: 0,
        diverged: 0,
        failed: 0,
        interrupted: false,
    };
    progress.event(Event::Planned {
        trials: plan.len(),
        finished,
    });
    if finished == plan.len() {
        return Ok(summary);
    }
    let threads = match options.threads {
        0 => device::default_threads(),
        n => n,
    };
    let yaml = recipe
        .to_yaml()
        .map_err(|e| ExperimentError::Recipe(format!("cannot write the recipe: {e}")))?;
    store.write_text("recipe.yaml", &yaml)?;
    store.write_json(
        "environment.json",
        &Environment {
            plugins: plugins.libraries(),
            ..environment::look(threads, backend.description())
        },
    )?;

    if let Some(advice) = backend.advice() {
        progress.event(Event::Warning(advice));
    }
    let office = options.worker.as_ref().map(|program| Office {
        program,
        plugins,
        baseline: recipe,
        lock: store.lock(),
    });
    progress.event(Event::Working("reading the corpus"));
    let because = in_words(&plugins.loaded_for_data(&recipe.data));
    let mut data = match &office {
        // Then no trial is for this process.
        Some(office) if !because.is_empty() => {
            let (facts, curation) = isolated::data(office, &because, progress)?;
            say_ready(&facts, progress);
            store.write_json("experiment.json", &record(loaded, &facts, &curation))?;
            None
        }
        _ => {
            let data = DataStore::new(&recipe.data, PathBuf::new(), plugins)?;
            say_ready(data.facts(), progress);
            let curation = &data.baseline().curation;
            store.write_json("experiment.json", &record(loaded, data.facts(), curation))?;
            Some(data)
        }
    };

    for (i, planned) in plan.iter().enumerate() {
        if planned.done {
            continue;
        }
        if interrupt.load(Ordering::Relaxed) {
            summary.interrupted = true;
            break;
        }
        let needed = in_words(&plugins.loaded_for(&planned.arm.recipe, recipe));
        let isolated = office.as_ref().filter(|_| !needed.is_empty());
        let outcome = match (isolated, &mut data) {
            (Some(office), _) => isolated::run(
                office,
                &Isolated {
                    arm: planned.arm,
                    seed: planned.seed,
                    number: i + 1,
                    trials: plan.len(),
                    threads: options.threads,
                    store: &planned.store,
                    because: &needed,
                },
                progress,
                interrupt,
            ),
            (None, Some(data)) => data
                .get(&planned.arm.recipe.data)
                .inspect(|set| announce(planned.arm, set, progress))
                .and_then(|set| {
                    let input = TrialInput {
                        arm: planned.arm,
                        seed: planned.seed,
                        number: i + 1,
                        trials: plan.len(),
                        data: &set,
                        backend: &*backend,
                        plugins,
                        store: &planned.store,
                    };
                    trial::run(&input, recipe, progress, interrupt)
                }),
            // The baseline's data is elsewhere only where a loaded operator makes it, and that
            // operator is needed by every trial.
            (None, None) => Err(ExperimentError::Recipe(
                "the data was prepared in another process, which this trial does not use"
                    .to_owned(),
            )),
        };
        match outcome {
            Ok(TrialEnd::Interrupted) => {
                summary.interrupted = true;
                break;
            }
            Ok(TrialEnd::Done(result)) => {
                match result.status {
                    Status::Diverged => summary.diverged += 1,
                    _ => summary.finished += 1,
                }
                summary.trials.push(planned.store.root().to_owned());
                progress.event(Event::TrialFinished(&result));
            }
            // Every later trial would meet the same disk.
            Err(error) if is_disk(&error) => return Err(error),
            Err(error) => {
                let result = failure(planned, &error, recipe, plugins);
                planned.store.create()?;
                planned.store.write_result(&result)?;
                summary.failed += 1;
                summary.trials.push(planned.store.root().to_owned());
                progress.event(Event::TrialFinished(&result));
            }
        }
    }
    Ok(summary)
}

fn say_ready(facts: &CorpusFacts, progress: &mut dyn Progress) {
    progress.event(Event::DataReady {
        summary: &format!(
            "{}: {} documents ({} train, {} validation, {} test), {} tokens, vocabulary {}, unigram entropy {:.3} nats",
            facts.name,
            facts.documents,
            facts.train_documents,
            facts.validation_documents,
            facts.test_documents,
            facts.tokens,
            facts.vocabulary,
            facts.unigram_entropy_nats
        ),
    });
}

struct Planned<'a> {
    arm: &'a Arm,
    seed: u64,
    store: TrialStore,
    done: bool,
}

/// All trials in order: every arm under the first seed, then under the second, so that an early look
/// at an unfinished experiment already compares arms.
fn plan<'a>(loaded: &'a Loaded, plugins: &Plugins, store: &RunStore) -> Result<Vec<Planned<'a>>> {
    let mut plan = Vec::new();
    for &seed in &loaded.recipe.seeds {
        for arm in &loaded.arms {
            let trial = store.trial(&arm.name, seed);
            let done = match trial.result()? {
                None => false,
                Some(value) => is_done(&value, arm, &loaded.recipe, plugins, trial.root())?,
            };
            plan.push(Planned {
                arm,
                seed,
                store: trial,
                done,
            });
        }
    }
    Ok(plan)
}

fn is_done(
    value: &serde_json::Value,
    arm: &Arm,
    baseline: &Recipe,
    plugins: &Plugins,
    at: &Path,
) -> Result<bool> {
    let text = |key: &str| value.get(key).and_then(serde_json::Value::as_str);
    if text("status") == Some("failed") {
        return Ok(false);
    }
    if text("fingerprint") == Some(trial::fingerprint(&arm.recipe, baseline, plugins).as_str()) {
        return Ok(true);
    }
    Err(ExperimentError::Record {
        path: at.to_owned(),
        detail: "this trial was run with other settings or another build of a plugin, so it does not belong beside new ones; use --fresh to start over, or --runs to choose \
                 another folder"
            .to_owned(),
    })
}

/// Says what an arm's data set means for the comparison.
pub(crate) fn announce(arm: &Arm, set: &DataSet, progress: &mut dyn Progress) {
    if !set.comparable {
        progress.event(Event::Warning(&format!(
            "arm {} has its own tokenizer, so its losses per token do not compare with the baseline's",
            arm.name
        )));
    }
}

/// Whether an error is the disk's, which every later trial would meet, too.
pub(crate) fn is_disk(error: &ExperimentError) -> bool {
    use ablate_bert::BertError;
    use ablate_train::checkpoint::CheckpointError;
    use ablate_train::TrainError;
    let full = |e: &FileError| e.action != "read";
    match error {
        ExperimentError::File(e) | ExperimentError::Train(TrainError::File(e)) => full(e),
        ExperimentError::Train(TrainError::Checkpoint(CheckpointError::File(e))) => full(e),
        ExperimentError::Bert(BertError::Io { .. }) => true,
        ExperimentError::Elsewhere { disk, .. } => *disk,
        _ => false,
    }
}

fn failure(
    planned: &Planned<'_>,
    error: &ExperimentError,
    baseline: &Recipe,
    plugins: &Plugins,
) -> TrialResult {
    let last = match error {
        ExperimentError::Died { last, .. } => *last,
        _ => LastSeen::default(),
    };
    TrialResult {
        arm: planned.arm.name.clone(),
        data: planned.arm.data.clone(),
        model: planned.arm.model.clone(),
        seed: planned.seed,
        status: Status::Failed,
        stopped_by: "error".to_owned(),
        reason: error.to_string(),
        steps: last.steps,
        tokens: last.tokens,
        flops: 0.0,
        seconds: last.seconds,
        data_wait_seconds: 0.0,
        parameters: last.parameters,
        validation: None,
        test: None,
        diagnosis: Vec::new(),
        comparable: true,
        curation: Vec::new(),
        plugins: plugins.loaded_for(&planned.arm.recipe, baseline),
        fingerprint: trial::fingerprint(&planned.arm.recipe, baseline, plugins),
    }
}

/// `experiment.json`.
fn record(loaded: &Loaded, facts: &CorpusFacts, curation: &[OperatorReport]) -> serde_json::Value {
    let arms: Vec<serde_json::Value> = loaded
        .arms
        .iter()
        .map(|arm| {
            serde_json::json!({
                "name": arm.name,
                "kind": arm.kind,
                "data": arm.data,
                "model": arm.model,
            })
        })
        .collect();
    let objectives: Vec<&str> = loaded
        .recipe
        .objectives
        .iter()
        .map(|o| o.name.as_str())
        .collect();
    serde_json::json!({
        "pipeline": loaded.recipe.pipeline,
        "arms": arms,
        "seeds": loaded.recipe.seeds,
        "corpus": facts,
        "curation": curation,
        "objectives": objectives,
        "report": loaded.recipe.report,
    })
}
