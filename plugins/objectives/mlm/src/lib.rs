//! Masked language modelling: hide some tokens, predict them from both sides.
//!
//! Owns: which tokens are hidden and what replaces them ([`masking`], [`select`]), and the head that
//! predicts them ([`head`]). Must not know: the encoder, the batches' order, how losses of several
//! objectives are joined.
//!
//! The loss of a micro-batch is `sum over hidden tokens i of -log softmax(logits_i)[token_i]`; the
//! trainer divides it by the number of hidden tokens.
//!
//! Sources: Devlin et al. 2019, section 3.1; Google's `create_masked_lm_predictions` (exact counts,
//! whole words); Hugging Face's `DataCollatorForLanguageModeling` (a coin per token) and
//! `BertLMPredictionHead` (the head and its parameter names); Joshi et al. 2020 (spans); Wettig et al.
//! 2023 (which rate, and that 80/10/10 need not be). A rate that falls while training goes on is that of
//! Ankner et al. 2024.
//!
//! Held-out batches are hidden as `evaluation` says, BERT's way unless given, and not as training is:
//! a model that is trained with more or longer gaps must not be measured by harder questions.

pub mod head;
pub mod masking;
pub mod rate;
pub mod select;
pub mod span;
pub mod words;

use ablate_sdk::{check, Batch, Feature, Layout, Objective, ObjectiveGraph, Result, Tensor};
use schemars::JsonSchema;
use serde::Deserialize;

use masking::{Masker, Masking, Selection, Unit};
use rate::MaskRate;
use span::Span;

/// Configuration of `mlm`: the keys of [`Masking`] for training, and two more.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Factor of the mean loss in the cumulative loss.
    #[schemars(range(min = 0.0))]
    pub weight: f64,
    /// Share of tokens to predict, between 0 and 1, both exclusive; or a schedule.
    pub mask_rate: MaskRate,
    /// What is hidden together.
    pub unit: Unit,
    /// How tokens or words are chosen; `bernoulli` unless given. Spans are always `exact`.
    pub selection: Option<Selection>,
    /// With an exact count: at most this many tokens of a sequence (Google: 20 of 128).
    #[schemars(range(min = 1))]
    pub max_predictions: Option<u32>,
    /// With `unit: span`: how long spans are.
    pub span: Span,
    /// Share of the chosen tokens that become `[MASK]`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub mask_token_rate: f64,
    /// Share of the chosen tokens that become a random token; the rest stays as it is.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub random_token_rate: f64,
    /// How tokens of held-out batches are hidden, whatever training does; BERT's way unless given.
    pub evaluation: Masking,
}

impl Default for Config {
    fn default() -> Self {
        let Masking {
            mask_rate,
            unit,
            selection,
            max_predictions,
            span,
            mask_token_rate,
            random_token_rate,
        } = Masking::default();
        Config {
            weight: 1.0,
            mask_rate,
            unit,
            selection,
            max_predictions,
            span,
            mask_token_rate,
            random_token_rate,
            evaluation: Masking::default(),
        }
    }
}

impl Config {
    fn training(&self) -> Masking {
        Masking {
            mask_rate: self.mask_rate,
            unit: self.unit,
            selection: self.selection,
            max_predictions: self.max_predictions,
            span: self.span,
            mask_token_rate: self.mask_token_rate,
            random_token_rate: self.random_token_rate,
        }
    }
}

/// The objective.
pub struct Mlm {
    weight: f64,
    training: Masker,
    evaluation: Masker,
}

impl Objective for Mlm {
    const NAME: &'static str = "mlm";
    const DESCRIPTION: &'static str = "Masked language modelling: predict hidden tokens.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        let training = Masker::new(&config.training())?;
        let evaluation = Masker::for_evaluation(&config.evaluation)?;
        check::not_negative("weight", config.weight)?;
        Ok(Mlm {
            weight: config.weight,
            training,
            evaluation,
        })
    }

    fn weight(&self) -> f64 {
        self.weight
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
        let _scope = g.scope("mlm")?;
        // Only the hidden tokens reach the head: [predictions, hidden].
        let states = head::states(g, g.hidden()?, g.feature("labels.positions")?)?;
        let logits = head::logits(g, states)?;
        let (values, weights) = (g.feature("labels.values")?, g.feature("labels.weights")?);
        let correct = g.mul(g.correct(logits, values)?, weights)?;
        g.metric("accuracy", g.sum_all(correct)?)?;
        g.sum_all(g.cross_entropy(logits, values, Some(weights))?)
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Masked language modelling, as in BERT and SpanBERT.",
        objectives: [Mlm],
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use ablate_sdk::Error;

    fn refused(config: &str) -> String {
        match Mlm::new(serde_json::from_str(config).unwrap()) {
            Err(Error::Config(text)) => text,
            _ => panic!("{config} is accepted"),
        }
    }

    #[test]
    fn impossible_values_are_refused_by_key() {
        for rate in ["0.0", "1.0", "-0.1"] {
            assert!(refused(&format!(r#"{{"mask_rate": {rate}}}"#)).contains("mask_rate"));
        }
        for (config, key) in [
            (r#"{"random_token_rate": 0.3}"#, "random_token_rate"),
            (r#"{"weight": -1}"#, "weight"),
            (r#"{"max_predictions": 20}"#, "selection: exact"),
            (
                r#"{"max_predictions": 0, "selection": "exact"}"#,
                "max_predictions",
            ),
            (r#"{"unit": "span", "selection": "bernoulli"}"#, "selection"),
            (r#"{"unit": "span", "span": {"p": 0}}"#, "span.p"),
            (r#"{"evaluation": {"mask_rate": 2}}"#, "in `evaluation`"),
            (
                r#"{"evaluation": {"mask_rate": {"from": 0.3, "to": 0.1, "steps": 9}}}"#,
                "one number",
            ),
        ] {
            assert!(refused(config).contains(key), "{config}");
        }
        for config in [
            r#"{"mask_token_rate": 0.9}"#,
            r#"{"unit": "span", "max_predictions": 20}"#,
            r#"{"unit": "whole_word", "selection": "exact"}"#,
            r#"{"mask_rate": {"from": 0.3, "to": 0.1, "epochs": 9}}"#,
        ] {
            assert!(Mlm::new(serde_json::from_str(config).unwrap()).is_ok());
        }
        assert!(Mlm::new(Config {
            weight: f64::NAN,
            ..Config::default()
        })
        .is_err());
    }
}
