//! `{{snake}}`: hides words and predicts each from the words around it.
//!
//! The data hook (`prepare`) hides and labels, the graph hook (`build`) predicts; the loss is the sum of
//! the cross-entropies of the hidden words.

use ablate_sdk::{
    Batch, Error, Feature, Layout, Objective, ObjectiveGraph, Result, Role, Tensor, IGNORED,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// What a recipe says under `{{snake}}`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Share of words that are hidden.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    rate: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { rate: 0.15 }
    }
}

/// The objective.
pub struct {{Type}}(Config);

impl Objective for {{Type}} {
    const NAME: &'static str = "{{snake}}";
    const DESCRIPTION: &'static str = "Predicts hidden words.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        // The schema is for editors and recipes; what the plugin cannot use, it refuses itself.
        if config.rate <= 0.0 || config.rate >= 1.0 {
            let text = format!("`rate` is {}; it is between 0 and 1", config.rate);
            return Err(Error::Config(text));
        }
        Ok({{Type}}(config))
    }

    fn features(&self) -> Vec<Feature> {
        vec![Feature {
            name: "labels",
            layout: Layout::PerToken,
            classes: None,
            density: Some(self.0.rate),
        }]
    }

    /// Hides words of a batch, and returns how many.
    fn prepare(&mut self, batch: &mut Batch<'_>) -> Result<f64> {
        let (seq, mask) = (batch.seq(), batch.mask_id());
        let special = batch.special_tokens_mask();
        let mut labels = vec![IGNORED; batch.batch() * seq];
        let mut units = 0.0;
        for row in 0..batch.rows() {
            // A row's random numbers are its own: the same row, the same words, in any batch.
            let numbers = batch.random(row)?.uniforms(seq)?;
            for (number, at) in numbers.into_iter().zip(row * seq..) {
                if special[at] == 0 && f64::from(number) < self.0.rate {
                    labels[at] = batch.input_ids()[at];
                    batch.input_ids()[at] = mask;
                    units += 1.0;
                }
            }
        }
        batch.write("labels", &labels)?;
        Ok(units)
    }

    /// The loss of a batch as nodes of the graph, summed over its hidden words.
    fn build<'g>(&mut self, g: &ObjectiveGraph<'g>) -> Result<Tensor<'g>> {
        let tokens = g.batch()? * g.seq()?;
        let states = g.reshape(g.hidden()?, &[tokens, g.hidden_size()?])?;
        let states = g.gather(states, g.feature("labels.positions")?)?;
        let bias = g.parameter("{{snake}}.bias", &[g.vocab_size()?], Role::Bias)?;
        let logits = g.linear(states, g.word_embeddings()?, Some(bias))?;
        // Weights are 0 where the graph has room and the batch no label.
        let (labels, weights) = (g.feature("labels.values")?, g.feature("labels.weights")?);
        let correct = g.mul(g.correct(logits, labels)?, weights)?;
        g.metric("accuracy", g.sum_all(correct)?)?;
        g.sum_all(g.cross_entropy(logits, labels, Some(weights))?)
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "The objective {{snake}}.",
        objectives: [{{Type}}],
    };
}
ablate_sdk::export!(PLUGIN);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_rates_are_refused_by_key() {
        for rate in [0.0, 1.0, -0.1] {
            let refused = {{Type}}::new(Config { rate }).err().unwrap();
            assert!(refused.to_string().contains("`rate`"));
        }
        assert!({{Type}}::new(Config::default()).is_ok());
    }
}
