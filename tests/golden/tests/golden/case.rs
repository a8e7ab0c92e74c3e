//! A frozen case: what `generate.py` wrote into one folder of `data/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ablate_bert::hf::{import, Tensors};
use ablate_bert::BertConfig;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

/// Losses before one optimizer step and the gradient's norm before clipping.
#[derive(Clone, Debug, Deserialize)]
pub struct Step {
    pub mlm_loss: f64,
    pub nsp_loss: f64,
    pub grad_norm: f64,
}

/// The settings of torch.optim.AdamW and of the clipping.
#[derive(Clone, Debug, Deserialize)]
pub struct AdamW {
    pub lr: f64,
    pub betas: (f64, f64),
    pub eps: f64,
    pub weight_decay: f64,
    pub clip_norm: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Golden {
    pub mlm_loss: f64,
    pub nsp_loss: f64,
    pub optimizer: AdamW,
    pub steps: Vec<Step>,
}

/// Whole numbers, `[batch, seq]` row-major or `[batch]`.
#[derive(Clone, Debug)]
pub struct Batch {
    pub batch: usize,
    pub seq: usize,
    pub input_ids: Vec<i64>,
    pub token_type_ids: Vec<i64>,
    pub attention_mask: Vec<i64>,
    /// -100 where nothing is predicted.
    pub labels: Vec<i64>,
    pub next_sentence_label: Vec<i64>,
}

impl Batch {
    /// Flat positions with a label, and the labels.
    pub fn predictions(&self) -> Vec<(usize, i64)> {
        let all = self.labels.iter().copied().enumerate();
        all.filter(|(_, label)| *label != -100).collect()
    }
}

/// Everything about one case.
pub struct Case {
    pub folder: PathBuf,
    pub config: BertConfig,
    pub parameters: Tensors,
    pub batch: Batch,
    pub forward: Tensors,
    pub gradients: Tensors,
    pub after: Tensors,
    pub golden: Golden,
}

/// Names of all cases.
pub const CASES: [&str; 2] = ["even", "odd"];

impl Case {
    pub fn load(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("data")
            .join(name);
        let (config, parameters) = import(&folder).unwrap();
        let golden = fs::read_to_string(folder.join("golden.json")).unwrap();
        Case {
            config,
            parameters,
            batch: batch(&folder.join("batch.safetensors")),
            forward: floats(&folder.join("forward.safetensors")),
            gradients: floats(&folder.join("gradients.safetensors")),
            after: floats(&folder.join("after.safetensors")),
            golden: serde_json::from_str(&golden).unwrap(),
            folder,
        }
    }

    /// The same examples padded to the longest rows that the model has positions for. PyTorch's
    /// numbers stay right: they do not depend on how much padding there is.
    pub fn with_longest_rows(mut self) -> Self {
        let (old, new) = (self.batch.seq, self.config.max_position_embeddings);
        let widen = |values: &mut Vec<i64>, padding: i64| {
            let rows = values.chunks(old);
            let rows = rows.map(|row| [row, &vec![padding; new - old]].concat());
            *values = rows.collect::<Vec<_>>().concat();
        };
        widen(&mut self.batch.input_ids, 0);
        widen(&mut self.batch.token_type_ids, 0);
        widen(&mut self.batch.attention_mask, 0);
        widen(&mut self.batch.labels, -100);
        self.batch.seq = new;
        self
    }
}

pub fn floats(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, view)| {
            assert_eq!(view.dtype(), Dtype::F32, "{name}");
            let values = view.data().chunks_exact(4);
            let values = values.map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            (name.to_string(), (view.shape().to_vec(), values.collect()))
        })
        .collect()
}

fn batch(path: &Path) -> Batch {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<i64>)> = file
        .iter()
        .map(|(name, view)| {
            assert_eq!(view.dtype(), Dtype::I64, "{name}");
            let values = view.data().chunks_exact(8);
            let values = values.map(|b| i64::from_le_bytes(b.try_into().unwrap()));
            (name.to_string(), (view.shape().to_vec(), values.collect()))
        })
        .collect();
    let shape = tensors["input_ids"].0.clone();
    let mut take = |name: &str| tensors.remove(name).unwrap().1;
    Batch {
        batch: shape[0],
        seq: shape[1],
        input_ids: take("input_ids"),
        token_type_ids: take("token_type_ids"),
        attention_mask: take("attention_mask"),
        labels: take("labels"),
        next_sentence_label: take("next_sentence_label"),
    }
}
