//! The recipe's model as a BERT configuration.
//!
//! Owns the mapping of names. Must not know how the model is built.

use std::path::Path;

use ablate_bert::{hf, Activation, BertConfig, Init};
use ablate_recipe as recipe;
use ablate_train::checkpoint::States;

use crate::data::DataSet;
use crate::error::{ExperimentError, Result};

/// What a trial starts from.
#[derive(Clone, Debug)]
pub struct ModelPlan {
    /// The configuration.
    pub config: BertConfig,
    /// How weights start.
    pub init: Init,
    /// Weights of a checkpoint in Hugging Face format, if the recipe names one.
    pub initial: States,
}

/// Reads the recipe's model for a vocabulary.
///
/// # Errors
/// When a named checkpoint cannot be read or does not fit the tokenizer, or the held-out sequences
/// are longer than the positions.
pub fn plan(bert: &recipe::Bert, data: &DataSet) -> Result<ModelPlan> {
    let facts = data.tokenizer.facts();
    let mut config = BertConfig {
        vocab_size: facts.size,
        pad_token_id: Some(facts.pad as usize),
        ..shape(bert)
    };
    let mut initial = States::new();
    if let Some(folder) = &bert.huggingface {
        let (stored, tensors) = load(folder)?;
        if facts.size > stored.vocab_size {
            return Err(ExperimentError::Recipe(format!(
                "the tokenizer has {} entries but the checkpoint {} has {}; use its own: data.tokenizer: {{file: {}}}",
                facts.size,
                folder.display(),
                stored.vocab_size,
                folder.join("tokenizer.json").display()
            )));
        }
        config.vocab_size = stored.vocab_size;
        config.type_vocab_size = stored.type_vocab_size;
        config.extra = stored.extra;
        initial = tensors;
    }
    let longest = data.sequence_length.max(data.evaluation_length);
    if longest > config.max_position_embeddings {
        return Err(ExperimentError::Recipe(format!(
            "held-out sequences have {longest} tokens (the baseline's data.sequence_length), but model.bert.max_positions is {}",
            config.max_position_embeddings
        )));
    }
    config.validate()?;
    Ok(ModelPlan {
        config,
        init: init(bert.init),
        initial,
    })
}

/// The parts of the configuration that the recipe alone decides.
pub fn shape(bert: &recipe::Bert) -> BertConfig {
    BertConfig {
        hidden_size: bert.hidden,
        num_hidden_layers: bert.layers,
        num_attention_heads: bert.heads,
        intermediate_size: bert.intermediate,
        hidden_act: match bert.activation {
            recipe::Activation::Gelu => Activation::Gelu,
            recipe::Activation::GeluTanh => Activation::GeluNew,
            recipe::Activation::Relu => Activation::Relu,
            recipe::Activation::Silu => Activation::Silu,
            recipe::Activation::Tanh => Activation::Tanh,
        },
        hidden_dropout_prob: bert.dropout,
        attention_probs_dropout_prob: bert.attention_dropout,
        max_position_embeddings: bert.max_positions,
        layer_norm_eps: bert.layer_norm_eps,
        initializer_range: match bert.init {
            recipe::Init::Normal(std) | recipe::Init::TruncatedNormal(std) => std,
            _ => BertConfig::default().initializer_range,
        },
        ..BertConfig::default()
    }
}

fn init(init: recipe::Init) -> Init {
    match init {
        recipe::Init::Normal(std) => Init::Normal { std },
        recipe::Init::TruncatedNormal(std) => Init::TruncatedNormal { std },
        recipe::Init::Zeros => Init::Zeros,
        recipe::Init::Constant(value) => Init::Constant(value as f32),
        recipe::Init::Xavier => Init::Xavier,
    }
}

fn load(folder: &Path) -> Result<(BertConfig, States)> {
    Ok(hf::import(folder)?)
}
