//! Replaced-token detection without a generator: some tokens are replaced by random ones; for every
//! token, was it replaced?
//!
//! Owns: which tokens are replaced, and the head that tells. Must not know: the encoder, other objectives
//! beyond what the batch says of them.
//!
//! With `y_i` = 1 where token `i` was replaced and `x_i` its logit, the loss of a micro-batch is `sum over
//! tokens i of max(x_i, 0) - x_i y_i + log(1 + exp(-|x_i|))`, the binary cross-entropy of `sigmoid(x_i)`;
//! the trainer divides it by the number of tokens. All real tokens count, `[CLS]` and `[SEP]` as well,
//! which are never replaced. A token that is replaced by itself was not replaced.
//!
//! Beside `mlm`, tokens that it hides are left alone and are not asked about: ELECTRA's discriminator
//! never sees `[MASK]`. So `rtd` stands behind every objective that hides tokens.
//!
//! Sources: Clark et al. 2020, equation 2; Google's ELECTRA (`get_discriminator_output`: which tokens
//! count; a loss weight of 50 beside masked words); Hugging Face's `ElectraDiscriminatorPredictions` (the
//! head and its parameter names). Here replacements come from the vocabulary uniformly, special tokens
//! excepted, and not from a generator: the "random" baseline of the paper's idea, also called RTS (random
//! token substitution, Di Liello et al. 2022).

use ablate_mlm::select::random_id;
use ablate_sdk::{
    check, Batch, Error, Feature, Layout, Objective, ObjectiveGraph, Result, Role, Setup, Split,
    Tensor, IGNORED,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Streams of a row's random numbers: `mlm` has those below.
const COINS: u64 = 3;
const DRAWS: u64 = 4;

/// Configuration of `rtd`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Factor of the mean loss in the cumulative loss; beside `mlm`, ELECTRA uses 50.
    #[schemars(range(min = 0.0))]
    pub weight: f64,
    /// Share of tokens to replace, each by its own coin, between 0 and 1, both exclusive.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub replace_rate: f64,
    /// The same in held-out batches, whatever training does.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub evaluation_rate: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            weight: 1.0,
            replace_rate: 0.15,
            evaluation_rate: 0.15,
        }
    }
}

/// The objective.
pub struct Rtd(Config);

