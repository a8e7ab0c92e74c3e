//! One trial: an arm under a seed.
//!
//! Owns the way from an arm's recipe to a record: model, plugins, batches, trainer, exports. Must not
//! know the other trials.

use std::sync::atomic::AtomicBool;

use ablate_bert::hf::{self, ExportTensor};
use ablate_bert::BertConfig;
use ablate_compiler::Backend;
use ablate_datasets::Tokenizer;
use ablate_recipe::{Arm, Recipe};
use ablate_train::{CheckpointPolicy, Ending, Outcome, Parts, TrainEvent, Trainer, TrainerConfig};
use sha2::{Digest, Sha256};

use crate::batches::TrialBatches;
use crate::data::{hex, DataSet};
use crate::error::Result;
use crate::events::{Event, Progress};
use crate::model::{self, ModelPlan};
use crate::objectives::{check, pairs, yardstick};
use crate::plugins::Plugins;
use crate::result::{metrics, Status, TrialResult};
use crate::store::TrialStore;

/// What the trial is given.
pub(crate) struct TrialInput<'a> {
    pub arm: &'a Arm,
    pub seed: u64,
    pub number: usize,
    pub trials: usize,
    pub data: &'a DataSet,
    pub backend: &'a dyn Backend,
    pub plugins: &'a Plugins,
    pub store: &'a TrialStore,
}

/// How a trial left off.
pub(crate) enum TrialEnd {
    /// It has a record.
    Done(Box<TrialResult>),
    /// It was asked to stop and has saved itself.
    Interrupted,
}

/// Hash of every setting that decides a trial's numbers, and of the libraries that it uses: with another
/// binary it is another trial. Seeds of other trials, other arms, the device and the report are left out:
/// changing those leaves finished trials valid.
pub(crate) fn fingerprint(arm: &Recipe, baseline: &Recipe, plugins: &Plugins) -> String {
    let mut settings = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "data": arm.data,
        // What is held out, and the tokenizer, come from the baseline; so does what is asked there.
        "baseline_data": baseline.data,
        "baseline_objectives": baseline.objectives.iter().map(|o| &o.name).collect::<Vec<_>>(),
        "model": arm.model,
        "objectives": arm.objectives,
        "optimizer": arm.optimizer,
        "schedule": arm.schedule,
        "train": arm.train,
        "stop": arm.stop,
        "evaluate": arm.evaluate,
        "precision": arm.precision,
    });
    let libraries: Vec<_> = plugins
        .loaded_for(arm, baseline)
        .into_iter()
        .map(|used| serde_json::json!([used.kind, used.name, used.sha256]))
        .collect();
    if !libraries.is_empty() {
        settings["libraries"] = libraries.into();
    }
    hex(&Sha256::digest(settings.to_string().as_bytes()))
}

/// Steps that a trial takes at most, as far as the recipe says: for the progress display.
pub(crate) fn total_steps(recipe: &Recipe) -> Option<u64> {
    let limits = recipe
        .stop
        .iter()
        .filter_map(ablate_recipe::Stop::max_steps);
    let scheduled = recipe.schedule.config.get("total_steps");
    limits
        .min()
        .or(scheduled.and_then(serde_json::Value::as_u64))
}

/// Everything that [`Trainer::new`] needs, without touching the disk.
pub(crate) fn parts(
    recipe: &Recipe,
    baseline: &Recipe,
    plan: &ModelPlan,
    data: &DataSet,
    seed: u64,
    backend: &dyn Backend,
    plugins: &Plugins,
) -> Result<(TrainerConfig, Parts)> {
    let objectives = plugins.objectives(&recipe.objectives)?;
    check(&objectives, &plan.config, data)?;
    let source = TrialBatches::new(
        data,
        pairs(&objectives)?,
        recipe.train.batch_size,
        recipe.train.accumulate,
        seed,
    )?;
    let yardstick = yardstick(&objectives, &plugins.objectives(&baseline.objectives)?)?;
    let source = source.measured_by(&yardstick)?;
    let config = TrainerConfig {
        model: plan.config.clone(),
        init: plan.init,
        initial: plan.initial.clone(),
        seed,
        packed: recipe.train.packed,
        clip_norm: recipe.train.clip_norm,
        learning_rate: recipe.optimizer.learning_rate,
        evaluate_every: Some(recipe.evaluate.every_steps),
        metrics: None,
        checkpoint: CheckpointPolicy::default(),
        fingerprint: String::new(),
    };
    let parts = Parts {
        session: backend.session()?,
        objectives,
        optimizer: plugins.optimizer(&recipe.optimizer)?,
        schedule: plugins.schedule(&recipe.schedule)?,
        rules: plugins.rules(&recipe.stop)?,
        source: Box::new(source),
    };
    Ok((config, parts))
}

