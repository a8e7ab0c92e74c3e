//! Sentence-order prediction: do two successive segments stand in order, or are they swapped?
//!
//! Owns the head over the pooled state and its labels. Must not know: how pairs are made. The data crate
//! makes rows of two successive segments of one document and swaps half of them; see
//! [`Objective::needs_ordered_pairs`]. Rows are laid out before any hook runs, so other objectives see
//! rows like any others, and hide tokens in them.
//!
//! The loss of a micro-batch is `sum over rows r of -log softmax(W pooled_r + b)[swapped_r]`; the trainer
//! divides it by the number of rows.
//!
//! Sources: Lan et al. 2020, section 3.1; Google's ALBERT (`get_sentence_order_output`, no dropout before
//! the head; label 1 for swapped segments); Hugging Face's `AlbertSOPHead` (parameter names).

use ablate_sdk::{
    check, Batch, Error, Feature, Layout, Objective, ObjectiveGraph, Result, Tensor, IGNORED,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `sop`.
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
pub struct Sop(Config);

impl Objective for Sop {
    const NAME: &'static str = "sop";
    const DESCRIPTION: &'static str =
        "Sentence-order prediction: tell successive segments from swapped ones.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        check::not_negative("weight", config.weight)?;
        Ok(Sop(config))
    }

    fn weight(&self) -> f64 {
        self.0.weight
    }

    fn needs_ordered_pairs(&self) -> bool {
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
        let labels = batch.segment_order_label().ok_or_else(|| {
            Error::Other(
                "the examples are no pairs of successive segments, so they have no order to predict"
                    .into(),
            )
        })?;
        batch.write("labels", labels)?;
        Ok(labels.iter().filter(|label| **label != IGNORED).count() as f64)
    }

    fn build<'g>(&mut self, g: &ObjectiveGraph<'g>) -> Result<Tensor<'g>> {
        let _scope = g.scope("sop")?;
        g.classify_sequences("sop_classifier.classifier", "labels", 2)
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Sentence-order prediction, as in ALBERT.",
        objectives: [Sop],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_a_finite_number_from_0_on() {
        assert!(Sop::new(Config { weight: 0.0 }).is_ok());
        for weight in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(Sop::new(Config { weight }), Err(Error::Config(_))));
        }
    }
}
