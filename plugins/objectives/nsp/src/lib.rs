//! Next-sentence prediction: does the second segment follow the first, or is it a random one?
//!
//! Owns: the head over the pooled state and its labels. Must not know: how pairs are made.
//!
//! Sources: Devlin et al. 2019, section 3.1; Hugging Face's `BertOnlyNSPHead` (parameter names, and
//! label 1 for a random second segment).

use ablate_sdk::{
    check, Batch, Error, Feature, Layout, Objective, ObjectiveGraph, Result, Tensor, IGNORED,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `nsp`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Factor of the mean loss in the cumulative loss.
    #[schemars(range(min = 0.0))]
    pub weight: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { weight: 1.0 }
    }
}

/// The objective.
pub struct Nsp(Config);

impl Objective for Nsp {
    const NAME: &'static str = "nsp";
    const DESCRIPTION: &'static str =
        "Next-sentence prediction: tell successors from random segments.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        check::not_negative("weight", config.weight)?;
        Ok(Nsp(config))
    }

    fn weight(&self) -> f64 {
        self.0.weight
    }

    fn needs_sentence_pairs(&self) -> bool {
        true
    }

    fn features(&self) -> Vec<Feature> {
        vec![Feature {
            name: "labels",
            layout: Layout::PerSequence,
            classes: Some(2),
            density: Some(1.0),
        }]
    }

    fn prepare(&mut self, batch: &mut Batch<'_>) -> Result<f64> {
        let labels = batch.next_sentence_label().ok_or_else(|| {
            Error::Other(
                "the examples are no sentence pairs, so there is nothing to predict".into(),
            )
        })?;
        batch.write("labels", labels)?;
        Ok(labels.iter().filter(|label| **label != IGNORED).count() as f64)
    }

    fn build<'g>(&mut self, g: &ObjectiveGraph<'g>) -> Result<Tensor<'g>> {
        let _scope = g.scope("nsp")?;
        g.classify_sequences("cls.seq_relationship", "labels", 2)
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Next-sentence prediction, as in BERT.",
        objectives: [Nsp],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_a_finite_number_from_0_on() {
        assert!(Nsp::new(Config { weight: 0.0 }).is_ok());
        for weight in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(Nsp::new(Config { weight }), Err(Error::Config(_))));
        }
    }
}
