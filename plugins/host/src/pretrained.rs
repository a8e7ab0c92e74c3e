//! Encoders from Hugging Face folders for an objective's graph hook.
//!
//! SAFETY of every function here: as in [`graph_api`](crate::graph_api).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ablate_abi::{status, GraphContext, PretrainedApi, Status, Str, Tensor as Handle};
use ablate_bert::{hf, BertConfig, Encoder, Parameters};
use ablate_graph::Tensor;
use ablate_train::{FrozenState, ObjectiveContext};

use crate::context::{answer, context, put, text, GraphCx, Refusal, Tag};
use crate::model_api::{config_number, node};

/// The folders that one instance has asked for, read once.
#[derive(Default)]
pub(crate) struct Folders(Vec<Folder>);

struct Folder {
    path: PathBuf,
    config: BertConfig,
    weights: BTreeMap<String, (Vec<usize>, Arc<Vec<f32>>)>,
    /// What the graph under construction has of it.
    encoder: Option<Encoder>,
    states: BTreeMap<String, Tensor>,
}

impl Folders {
    /// Forgets the graph of the call before.
    pub fn begin_graph(&mut self) {
        for folder in &mut self.0 {
            folder.encoder = None;
            folder.states.clear();
        }
    }

    /// Index of a folder, read on first use.
    fn open(&mut self, path: &str) -> Result<usize, Refusal> {
        if path.is_empty() {
            return Err(Refusal::invalid("the folder's path is empty"));
        }
        let path = Path::new(path);
        if let Some(known) = self.0.iter().position(|f| f.path == path) {
            return Ok(known);
        }
        let (config, tensors) = hf::import(path)?;
        self.0.push(Folder {
            path: path.to_owned(),
            config,
            weights: tensors
                .into_iter()
                .map(|(name, (shape, values))| (name, (shape, Arc::new(values))))
                .collect(),
            encoder: None,
            states: BTreeMap::new(),
        });
        Ok(self.0.len() - 1)
    }
}

impl Folder {
    /// Takes the weight `name` along into the graph's states.
    fn bring(
        &self,
        model: &mut ObjectiveContext<'_>,
        prefix: &str,
        name: &str,
    ) -> Result<(), Refusal> {
        let (_, values) = self.weights.get(name).ok_or_else(|| self.lacks(name))?;
        model.frozen.push(FrozenState {
            name: format!("{prefix}{name}"),
            values: values.clone(),
        });
        Ok(())
    }

    fn lacks(&self, name: &str) -> Refusal {
        Refusal {
            status: status::UNKNOWN_NAME,
            message: format!(
                "{} has no weight `{name}`; it has {} others",
                self.path.display(),
                self.weights.len()
            ),
        }
    }

    fn hidden(
        &mut self,
        model: &mut ObjectiveContext<'_>,
        prefix: &str,
    ) -> Result<Tensor, Refusal> {
        if let Some(encoder) = &self.encoder {
            return Ok(encoder.hidden().clone());
        }
        let inputs = model.encoder.inputs().clone();
        let in_folder = |message: String| {
            Refusal::invalid(format!("the model of {}: {message}", self.path.display()))
        };
        let mut parameters = Parameters::frozen(prefix);
        for (name, tensor) in &self.states {
            parameters.know(name, tensor);
        }
        let encoder = model
            .graph
            .scoped("pretrained", |g| {
                Encoder::frozen(g, &self.config, &inputs, parameters)
            })
            .map_err(|e| in_folder(e.to_string()))?;
        for spec in encoder.parameters() {
            self.bring(model, prefix, &spec.name)?;
            if let Some(tensor) = encoder.parameter(&spec.name) {
                self.states.insert(spec.name.clone(), tensor.clone());
            }
        }
        Ok(self.encoder.insert(encoder).hidden().clone())
    }

    fn weight(
        &mut self,
        model: &mut ObjectiveContext<'_>,
        prefix: &str,
        name: &str,
    ) -> Result<Tensor, Refusal> {
        if let Some(tensor) = self.states.get(name) {
            return Ok(tensor.clone());
        }
        let (shape, _) = self.weights.get(name).ok_or_else(|| self.lacks(name))?;
        let tensor = model.graph.state(&format!("{prefix}{name}"), shape)?;
        self.bring(model, prefix, name)?;
        self.states.insert(name.to_owned(), tensor.clone());
        Ok(tensor)
    }
}

/// Runs `body` on a folder, with the prefix of its states' names.
fn with_folder<T>(
    cx: &mut GraphCx<'_, '_>,
    path: &str,
    body: impl FnOnce(&mut Folder, &mut ObjectiveContext<'_>, &str) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let name = cx.objective.clone();
    let (folders, model) = cx.folders_and_model()?;
    let index = folders.open(path)?;
    let prefix = format!("frozen/{name}/{index}/");
    body(&mut folders.0[index], model, &prefix)
}

unsafe extern "C" fn number(
    cx: *mut GraphContext,
    folder: Str,
    name: Str,
    value: *mut f64,
) -> Status {
    answer(|| {
        // SAFETY: see the module.
        let (cx, folder, name): (&mut GraphCx<'_, '_>, _, _) = unsafe {
            (
                context(cx, Tag::Graph)?,
                text(folder, "the folder's path")?,
                text(name, "the number's name")?,
            )
        };
        let found = with_folder(cx, folder, |f, _, _| {
            config_number(&f.config, name)
                .ok_or_else(|| Refusal::unknown(format!("a configuration has no number `{name}`")))
        })?;
        // SAFETY: see the module.
        unsafe { put(value, found) }
    })
}

unsafe extern "C" fn hidden(cx: *mut GraphContext, folder: Str, out: *mut Handle) -> Status {
    unsafe {
        node(cx, out, |c| {
            let folder = text(folder, "the folder's path")?;
            with_folder(c, folder, |f, model, prefix| f.hidden(model, prefix))
        })
    }
}

unsafe extern "C" fn weight(
    cx: *mut GraphContext,
    folder: Str,
    name: Str,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let (folder, name) = (
                text(folder, "the folder's path")?,
                text(name, "the weight's name")?,
            );
            with_folder(c, folder, |f, model, prefix| f.weight(model, prefix, name))
        })
    }
}

unsafe extern "C" fn activation(
    cx: *mut GraphContext,
    folder: Str,
    x: Handle,
    out: *mut Handle,
) -> Status {
    unsafe {
        node(cx, out, |c| {
            let x = c.get(x)?;
            let folder = text(folder, "the folder's path")?;
            let activation = with_folder(c, folder, |f, _, _| Ok(f.config.hidden_act))?;
            Ok(activation.apply(c.graph(), &x)?)
        })
    }
}

/// The table behind [`ablate_abi::PRETRAINED_API`].
pub(crate) static TABLE: PretrainedApi = PretrainedApi {
    struct_size: size_of::<PretrainedApi>() as u32,
    reserved: 0,
    number: Some(number),
    hidden: Some(hidden),
    weight: Some(weight),
    activation: Some(activation),
};
