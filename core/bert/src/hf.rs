//! Hugging Face model folders: `config.json`, `model.safetensors` and the tokenizer's files.
//!
//! Owns: what such a folder contains and under which names. Must not know: where the values come
//! from, or what a tokenizer is.
//!
//! Names in memory are always those of `BertForPreTraining`, with the `bert.` prefix.

mod names;
mod read;
mod write;

use std::collections::BTreeMap;

pub use read::import;
pub use write::{export, ExportTensor};

/// Shape and row-major values by Hugging Face name.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The weights' file.
const WEIGHTS: &str = "model.safetensors";
/// The configuration's file.
const CONFIG: &str = "config.json";
