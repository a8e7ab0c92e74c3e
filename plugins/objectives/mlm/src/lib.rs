//! Masked language modelling: hide some tokens, predict them from both sides.
//!
//! Owns: which tokens are hidden and what replaces them ([`select`]), and the head that predicts them.
//! Must not know: the encoder, the batches' order, how losses of several objectives are joined.
//!
//! Sources: Devlin et al. 2019, section 3.1; Google's `create_masked_lm_predictions` (exact counts);
//! Hugging Face's `DataCollatorForLanguageModeling` (a coin per token) and `BertLMPredictionHead`
//! (the head and its parameter names).

pub mod select;

use ablate_sdk::{
    Batch, Error, Feature, Layout, Objective, ObjectiveGraph, Result, Role, Tensor, IGNORED,
};
use schemars::JsonSchema;
use serde::Deserialize;

use select::{mask_row, Rates, Row};

/// Configuration of `mlm`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Factor of the mean loss in the cumulative loss.
    #[schemars(range(min = 0.0))]
    pub weight: f64,
    /// Share of tokens to predict, between 0 and 1, both exclusive.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub mask_rate: f64,
    /// How tokens are chosen.
    pub selection: Selection,
    /// With `selection: exact`: at most this many tokens of a sequence (Google: 20 of 128).
    #[schemars(range(min = 1))]
    pub max_predictions: Option<u32>,
    /// Share of the chosen tokens that become `[MASK]`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub mask_token_rate: f64,
    /// Share of the chosen tokens that become a random token; the rest stays as it is.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub random_token_rate: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            weight: 1.0,
            mask_rate: 0.15,
            selection: Selection::Bernoulli,
            max_predictions: None,
            mask_token_rate: 0.8,
            random_token_rate: 0.1,
        }
    }
}

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Selection {
    /// Each token by its own coin, as Hugging Face: `mask_rate` on average.
    Bernoulli,
    /// A fixed number per sequence, as Google: `mask_rate` of its length, rounded, at least one.
    Exact,
}

/// The objective.
pub struct Mlm {
    config: Config,
    rates: Rates,
}

impl Objective for Mlm {
    const NAME: &'static str = "mlm";
    const DESCRIPTION: &'static str = "Masked language modelling: predict hidden tokens.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        let refuse = |text: String| Err(Error::Config(text));
        if !(config.mask_rate > 0.0 && config.mask_rate < 1.0) {
            return refuse(format!(
                "`mask_rate` is {}; it lies between 0 and 1, both exclusive",
                config.mask_rate
            ));
        }
        if !(config.weight >= 0.0 && config.weight.is_finite()) {
            return refuse(format!(
                "`weight` is {}; it is a number from 0 on",
                config.weight
            ));
        }
        let shares = [config.mask_token_rate, config.random_token_rate];
        if shares.iter().any(|s| !(0.0..=1.0).contains(s)) || shares[0] + shares[1] > 1.0 + 1e-9 {
            return refuse(format!(
                "`mask_token_rate` {} and `random_token_rate` {} are shares that add up to at most 1",
                shares[0], shares[1]
            ));
        }
        match (config.max_predictions, config.selection) {
            (Some(0), _) => return refuse("`max_predictions` is 0; it is at least 1".into()),
            (Some(_), Selection::Bernoulli) => {
                return refuse("`max_predictions` needs `selection: exact`".into());
            }
            _ => {}
        }
        let rates = Rates {
            mask_rate: config.mask_rate,
            exact: (config.selection == Selection::Exact)
                .then(|| config.max_predictions.map_or(usize::MAX, |n| n as usize)),
            mask_token: config.mask_token_rate,
            random_token: config.random_token_rate,
        };
        Ok(Mlm { config, rates })
    }

    fn weight(&self) -> f64 {
        self.config.weight
    }

    fn features(&self) -> Vec<Feature> {
        vec![Feature {
            name: "labels",
            layout: Layout::PerToken,
            classes: None,
            density: Some(self.config.mask_rate),
        }]
    }

    fn prepare(&mut self, batch: &mut Batch<'_>) -> Result<f64> {
        let (rows, seq) = (batch.rows(), batch.seq());
        let mut labels = vec![IGNORED; batch.batch() * seq];
        let (attended, special) = (batch.attention_mask(), batch.special_tokens_mask());
        let row = Row {
            mask_id: batch.mask_id(),
            special_ids: batch.special_ids(),
            vocab_size: batch.vocab_size(),
        };
        let mut units = 0;
        for r in 0..rows {
            let random = batch.random(r)?;
            let span = r * seq..(r + 1) * seq;
            units += mask_row(
                &self.rates,
                &row,
                &attended[span.clone()],
                &special[span.clone()],
                &mut batch.input_ids()[span.clone()],
                &mut labels[span],
                &random,
            )?;
        }
        batch.write("labels", &labels)?;
        Ok(units as f64)
    }

    fn build<'g>(&mut self, g: &ObjectiveGraph<'g>) -> Result<Tensor<'g>> {
        let _scope = g.scope("mlm")?;
        let (hidden_size, vocab) = (g.hidden_size()?, g.vocab_size()?);
        let tokens = g.batch()? * g.seq()?;

        // Only the hidden tokens reach the head: [predictions, hidden].
        let states = g.reshape(g.hidden()?, &[tokens, hidden_size])?;
        let states = g.gather(states, g.feature("labels.positions")?)?;

        let dense = "cls.predictions.transform.dense";
        let weight = g.parameter(
            &format!("{dense}.weight"),
            &[hidden_size, hidden_size],
            Role::Weight,
        )?;
        let bias = g.parameter(&format!("{dense}.bias"), &[hidden_size], Role::Bias)?;
        let states = g.activation(g.linear(states, weight, Some(bias))?)?;

        let norm = "cls.predictions.transform.LayerNorm";
        let gamma = g.parameter(&format!("{norm}.weight"), &[hidden_size], Role::NormScale)?;
        let beta = g.parameter(&format!("{norm}.bias"), &[hidden_size], Role::NormBias)?;
        let states = g.layer_norm(states, gamma, beta, g.layer_norm_eps()?)?;

        // The decoder is the transposed table of word embeddings, with a bias of its own.
        let bias = g.parameter("cls.predictions.bias", &[vocab], Role::Bias)?;
        let logits = g.linear(states, g.word_embeddings()?, Some(bias))?;

        let (values, weights) = (g.feature("labels.values")?, g.feature("labels.weights")?);
        let correct = g.mul(g.correct(logits, values)?, weights)?;
        g.metric("accuracy", g.sum_all(correct)?)?;
        g.sum_all(g.cross_entropy(logits, values, Some(weights))?)
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Masked language modelling, as in BERT.",
        objectives: [Mlm],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl Fn(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        match Mlm::new(config) {
            Err(Error::Config(text)) => text,
            _ => panic!("accepted"),
        }
    }

    #[test]
    fn impossible_values_are_refused_by_key() {
        for rate in [0.0, 1.0, -0.1, f64::NAN] {
            assert!(refused(|c| c.mask_rate = rate).contains("mask_rate"));
        }
        assert!(refused(|c| c.random_token_rate = 0.3).contains("random_token_rate"));
        assert!(refused(|c| c.weight = f64::INFINITY).contains("weight"));
        assert!(refused(|c| c.max_predictions = Some(20)).contains("selection: exact"));
        assert!(Mlm::new(Config {
            mask_token_rate: 0.9,
            ..Config::default()
        })
        .is_ok());
    }
}
