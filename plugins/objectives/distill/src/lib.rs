//! Knowledge distillation: at hidden tokens, predict the probabilities that a teacher gives.
//!
//! Owns: the loss between the two distributions, and the teacher's head. Must not know: how the teacher's
//! weights come into the graph.
//!
//! With `s_i` and `t_i` the logits of student and teacher at hidden token `i` and temperature `T`, the loss
//! of a micro-batch is `T^2 * sum over i of KL(softmax(t_i/T) || softmax(s_i/T))`; the trainer divides it by
//! the number of hidden tokens. `T^2` keeps the size of the gradient when `T` changes. Beside `mlm`, the
//! weights of the two are the mixture of soft and hard labels.
//!
//! The teacher is a masked language model in Hugging Face's format: an encoder with the head of
//! `BertForMaskedLM`, over the recipe's own vocabulary. It reads the same row with the same tokens hidden,
//! without dropout, in the same graph: its weights are constants, its operations are counted with the
//! step's. The student's head is that of `mlm`, shared with it where both are in a recipe. So are the hidden
//! tokens: where `mlm` stands before it, `distill` asks about the tokens that `mlm` hides, else it hides its
//! own as `masking` says.
//!
//! Sources: Hinton et al. 2015, section 2; Sanh et al. 2019 (the MLM distillation of DistilBERT,
//! `KLDivLoss(log_softmax(s/T), softmax(t/T)) * T^2`).

pub mod vocabulary;

use std::path::Path;

use ablate_mlm::head;
use ablate_mlm::masking::{self, Masker, Masking};
use ablate_sdk::abi::model_number;
use ablate_sdk::{
    check, Batch, Error, Feature, Layout, Objective, ObjectiveGraph, Pretrained, Result, Setup,
    Tensor,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `distill`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder of the teacher: `config.json`, `model.safetensors`, and `tokenizer.json` or `vocab.txt`.
    #[schemars(extend("format" = "path", "minLength" = 1))]
    pub teacher: String,
    /// Factor of the mean loss in the cumulative loss.
    #[serde(default = "one")]
    #[schemars(range(min = 0.0))]
    pub weight: f64,
    /// Softens both distributions; 1 leaves them as they are.
    #[serde(default = "two")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub temperature: f64,
    /// Which tokens are hidden in training, where no objective before has hidden any.
    #[serde(default)]
    pub masking: Masking,
    /// The same in held-out batches; BERT's way unless given.
    #[serde(default)]
    pub evaluation: Masking,
}

fn one() -> f64 {
    1.0
}

fn two() -> f64 {
    2.0
}

/// Whether a folder looks like a model's.
fn has_files(folder: &str) -> Result<()> {
    if !Path::new(folder).is_dir() {
        return Err(Error::Config(format!(
            "`teacher`: {folder:?} is no folder; it is one in Hugging Face's format"
        )));
    }
    let missing = ["config.json", "model.safetensors"]
        .into_iter()
        .find(|file| !Path::new(folder).join(file).is_file());
    match missing {
        None => Ok(()),
        Some(file) => Err(Error::Config(format!(
            "`teacher`: {folder} has no {file}; save the teacher with \
             `BertForMaskedLM.save_pretrained`"
        ))),
    }
}

/// The objective.
pub struct Distill {
    config: Config,
    training: Masker,
    evaluation: Masker,
}

impl Objective for Distill {
    const NAME: &'static str = "distill";
    const DESCRIPTION: &'static str =
        "Knowledge distillation: predict a teacher's probabilities of hidden tokens.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        let inside = |e| match e {
            Error::Config(text) => Error::Config(format!("in `masking`: {text}")),
            other => other,
        };
        let training = Masker::new(&config.masking).map_err(inside)?;
        let evaluation = Masker::for_evaluation(&config.evaluation)?;
        check::not_negative("weight", config.weight)?;
        check::positive("temperature", config.temperature)?;
        has_files(&config.teacher)?;
        Ok(Distill {
            config,
            training,
            evaluation,
        })
    }

    fn weight(&self) -> f64 {
        self.config.weight
    }

    fn check(&self, setup: &Setup<'_>) -> Result<()> {
        let folder = &self.config.teacher;
        let tokens = vocabulary::read(Path::new(folder))?;
        match &setup.vocabulary {
            Some(own) => vocabulary::compare(folder, &tokens, own),
            None => Err(Error::Config(format!(
                "the vocabulary will be trained, so it will not be that of the teacher {folder}; use \
                 the teacher's: {}",
                vocabulary::advice(folder)
            ))),
        }
    }

    fn features(&self) -> Vec<Feature> {
        vec![Feature {
            name: "labels",
            layout: Layout::PerToken,
            classes: None,
            density: Some(self.training.density()),
        }]
    }

    fn prepare(&mut self, batch: &mut Batch<'_>) -> Result<f64> {
        let masker = masking::of(batch, &self.training, &self.evaluation);
        let (labels, units) = masker.hide(batch)?;
        batch.write("labels", &labels)?;
        Ok(units as f64)
    }

    fn build<'g>(&mut self, g: &ObjectiveGraph<'g>) -> Result<Tensor<'g>> {
        let _scope = g.scope("distill")?;
        let positions = g.feature("labels.positions")?;
        let student = head::logits(g, head::states(g, g.hidden()?, positions)?)?;
        let teacher = self.teacher(g, positions)?;

        let (values, weights) = (g.feature("labels.values")?, g.feature("labels.weights")?);
        let sum = |t: Tensor<'g>| g.sum_all(g.mul(t, weights)?);
        g.metric("accuracy", sum(g.correct(student, values)?)?)?;
        g.metric("teacher_accuracy", sum(g.correct(teacher, values)?)?)?;
        g.metric("agreement", sum(agreement(g, student, teacher)?)?)?;

        let temperature = self.config.temperature;
        let soften = |logits| g.log_softmax(g.mul_scalar(logits, 1.0 / temperature)?, 1);
        let (log_p, log_q) = (soften(teacher)?, soften(student)?);
        let divergence = g.mul(g.exp(log_p)?, g.sub(log_p, log_q)?)?;
        let divergence = g.sum(divergence, &[1], false)?;
        g.mul_scalar(sum(divergence)?, temperature * temperature)
    }
}

