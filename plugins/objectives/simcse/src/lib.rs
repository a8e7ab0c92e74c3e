//! SimCSE without labels: the same row twice under different dropout is a pair that belongs together,
//! all other rows of the micro-batch are negatives.
//!
//! Owns: the pooling, the projection, the contrastive loss and its metrics. Must not know: how the
//! encoder runs again.
//!
//! With `h_i` and `h'_i` the two sentence vectors of row `i`, `sim` the cosine and temperature `t`, the
//! loss of a micro-batch is `sum over rows i of -log(exp(sim(h_i, h'_i)/t) / sum over rows j of exp(sim(h_i,
//! h'_j)/t))`; the trainer divides it by the number of rows. Negatives are those of the micro-batch:
//! `accumulate` does not bring more. A micro-batch of one row has none, and a loss of 0.
//!
//! The first vector is that of the pass that all objectives share, the second comes from another pass
//! over the same tokens ([`ObjectiveGraph::encode`]): the same parameters, other dropout masks. The other way,
//! every row twice in the batch, would change the batches and the numbers of tokens and units of every
//! other objective, and so the comparison between arms. Beside an objective that hides tokens, both passes
//! read the row with the same tokens hidden.
//!
//! Dropout is not regularisation here but makes the question, as masks do in masked language modelling.
//! So held-out batches are asked with dropout in both views, by masks that are the same at every
//! evaluation; without it both views would be equal and every model perfect. All other objectives are
//! measured without dropout, and `uniformity` is that of vectors without it.
//!
//! Sources: Gao et al. 2021, equations 3 and 4, and `cl_forward` of their code (`cls` pooling goes through a
//! dense layer and tanh that only training uses; `avg` pooling does not); Wang and Isola 2020, equations 2
//! and 3 (alignment and uniformity).

use ablate_sdk::abi::model_number;
use ablate_sdk::{
    check, Batch, Error, Feature, Layout, Objective, ObjectiveGraph, Result, Role, Setup, Tensor,
    IGNORED,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Takes a padding row out of a softmax: large enough for a probability of exactly 0, and finite.
const OUT: f64 = 1e9;

/// Added to a vector's squared length, so that a vector of zeros has a direction: none.
const TINY: f64 = 1e-12;

/// Configuration of `simcse`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Factor of the mean loss in the cumulative loss; as an auxiliary beside it, the paper gives `mlm`
    /// a weight of 0.1.
    #[schemars(range(min = 0.0))]
    pub weight: f64,
    /// Divides the cosines.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub temperature: f64,
    /// What stands for a row.
    pub pooling: Pooling,
    /// Whether the loss sees the vectors through a dense layer and tanh of its own; unless given, with
    /// `cls` and not with `mean`.
    pub projection: Option<bool>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            weight: 1.0,
            temperature: 0.05,
            pooling: Pooling::Cls,
            projection: None,
        }
    }
}

/// What stands for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The last hidden state of the first token, `[CLS]`.
    Cls,
    /// The mean of the last hidden states of all tokens.
    Mean,
}

/// The objective.
pub struct SimCse {
    config: Config,
    projection: bool,
}

fn needs_dropout(hidden: f64, attention: f64) -> Result<()> {
    if hidden > 0.0 || attention > 0.0 {
        return Ok(());
    }
    Err(Error::Config(
        "`simcse` compares a row with itself under another dropout, but the model has none: set \
         `model.bert.dropout` above 0"
            .into(),
    ))
}

impl Objective for SimCse {
    const NAME: &'static str = "simcse";
    const DESCRIPTION: &'static str =
        "SimCSE: find a row's other view, under another dropout, among the batch.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        check::not_negative("weight", config.weight)?;
        check::positive("temperature", config.temperature)?;
        Ok(SimCse {
            projection: config.projection.unwrap_or(config.pooling == Pooling::Cls),
            config,
        })
    }

    fn weight(&self) -> f64 {
        self.config.weight
    }

    fn check(&self, setup: &Setup<'_>) -> Result<()> {
        needs_dropout(setup.hidden_dropout, setup.attention_dropout)
    }

    fn features(&self) -> Vec<Feature> {
        vec![Feature {
            name: "rows",
            layout: Layout::PerSequence,
            classes: Some(1),
            density: Some(1.0),
        }]
    }

    fn prepare(&mut self, batch: &mut Batch<'_>) -> Result<f64> {
        // The label of a row is its own number, which the graph knows; what it must be told is which
        // rows there are.
        let mut rows = vec![IGNORED; batch.batch()];
        rows[..batch.rows()].fill(0);
        batch.write("rows", &rows)?;
        Ok(batch.rows() as f64)
    }

    fn build<'g>(&mut self, g: &ObjectiveGraph<'g>) -> Result<Tensor<'g>> {
        let _scope = g.scope("simcse")?;
        needs_dropout(
            g.number(model_number::HIDDEN_DROPOUT)?,
            g.number(model_number::ATTENTION_DROPOUT)?,
        )?;
        let batch = g.batch()?;
        let weights = g.feature("rows.weights")?;

        let clean = |hidden| self.pool(g, hidden);
        let (first, uniformity_of) = if g.training()? {
            let shared = clean(g.hidden()?)?;
            (shared, shared)
        } else {
            (clean(g.encode("first", true)?)?, clean(g.hidden()?)?)
        };
        let second = clean(g.encode("second", true)?)?;

        let (a, b) = (
            unit(g, self.project(g, first)?)?,
            unit(g, self.project(g, second)?)?,
        );
        let cosines = g.mul_scalar(g.matmul_t(a, b)?, 1.0 / self.config.temperature)?;
        // Padding rows are nobody's negatives: [1, batch], 0 or far below.
        let out = g.mul_scalar(g.add_scalar(weights, -1.0)?, OUT)?;
        let logits = g.add(cosines, g.reshape(out, &[1, batch])?)?;
        let labels = g.iota(batch)?;

        let correct = g.mul(g.correct(logits, labels)?, weights)?;
        g.metric("accuracy", g.sum_all(correct)?)?;
        self.alignment(g, first, second, weights)?;
        self.uniformity(g, uniformity_of, weights)?;
        g.sum_all(g.cross_entropy(logits, labels, Some(weights))?)
    }
}

