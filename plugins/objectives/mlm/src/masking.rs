//! How tokens are hidden: the settings, checked, and their use on a batch.
//!
//! `mlm` has them as its own keys and once more under `evaluation`; other objectives that predict
//! hidden tokens take them from here, so that they hide the same ones.

use ablate_sdk::{Batch, Error, Result, Split, IGNORED};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rate::MaskRate;
use crate::select::{mask_row, Rates, Row};
use crate::span::Span;

/// How tokens are hidden.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Masking {
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
}

impl Default for Masking {
    /// As BERT: 15 % of the tokens, each by its own coin, 80/10/10.
    fn default() -> Self {
        Masking {
            mask_rate: MaskRate::Constant(0.15),
            unit: Unit::Token,
            selection: None,
            max_predictions: None,
            span: Span::default(),
            mask_token_rate: 0.8,
            random_token_rate: 0.1,
        }
    }
}

/// What is hidden together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Each token for itself, as BERT.
    #[default]
    Token,
    /// All pieces of a word, as Google's whole word masking. Whether a piece becomes `[MASK]`, a
    /// random token or stays is still decided for each.
    WholeWord,
    /// Spans of words, as SpanBERT. A span becomes `[MASK]`s, random tokens or stays as a whole.
    Span,
}

/// How tokens or words are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Selection {
    /// Each token or word by its own coin, as Hugging Face: `mask_rate` on average.
    Bernoulli,
    /// A fixed number of tokens per sequence, as Google: `mask_rate` of its length, rounded, at least
    /// one; whole words as long as they fit.
    Exact,
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Masker {
    rate: MaskRate,
    rates: Rates,
}

impl Masker {
    /// # Errors
    /// [`Error::Config`] for settings that cannot be used; the message names the key.
    pub fn new(settings: &Masking) -> Result<Self> {
        let refuse = |text: String| Err(Error::Config(text));
        settings.mask_rate.validate()?;
        settings.span.validate()?;
        let shares = [settings.mask_token_rate, settings.random_token_rate];
        if shares.iter().any(|s| !(0.0..=1.0).contains(s)) || shares[0] + shares[1] > 1.0 + 1e-9 {
            return refuse(format!(
                "`mask_token_rate` {} and `random_token_rate` {} are shares that add up to at most 1",
                shares[0], shares[1]
            ));
        }
        if settings.unit == Unit::Span && settings.selection == Some(Selection::Bernoulli) {
            return refuse(
                "`unit: span` draws spans until the share is used up, so `selection` is `exact`"
                    .into(),
            );
        }
        let exact = settings.unit == Unit::Span || settings.selection == Some(Selection::Exact);
        match settings.max_predictions {
            Some(0) => return refuse("`max_predictions` is 0; it is at least 1".into()),
            Some(_) if !exact => {
                return refuse("`max_predictions` needs `selection: exact`".into());
            }
            _ => {}
        }
        Ok(Masker {
            rate: settings.mask_rate,
            rates: Rates {
                unit: settings.unit,
                span: settings.span,
                exact: exact.then(|| settings.max_predictions.map_or(usize::MAX, |n| n as usize)),
                mask_token: settings.mask_token_rate,
                random_token: settings.random_token_rate,
            },
        })
    }

    /// As [`Masker::new`], for held-out batches: their rate stays the same throughout.
    ///
    /// # Errors
    /// As [`Masker::new`]; also for a schedule.
    pub fn for_evaluation(settings: &Masking) -> Result<Self> {
        let inside = |e| match e {
            Error::Config(text) => Error::Config(format!("in `evaluation`: {text}")),
            other => other,
        };
        if matches!(settings.mask_rate, MaskRate::Scheduled(_)) {
            return Err(inside(Error::Config(
                "`mask_rate` is one number, so that evaluations of all steps compare".into(),
            )));
        }
        Masker::new(settings).map_err(inside)
    }

    /// Expected share of the tokens that are hidden at most.
    pub fn density(&self) -> f64 {
        self.rate.largest()
    }

    /// Hides tokens of a batch. Returns what they were, `[batch, seq]`, [`IGNORED`] elsewhere, and how
    /// many they are.
    ///
    /// Where an objective before has hidden tokens, those are the ones: a token is hidden once,
    /// whoever predicts it.
    ///
    /// # Errors
    /// Where the host lacks random numbers, or does not know which tokens continue a word and the unit
    /// asks for it.
    pub fn hide(&self, batch: &mut Batch<'_>) -> Result<(Vec<i64>, usize)> {
        let (rows, seq) = (batch.rows(), batch.seq());
        let mut labels = vec![IGNORED; batch.batch() * seq];
        let original = batch.original_ids().to_vec();
        let mut count = 0;
        if batch.predicted().iter().any(|p| *p != 0) {
            for ((label, id), _) in labels
                .iter_mut()
                .zip(&original)
                .zip(batch.predicted())
                .filter(|(_, p)| **p != 0)
            {
                *label = *id;
                count += 1;
            }
            return Ok((labels, count));
        }
        if self.rates.unit != Unit::Token && batch.continues_word().is_empty() {
            return Err(Error::Other(
                "whole words cannot be told: the host does not say which tokens continue a word"
                    .into(),
            ));
        }
        let rate = self.rate.at(batch.step(), batch.epoch());
        let (attended, special) = (batch.attention_mask(), batch.special_tokens_mask());
        let row = Row {
            mask_rate: rate,
            mask_id: batch.mask_id(),
            special_ids: batch.special_ids(),
            vocab_size: batch.vocab_size(),
            continues_word: batch.continues_word(),
        };
        for r in 0..rows {
            let random = batch.random(r)?;
            let cells = r * seq..(r + 1) * seq;
            count += mask_row(
                &self.rates,
                &row,
                &attended[cells.clone()],
                &special[cells.clone()],
                &mut batch.input_ids()[cells.clone()],
                &mut labels[cells],
                &random,
            )?;
        }
        for (predicted, label) in batch.predicted_mut().iter_mut().zip(&labels) {
            *predicted = u8::from(*label != IGNORED);
        }
        Ok((labels, count))
    }
}

/// Which of the two applies to a batch: held-out batches are hidden in one way whatever training does,
/// so that the losses of all arms and all steps are answers to the same questions.
pub fn of<'m>(batch: &Batch<'_>, training: &'m Masker, evaluation: &'m Masker) -> &'m Masker {
    match batch.split() {
        Split::Train => training,
        _ => evaluation,
    }
}
