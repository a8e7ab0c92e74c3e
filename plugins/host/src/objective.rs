//! [`ablate_train::Objective`] over an objective's function table.

use ablate_abi::{needs, split, BatchView, ObjectiveApi, ObjectiveSetup, Str};
use ablate_train::{
    Objective, ObjectiveContext, ObjectiveGraph, PluginError, PreparedBatch, Setup, Split,
};
use serde_json::Value;

use crate::batch_api::{BatchCx, DeclareCx, Declared};
use crate::context::{GraphCx, Target};
use crate::instance::Instance;
use crate::pretrained::Folders;

/// An objective of a plugin.
pub struct ObjectivePlugin {
    instance: Instance,
    api: ObjectiveApi,
    config: Value,
    weight: f64,
    needs: u32,
    features: Vec<Declared>,
    folders: Folders,
}

impl ObjectivePlugin {
    pub(crate) fn new(name: &str, api: ObjectiveApi, config: &Value) -> Result<Self, String> {
        let missing = || "its table has null functions".to_owned();
        let (create, destroy) = api.create.zip(api.destroy).ok_or_else(missing)?;
        // SAFETY: both are of one checked table.
        let instance = unsafe { Instance::new(name, create, destroy, config) }?;
        let mut weight = 0.0;
        let mut needs = 0;
        let mut declared = DeclareCx::new();
        let (weigh, need, declare) = (
            api.weight.ok_or_else(missing)?,
            api.needs.ok_or_else(missing)?,
            api.features.ok_or_else(missing)?,
        );
        // SAFETY: the functions are of the instance's table, the results writable.
        let asked = unsafe {
            instance
                .call("weight", |raw| weigh(raw, &mut weight))
                .and_then(|()| instance.call("needs", |raw| need(raw, &mut needs)))
                .and_then(|()| {
                    let into = std::ptr::from_mut(&mut declared).cast();
                    instance.call("features", |raw| declare(raw, into))
                })
        };
        asked.map_err(|e| e.message)?;
        Ok(ObjectivePlugin {
            instance,
            api,
            config: config.clone(),
            weight,
            needs,
            features: declared.features,
            folders: Folders::default(),
        })
    }

    /// Names of the features that the data hook writes.
    pub fn features(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(|f| f.name.as_str())
    }

    fn missing(&self, hook: &str) -> PluginError {
        self.instance.error(hook, "the function is null")
    }
}

/// What is wrong with a batch before any pointer into it is given away.
fn misshapen(batch: &PreparedBatch) -> Option<String> {
    let tokens = batch.batch * batch.seq;
    let vocabulary = batch.vocabulary.size;
    [
        ("input_ids", batch.input_ids.len(), tokens),
        ("token_type_ids", batch.token_type_ids.len(), tokens),
        ("attention_mask", batch.attention_mask.len(), tokens),
        (
            "special_tokens_mask",
            batch.special_tokens_mask.len(),
            tokens,
        ),
        ("original_ids", batch.original_ids.len(), tokens),
        ("predicted", batch.predicted.len(), tokens),
        ("example_ids", batch.example_ids.len(), batch.batch),
        ("row_keys", batch.row_keys.len(), batch.batch),
        (
            "next_sentence_label",
            batch
                .next_sentence_label
                .as_ref()
                .map_or(batch.batch, Vec::len),
            batch.batch,
        ),
        (
            "segment_order_label",
            batch
                .segment_order_label
                .as_ref()
                .map_or(batch.batch, Vec::len),
            batch.batch,
        ),
    ]
    .into_iter()
    .find(|(_, found, needed)| found != needed)
    .map(|(array, found, needed)| {
        format!("the batch's `{array}` has {found} elements, not {needed}")
    })
    .or_else(|| {
        (batch.rows > batch.batch)
            .then(|| format!("the batch has {} rows of {}", batch.rows, batch.batch))
    })
    .or_else(|| (vocabulary == 0).then(|| "the vocabulary is empty".to_owned()))
}

/// The array of labels, null where there is none.
fn labels(labels: &Option<Vec<i64>>) -> *const i64 {
    labels
        .as_ref()
        .map_or(std::ptr::null(), |labels| labels.as_ptr())
}

impl Objective for ObjectivePlugin {
    fn name(&self) -> &str {
        self.instance.name()
    }

    fn weight(&self) -> f64 {
        self.weight
    }

    fn needs_pairs(&self) -> bool {
        self.needs & needs::SENTENCE_PAIRS != 0
    }

    fn needs_ordered_pairs(&self) -> bool {
        self.needs & needs::ORDERED_PAIRS != 0
    }

    fn check(&self, setup: &Setup<'_>) -> Result<(), PluginError> {
        let Some(check) = self.api.check else {
            return Ok(());
        };
        let names: Vec<Str> = setup.objectives.iter().map(|n| Str::new(n)).collect();
        let vocabulary: Option<Vec<Str>> = setup
            .vocabulary
            .map(|tokens| tokens.iter().map(|t| Str::new(t)).collect());
        let view = ObjectiveSetup {
            struct_size: size_of::<ObjectiveSetup>() as u32,
            // A recipe has a handful of objectives.
            index: setup.index as u32,
            objectives: names.as_ptr(),
            objective_count: names.len(),
            hidden_dropout: setup.hidden_dropout,
            attention_dropout: setup.attention_dropout,
            sequence_length: setup.sequence_length as u64,
            vocabulary: vocabulary.as_ref().map_or(std::ptr::null(), |v| v.as_ptr()),
            vocab_size: vocabulary.as_ref().map_or(0, |v| v.len() as u64),
        };
        // SAFETY: the function is of the instance's table; the arrays outlive the call.
        self.instance
            .call("check", |raw| unsafe { check(raw, &view) })
    }

