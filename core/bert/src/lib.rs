//! BERT as Google and Hugging Face define it, over [`ablate_graph`].
//!
//! Owns: the configuration and its rules, the encoder and pooler as graph nodes, the names, shapes,
//! roles and first values of their parameters, and the Hugging Face folder format. Must not know:
//! backends, training, objectives (the heads are built by their plugins, from [`dense`],
//! [`layer_norm`] and [`Activation`] where they are written in Rust).
//!
//! Sources: Devlin, Chang, Lee, Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers
//! for Language Understanding", 2019; `modeling.py` of google-research/bert; `modeling_bert.py` of
//! Hugging Face transformers, whose parameter names are used throughout.

mod activation;
mod config;
mod encoder;
mod error;
pub mod hf;
mod init;
mod inputs;
mod layers;
mod parameters;
mod validate;
mod wanted;

pub use activation::Activation;
pub use config::BertConfig;
pub use encoder::Encoder;
pub use error::{BertError, Result};
pub use init::{initial_values, Init};
pub use inputs::{BertInputs, Layout, Places};
pub use layers::{dense, layer_norm, Parameters};
pub use parameters::{
    encoder_parameters, mlm_head_parameters, nsp_head_parameters, pooler_parameters,
    ParameterCounts, ParameterSpec, Role, WORD_EMBEDDINGS,
};
pub use validate::ConfigProblem;
pub use wanted::Wanted;