impl Objective for Rtd {
    const NAME: &'static str = "rtd";
    const DESCRIPTION: &'static str =
        "Replaced-token detection: tell which tokens were replaced by random ones.";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        for (key, rate) in [
            ("replace_rate", config.replace_rate),
            ("evaluation_rate", config.evaluation_rate),
        ] {
            if !(rate > 0.0 && rate < 1.0) {
                return Err(Error::Config(format!(
                    "`{key}` is {rate}; it lies between 0 and 1, both exclusive"
                )));
            }
        }
        check::not_negative("weight", config.weight)?;
        Ok(Rtd(config))
    }

    fn weight(&self) -> f64 {
        self.0.weight
    }

    fn check(&self, setup: &Setup<'_>) -> Result<()> {
        let behind = setup.objectives.iter().skip(setup.index + 1);
        match behind.copied().find(|name| ["mlm", "distill"].contains(name)) {
            None => Ok(()),
            Some(other) => Err(Error::Config(format!(
                "`rtd` asks about every token as the model reads it, but `{other}` hides tokens after \
                 it; list `rtd` behind `{other}`"
            ))),
        }
    }

    fn features(&self) -> Vec<Feature> {
        vec![Feature {
            name: "replaced",
            layout: Layout::PerToken,
            classes: Some(2),
            density: Some(1.0),
        }]
    }

    fn prepare(&mut self, batch: &mut Batch<'_>) -> Result<f64> {
        let rate = match batch.split() {
            Split::Train => self.0.replace_rate,
            Split::Validation => self.0.evaluation_rate,
        };
        let (rows, seq) = (batch.rows(), batch.seq());
        let (attended, special) = (batch.attention_mask(), batch.special_tokens_mask());
        let (vocab_size, special_ids) = (batch.vocab_size(), batch.special_ids());
        let hidden = batch.predicted().to_vec();
        let mut labels = vec![IGNORED; batch.batch() * seq];
        let mut units = 0.0;
        for r in 0..rows {
            let random = batch.random(r)?;
            let coins = random.child(COINS)?.uniforms(seq)?;
            let draws = random.child(DRAWS)?;
            for (i, coin) in coins.into_iter().enumerate() {
                let at = r * seq + i;
                if attended[at] == 0 || hidden[at] != 0 {
                    continue;
                }
                labels[at] = 0;
                units += 1.0;
                if special[at] != 0 || f64::from(coin) >= rate {
                    continue;
                }
                let id = &mut batch.input_ids()[at];
                if let Some(new) = random_id(&draws, i, vocab_size, special_ids)? {
                    labels[at] = i64::from(new != *id);
                    *id = new;
                }
            }
        }
        batch.write("replaced", &labels)?;
        Ok(units)
    }

    fn build<'g>(&mut self, g: &ObjectiveGraph<'g>) -> Result<Tensor<'g>> {
        let _scope = g.scope("rtd")?;
        let size = g.hidden_size()?;
        let states = ablate_mlm::head::states(g, g.hidden()?, g.feature("replaced.positions")?)?;

        let dense = "discriminator_predictions.dense";
        let weight = g.parameter(&format!("{dense}.weight"), &[size, size], Role::Weight)?;
        let bias = g.parameter(&format!("{dense}.bias"), &[size], Role::Bias)?;
        let states = g.activation(g.linear(states, weight, Some(bias))?)?;
        let last = "discriminator_predictions.dense_prediction";
        let weight = g.parameter(&format!("{last}.weight"), &[1, size], Role::Weight)?;
        let bias = g.parameter(&format!("{last}.bias"), &[1], Role::Bias)?;
        let logits = g.linear(states, weight, Some(bias))?;
        let x = g.reshape(logits, &[g.predictions()?])?;

        let (y, weights) = (
            g.feature("replaced.values")?,
            g.feature("replaced.weights")?,
        );
        let said = g.greater_scalar(g.stop_gradient(x)?, 0.0)?;
        let sum = |t: Tensor<'g>| g.sum_all(g.mul(t, weights)?);
        g.metric("accuracy", sum(g.equal(said, y)?)?)?;
        // Shares of all tokens: recall is found / replaced, precision is found / said.
        g.metric("replaced", sum(y)?)?;
        g.metric("said", sum(said)?)?;
        g.metric("found", sum(g.mul(said, y)?)?)?;

        let overshoot = g.sub(g.relu(x)?, g.mul(x, y)?)?;
        let soft = g.log(g.add_scalar(g.exp(g.neg(g.abs(x)?)?)?, 1.0)?)?;
        sum(g.add(overshoot, soft)?)
    }
}

ablate_sdk::plugin! {
    /// The plugin's descriptor.
    pub static PLUGIN = {
        description: "Replaced-token detection with random replacements, after ELECTRA.",
        objectives: [Rtd],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_values_are_refused_by_key() {
        for (config, key) in [
            (r#"{"replace_rate": 0}"#, "replace_rate"),
            (r#"{"replace_rate": 1}"#, "replace_rate"),
            (r#"{"evaluation_rate": -0.5}"#, "evaluation_rate"),
            (r#"{"weight": -1}"#, "weight"),
        ] {
            let Err(Error::Config(text)) = Rtd::new(serde_json::from_str(config).unwrap()) else {
                panic!("{config} is accepted");
            };
            assert!(text.contains(key), "{text}");
        }
    }

    #[test]
    fn it_stands_behind_what_hides_tokens() {
        let rtd = Rtd::new(Config::default()).unwrap();
        let check = |objectives: &[&'static str]| {
            rtd.check(&Setup {
                index: objectives.iter().position(|o| *o == "rtd").unwrap(),
                objectives: objectives.to_vec(),
                hidden_dropout: 0.1,
                attention_dropout: 0.1,
                sequence_length: 64,
                vocabulary: None,
            })
        };
        assert!(check(&["rtd"]).is_ok() && check(&["mlm", "rtd", "nsp"]).is_ok());
        let Err(Error::Config(text)) = check(&["rtd", "nsp", "mlm"]) else {
            panic!("accepted");
        };
        assert!(text.contains("list `rtd` behind `mlm`"), "{text}");
    }
}