    fn predicts_tokens(&self, feature: &str) -> bool {
        let declared = self.features.iter().find(|f| f.name == feature);
        declared.is_some_and(|f| f.per_token && f.classes == 0)
    }

    fn duplicate(&self) -> Result<Box<dyn Objective>, PluginError> {
        ObjectivePlugin::new(self.name(), self.api, &self.config)
            .map(|made| Box::new(made) as Box<dyn Objective>)
            .map_err(|message| self.instance.error("create", message))
    }

    fn prepare(&mut self, batch: &mut PreparedBatch) -> Result<f64, PluginError> {
        const HOOK: &str = "prepare";
        let prepare = self.api.prepare.ok_or_else(|| self.missing(HOOK))?;
        if batch.original_ids.is_empty() {
            batch.begin();
        }
        if let Some(problem) = misshapen(batch) {
            return Err(self.instance.error(HOOK, problem));
        }
        let facts = &batch.vocabulary;
        let view = BatchView {
            struct_size: size_of::<BatchView>() as u32,
            reserved: 0,
            rows: batch.rows as u64,
            batch: batch.batch as u64,
            seq: batch.seq as u64,
            input_ids: batch.input_ids.as_mut_ptr(),
            token_type_ids: batch.token_type_ids.as_ptr(),
            attention_mask: batch.attention_mask.as_ptr(),
            // A `bool` is one byte, 0 or 1.
            special_tokens_mask: batch.special_tokens_mask.as_ptr().cast(),
            next_sentence_label: labels(&batch.next_sentence_label),
            example_ids: batch.example_ids.as_ptr(),
            row_keys: batch.row_keys.as_ptr(),
            vocab_size: facts.size as u64,
            mask_id: facts.mask_id,
            pad_id: facts.pad_id,
            special_ids: facts.special_ids.as_ptr(),
            special_count: facts.special_ids.len(),
            continues_word: if facts.continuation.len() == facts.size {
                facts.continuation.as_ptr().cast()
            } else {
                std::ptr::null()
            },
            split: match batch.place.split {
                Split::Train => split::TRAIN,
                Split::Validation | Split::Test => split::VALIDATION,
            },
            reserved_2: 0,
            step: batch.place.step,
            epoch: batch.place.epoch,
            segment_order_label: labels(&batch.segment_order_label),
            original_ids: batch.original_ids.as_ptr(),
            predicted: batch.predicted.as_mut_ptr(),
        };
        let mut cx = BatchCx::new(&self.features, batch.batch, batch.seq, view.vocab_size);
        let opaque = std::ptr::from_mut(&mut cx).cast();
        let mut units = f64::NAN;
        // SAFETY: the arrays have the sizes that the view says, and outlive the call; nothing else
        // touches the batch meanwhile.
        self.instance.call(HOOK, |raw| unsafe {
            prepare(raw, opaque, &view, &mut units)
        })?;
        let written = cx.written;
        let error = |message: String| Err(self.instance.error(HOOK, message));
        if !(units >= 0.0 && units.is_finite()) {
            return error(format!(
                "the number of units is {units}; it is a number from 0 on"
            ));
        }
        if let Some(absent) = self
            .features
            .iter()
            .find(|f| !written.contains_key(&f.name))
        {
            return error(format!(
                "the declared feature `{}` was not written",
                absent.name
            ));
        }
        let outside = |id: &i64| usize::try_from(*id).map_or(true, |id| id >= facts.size);
        if let Some(id) = batch.input_ids.iter().find(|id| outside(id)) {
            return error(format!(
                "there is the token id {id} in `input_ids`; ids are in 0..{}",
                facts.size
            ));
        }
        batch.features.extend(written);
        Ok(units)
    }

    fn build(&mut self, cx: &mut ObjectiveContext<'_>) -> Result<ObjectiveGraph, PluginError> {
        const HOOK: &str = "build";
        let build = self.api.build.ok_or_else(|| self.missing(HOOK))?;
        let mut graph = GraphCx::new(Target::Model(cx));
        graph.objective = self.instance.name().to_owned();
        graph.folders = std::mem::take(&mut self.folders);
        graph.folders.begin_graph();
        let mut loss = ablate_abi::NO_TENSOR;
        let opaque = graph.opaque();
        // SAFETY: the context lives for the call and is used by nobody else meanwhile.
        let called = self
            .instance
            .call(HOOK, |raw| unsafe { build(raw, opaque, &mut loss) });
        graph.close_scopes();
        self.folders = std::mem::take(&mut graph.folders);
        called?;
        let loss_sum = graph.get(loss).map_err(|e| {
            self.instance
                .error(HOOK, format!("the loss: {}", e.message))
        })?;
        if loss_sum.rank() != 0 {
            return Err(self.instance.error(
                HOOK,
                format!(
                    "the loss has shape {:?}; it is a scalar [], a sum over the units",
                    loss_sum.shape()
                ),
            ));
        }
        Ok(ObjectiveGraph {
            loss_sum,
            metrics: graph.metrics,
        })
    }
}