impl SimCse {
    /// `[batch, seq, hidden]` to `[batch, hidden]`.
    fn pool<'g>(&self, g: &ObjectiveGraph<'g>, hidden: Tensor<'g>) -> Result<Tensor<'g>> {
        let (batch, seq, size) = (g.batch()?, g.seq()?, g.hidden_size()?);
        match self.config.pooling {
            Pooling::Cls => g.reshape(g.slice(hidden, 1, 0, 1)?, &[batch, size]),
            Pooling::Mean => {
                let mask = g.reshape(g.attention_mask()?, &[batch, seq, 1])?;
                let sum = g.sum(g.mul(hidden, mask)?, &[1], false)?;
                // A padding row has no token, and a mean of 0.
                let count = g.maximum_scalar(g.sum(mask, &[1], false)?, 1.0)?;
                g.div(sum, count)
            }
        }
    }

    fn project<'g>(&self, g: &ObjectiveGraph<'g>, x: Tensor<'g>) -> Result<Tensor<'g>> {
        if !self.projection {
            return Ok(x);
        }
        let size = g.hidden_size()?;
        let weight = g.parameter("mlp.dense.weight", &[size, size], Role::Weight)?;
        let bias = g.parameter("mlp.dense.bias", &[size], Role::Bias)?;
        g.tanh(g.linear(x, weight, Some(bias))?)
    }

    /// `mean over rows of |f - f'|^2` of unit vectors before the projection.
    fn alignment<'g>(
        &self,
        g: &ObjectiveGraph<'g>,
        first: Tensor<'g>,
        second: Tensor<'g>,
        weights: Tensor<'g>,
    ) -> Result<()> {
        let apart = g.sub(unit(g, first)?, unit(g, second)?)?;
        let squared = g.sum(g.square(apart)?, &[1], false)?;
        g.metric("alignment", g.sum_all(g.mul(squared, weights)?)?)
    }

    /// `log mean over pairs of rows i < j of exp(-2 |f_i - f_j|^2)` of unit vectors before the projection,
    /// for each row once: the mean over micro-batches weighs them by their rows. 0 for a single row.
    fn uniformity<'g>(
        &self,
        g: &ObjectiveGraph<'g>,
        vectors: Tensor<'g>,
        weights: Tensor<'g>,
    ) -> Result<()> {
        let batch = g.batch()?;
        let f = unit(g, vectors)?;
        // |f_i - f_j|^2 = 2 - 2 cos
        let cosine = g.matmul_t(f, f)?;
        let kernel = g.exp(g.mul_scalar(g.add_scalar(cosine, -1.0)?, 4.0)?)?;
        let both = g.mul(
            g.reshape(weights, &[batch, 1])?,
            g.reshape(weights, &[1, batch])?,
        )?;
        let index = g.iota(batch)?;
        let others = g.less(
            g.reshape(index, &[batch, 1])?,
            g.reshape(index, &[1, batch])?,
        )?;
        let pairs = g.mul(both, others)?;
        let count = g.sum_all(pairs)?;
        let sum = g.sum_all(g.mul(kernel, pairs)?)?;
        let some = g.greater_scalar(count, 0.0)?;
        let one = g.scalar(1.0)?;
        let mean = g.div(g.select(some, sum, one)?, g.maximum_scalar(count, 1.0)?)?;
        let rows = g.sum_all(weights)?;
        g.metric("uniformity", g.mul(g.log(mean)?, rows)?)
    }
}

/// Vectors `[batch, hidden]` of length 1.
fn unit<'g>(g: &ObjectiveGraph<'g>, x: Tensor<'g>) -> Result<Tensor<'g>> {
    let squared = g.sum(g.square(x)?, &[1], true)?;
    g.mul(x, g.rsqrt(g.add_scalar(squared, TINY)?)?)
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Contrastive sentence vectors from dropout pairs, as in unsupervised SimCSE.",
        objectives: [SimCse],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_values_are_refused_by_key() {
        for (change, key) in [
            (
                Config {
                    temperature: 0.0,
                    ..Config::default()
                },
                "temperature",
            ),
            (
                Config {
                    weight: f64::NAN,
                    ..Config::default()
                },
                "weight",
            ),
        ] {
            let Err(Error::Config(text)) = SimCse::new(change) else {
                panic!("accepted");
            };
            assert!(text.contains(key), "{text}");
        }
    }

    #[test]
    fn a_model_without_dropout_is_refused() {
        let simcse = SimCse::new(Config::default()).unwrap();
        let check = |hidden_dropout, attention_dropout| {
            simcse.check(&Setup {
                objectives: vec!["simcse"],
                index: 0,
                hidden_dropout,
                attention_dropout,
                sequence_length: 64,
                vocabulary: None,
            })
        };
        assert!(check(0.1, 0.0).is_ok() && check(0.0, 0.1).is_ok());
        let Err(Error::Config(text)) = check(0.0, 0.0) else {
            panic!("accepted");
        };
        assert!(text.contains("`model.bert.dropout` above 0"), "{text}");
    }
}