/// Runs a trial to its end, going on from its checkpoint when there is one.
pub(crate) fn run(
    input: &TrialInput<'_>,
    baseline: &Recipe,
    progress: &mut dyn Progress,
    interrupt: &AtomicBool,
) -> Result<TrialEnd> {
    let TrialInput {
        arm, data, store, ..
    } = *input;
    let recipe = &arm.recipe;
    let settings = fingerprint(recipe, baseline, input.plugins);
    let plan = model::plan(&recipe.model.bert, data)?;
    let (mut config, parts) = parts(
        recipe,
        baseline,
        &plan,
        data,
        input.seed,
        input.backend,
        input.plugins,
    )?;
    store.create()?;
    config.metrics = Some(store.metrics());
    config.checkpoint.path = Some(store.checkpoint());
    config.fingerprint = format!("{settings} {} {}", data.digest, input.seed);
    let mut trainer = Trainer::new(config, parts)?;
    progress.event(Event::TrialStarted {
        arm: &arm.name,
        seed: input.seed,
        number: input.number,
        trials: input.trials,
        parameters: trainer.parameter_count(),
        resumed_at: trainer.step(),
        total_steps: total_steps(recipe),
    });
    if !trainer.resumed() {
        export(&trainer, &plan.config, &data.tokenizer, store, "step-0")?;
    }
    let outcome = trainer.run(
        &mut |event| {
            progress.event(match event {
                TrainEvent::Step(row) => Event::Step(row),
                TrainEvent::Evaluation(row) => Event::Evaluation(row),
                TrainEvent::Checkpoint { step } => Event::Checkpoint { step },
            });
        },
        interrupt,
    )?;
    if outcome.ending == Ending::Interrupted {
        return Ok(TrialEnd::Interrupted);
    }
    // A model that is not a number any more is of no use to anyone.
    if matches!(outcome.ending, Ending::Stopped { .. }) {
        export(&trainer, &plan.config, &data.tokenizer, store, "final")?;
    }
    let result = result(
        input,
        baseline,
        outcome,
        trainer.parameter_count(),
        settings,
    );
    store.write_result(&result)?;
    store.remove_checkpoint()?;
    Ok(TrialEnd::Done(Box::new(result)))
}

fn export(
    trainer: &Trainer,
    config: &BertConfig,
    tokenizer: &Tokenizer,
    store: &TrialStore,
    name: &str,
) -> Result<()> {
    let tensors = trainer.tensors()?;
    let tensors: Vec<ExportTensor<'_>> = tensors
        .iter()
        .map(|t| ExportTensor {
            name: &t.name,
            shape: &t.shape,
            values: &t.values,
        })
        .collect();
    let files: Vec<(String, Vec<u8>)> = tokenizer
        .files()?
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes))
        .collect();
    let folder = store.export(name);
    if let Some(parent) = folder.parent() {
        ablate_train::files::create_folder(parent)?;
    }
    hf::export(&folder, config, &tensors, &files)?;
    Ok(())
}

fn result(
    input: &TrialInput<'_>,
    baseline: &Recipe,
    outcome: Outcome,
    parameters: u64,
    fingerprint: String,
) -> TrialResult {
    let (status, stopped_by, reason) = match outcome.ending {
        Ending::Stopped { by, reason } => (Status::Finished, by, reason),
        Ending::Diverged { by, reason } => (Status::Diverged, by, reason),
        // The caller has returned by then.
        Ending::Interrupted => (Status::Failed, "interrupt".to_owned(), String::new()),
    };
    TrialResult {
        arm: input.arm.name.clone(),
        data: input.arm.data.clone(),
        model: input.arm.model.clone(),
        seed: input.seed,
        status,
        stopped_by,
        reason,
        steps: outcome.steps,
        tokens: outcome.tokens,
        flops: outcome.flops,
        seconds: outcome.seconds,
        data_wait_seconds: outcome.data_wait_seconds,
        parameters,
        validation: outcome.validation.as_ref().map(metrics),
        test: outcome.test.as_ref().map(metrics),
        diagnosis: outcome.diagnosis,
        comparable: input.data.comparable,
        curation: input.data.curation.clone(),
        plugins: input.plugins.loaded_for(&input.arm.recipe, baseline),
        fingerprint,
    }
}