impl Distill {
    /// The teacher's logits `[predictions, vocab]`.
    fn teacher<'g>(&self, g: &ObjectiveGraph<'g>, positions: Tensor<'g>) -> Result<Tensor<'g>> {
        let _scope = g.scope("teacher")?;
        let teacher = g.pretrained(&self.config.teacher);
        let vocab = g.vocab_size()?;
        let known = teacher.number(model_number::VOCAB_SIZE)? as usize;
        if known < vocab {
            return Err(Error::Config(format!(
                "the teacher {} knows {known} tokens, the model {vocab}; a teacher needs the model's \
                 vocabulary",
                self.config.teacher
            )));
        }
        let states = head::states(g, teacher.hidden()?, positions)?;
        let logits = logits(g, &teacher, states)?;
        // A table may have rows behind its last token, to fill up to a round number.
        let logits = if known > vocab {
            g.slice(logits, 1, 0, vocab)?
        } else {
            logits
        };
        g.stop_gradient(logits)
    }
}

/// The head of a folder's masked language model.
fn logits<'g>(
    g: &ObjectiveGraph<'g>,
    teacher: &Pretrained<'_, 'g>,
    states: Tensor<'g>,
) -> Result<Tensor<'g>> {
    let transform = "cls.predictions.transform";
    let weight = |name: &str| teacher.weight(name);
    let x = g.linear(
        states,
        weight(&format!("{transform}.dense.weight"))?,
        Some(weight(&format!("{transform}.dense.bias"))?),
    )?;
    let x = teacher.activation(x)?;
    let x = g.layer_norm(
        x,
        weight(&format!("{transform}.LayerNorm.weight"))?,
        weight(&format!("{transform}.LayerNorm.bias"))?,
        teacher.number(model_number::LAYER_NORM_EPS)?,
    )?;
    g.linear(
        x,
        weight("bert.embeddings.word_embeddings.weight")?,
        Some(weight("cls.predictions.bias")?),
    )
}

/// `[n]`: 1 where a token has the largest logit of both.
fn agreement<'g>(
    g: &ObjectiveGraph<'g>,
    student: Tensor<'g>,
    teacher: Tensor<'g>,
) -> Result<Tensor<'g>> {
    let best = |logits: Tensor<'g>| {
        let logits = g.stop_gradient(logits)?;
        g.greater_equal(logits, g.max(logits, &[1], true)?)
    };
    g.max(g.mul(best(student)?, best(teacher)?)?, &[1], false)
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Distillation of a masked language model from a Hugging Face folder.",
        objectives: [Distill],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_values_are_refused_by_key() {
        for (config, key) in [
            (r#"{"teacher": "t", "temperature": 0}"#, "temperature"),
            (r#"{"teacher": "t", "weight": -1}"#, "weight"),
            (r#"{"teacher": ""}"#, "no folder"),
            (r#"{"teacher": "/"}"#, "has no config.json"),
            (
                r#"{"teacher": "t", "masking": {"mask_rate": 1}}"#,
                "in `masking`: `mask_rate`",
            ),
        ] {
            let Err(Error::Config(text)) = Distill::new(serde_json::from_str(config).unwrap())
            else {
                panic!("{config} is accepted");
            };
            assert!(text.contains(key), "{text}");
        }
        assert!(serde_json::from_str::<Config>("{}").is_err());
    }
}
