//! One accumulation window with its labels: the units are known before the first micro-batch runs.
//!
//! Owns the call of the data hooks, the sparse form of per-token labels and its capacity. Must not know
//! graphs beyond the names of their inputs.

use std::collections::BTreeMap;

use ablate_graph::Feeds;

use crate::batch::{Feature, Part, PreparedBatch, Window, IGNORED};
use crate::objective::{Objective, PluginError};
use crate::packing::Packing;

/// Capacities are multiples of this, so that few programs serve all micro-batches.
const BUCKET: usize = 32;

/// A micro-batch after the data hooks.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// The arrays, masked; `features` is empty.
    pub batch: PreparedBatch,
    /// What each objective wrote, in the order of the objectives.
    pub features: Vec<BTreeMap<String, Feature>>,
    /// Units of each objective in this micro-batch.
    pub units: Vec<f64>,
    /// Where its tokens lie when padding is left out, see [`Labelled::packed`].
    pub packing: Option<Packing>,
}

/// A window after the data hooks.
#[derive(Clone, Debug)]
pub struct LabelledWindow {
    /// Epoch of the window.
    pub epoch: u64,
    /// Its micro-batches.
    pub batches: Vec<Labelled>,
    /// Units of each objective in the whole window: what sums of losses are divided by.
    pub units: Vec<f64>,
    /// Real tokens of the window.
    pub tokens: u64,
}

/// Runs the data hooks over a micro-batch.
///
/// # Errors
/// When a hook fails, or writes labels of a wrong length, labels of padding, or a wrong number of
/// units.
pub fn label(
    objectives: &mut [Box<dyn Objective>],
    mut batch: PreparedBatch,
) -> Result<Labelled, PluginError> {
    let mut features = Vec::with_capacity(objectives.len());
    let mut units = Vec::with_capacity(objectives.len());
    batch.begin();
    for objective in objectives {
        batch.features.clear();
        let part = batch.asks.part(objective.name());
        let n = match part {
            Part::Asked | Part::Prepares => objective.prepare(&mut batch)?,
            // Its labels must be there, for the graph reads them, but not one of them counts.
            Part::Absent => {
                let mut copy = batch.for_the_absent();
                let n = objective.prepare(&mut copy)?;
                batch.features = copy.features;
                n
            }
        };
        let fail = |message: String| PluginError::new(objective.name(), "prepare", message);
        if !n.is_finite() || n < 0.0 {
            return Err(fail(format!(
                "returned {n} units; a number of units is finite and not negative"
            )));
        }
        for (name, feature) in &batch.features {
            let (kind, found, wanted) = match feature {
                Feature::PerToken(v) => ("token", v.len(), batch.batch * batch.seq),
                Feature::PerSequence(v) => ("sequence", v.len(), batch.batch),
            };
            if found != wanted {
                return Err(fail(format!(
                    "feature `{name}` has {found} labels, one a {kind} is {wanted}"
                )));
            }
            // Whether padding has a hidden state at all is nothing that a loss may depend on.
            if let Feature::PerToken(labels) = feature {
                let mut tokens = labels.iter().zip(&batch.attention_mask);
                if let Some(token) = tokens.position(|(&l, &mask)| l != IGNORED && mask == 0) {
                    return Err(fail(format!(
                        "feature `{name}` labels token {} of row {}, which is padding; its label is {IGNORED}",
                        token % batch.seq,
                        token / batch.seq
                    )));
                }
            }
        }
        let mut written = std::mem::take(&mut batch.features);
        if part != Part::Asked {
            written.values_mut().for_each(Feature::ignore);
        }
        features.push(written);
        units.push(if part == Part::Asked { n } else { 0.0 });
    }
    Ok(Labelled {
        batch,
        features,
        units,
        packing: None,
    })
}

/// Runs the data hooks over a window and sums the units.
///
/// # Errors
/// As [`label`].
pub fn label_window(
    objectives: &mut [Box<dyn Objective>],
    window: Window,
) -> Result<LabelledWindow, PluginError> {
    let mut units = vec![0.0; objectives.len()];
    let mut tokens = 0;
    let mut batches = Vec::with_capacity(window.batches.len());
    for batch in window.batches {
        tokens += batch.tokens();
        let labelled = label(objectives, batch)?;
        for (sum, n) in units.iter_mut().zip(&labelled.units) {
            *sum += n;
        }
        batches.push(labelled);
    }
    Ok(LabelledWindow {
        epoch: window.epoch,
        batches,
        units,
        tokens,
    })
}

impl LabelledWindow {
    /// Packs every micro-batch, as [`Labelled::packed`].
    #[must_use]
    pub fn packed(mut self, packed: bool) -> Self {
        let batches = self.batches.into_iter();
        self.batches = batches.map(|batch| batch.packed(packed)).collect();
        self
    }
}

impl Labelled {
    /// With `packed`, its programs compute real tokens only; what it holds stays as it is.
    #[must_use]
    pub fn packed(mut self, packed: bool) -> Self {
        self.packing = packed.then(|| Packing::of(&self.batch));
        self
    }

    /// Largest number of labels among the per-token features of each objective; 0 without any.
    pub fn predictions(&self) -> Vec<usize> {
        self.features
            .iter()
            .map(|features| {
                features
                    .values()
                    .filter_map(|f| match f {
                        Feature::PerToken(v) => Some(v.iter().filter(|&&l| l != IGNORED).count()),
                        Feature::PerSequence(_) => None,
                    })
                    .max()
                    .unwrap_or(0)
            })
            .collect()
    }

    /// Capacities of the labels for which a trial compiles its first program, if this is its first
    /// micro-batch.
    pub fn capacities(&self) -> Vec<usize> {
        grow(&[], &self.predictions(), self.batch.batch * self.batch.seq)
    }

    /// All inputs of a graph built for these capacities.
    pub fn feeds(&self, names: &[String], capacities: &[usize]) -> Feeds {
        let mut feeds = Feeds::new();
        self.fill(&mut feeds, names, capacities);
        feeds
    }

    /// Puts all inputs of a graph built for these capacities into buffers that may have served before:
    /// every element is written.
    pub(crate) fn fill(&self, feeds: &mut Feeds, names: &[String], capacities: &[usize]) {
        match &self.packing {
            Some(packing) => packing.fill(&self.batch, feeds),
            None => {
                let cells = self.batch.batch * self.batch.seq;
                for (name, values) in [
                    ("input_ids", &self.batch.input_ids),
                    ("token_type_ids", &self.batch.token_type_ids),
                    ("attention_mask", &self.batch.attention_mask),
                ] {
                    put(feeds.buffer(name, cells), values.iter().map(|&v| to_f32(v)));
                }
            }
        }
        for ((features, name), &capacity) in self.features.iter().zip(names).zip(capacities) {
            let capacity = capacity.max(1);
            for (feature_name, feature) in features {
                let input = |part: &str| input_name(name, &format!("{feature_name}.{part}"));
                match feature {
                    Feature::PerToken(labels) => {
                        let labelled = || labels.iter().enumerate().filter(|(_, l)| **l != IGNORED);
                        let positions = labelled().map(|(position, _)| position as f32);
                        put(feeds.buffer(&input("positions"), capacity), positions);
                        let values = labelled().map(|(_, &label)| to_f32(label));
                        put(feeds.buffer(&input("values"), capacity), values);
                        let weights = labelled().map(|_| 1.0);
                        put(feeds.buffer(&input("weights"), capacity), weights);
                    }
                    Feature::PerSequence(labels) => {
                        let value = |&l: &i64| if l == IGNORED { 0.0 } else { to_f32(l) };
                        let weight = |&l: &i64| if l == IGNORED { 0.0 } else { 1.0 };
                        let values = feeds.buffer(&input("values"), labels.len());
                        put(values, labels.iter().map(value));
                        let weights = feeds.buffer(&input("weights"), labels.len());
                        put(weights, labels.iter().map(weight));
                    }
                }
            }
        }
    }
}

/// Writes the values to the front of the buffer and 0 behind them.
fn put(buffer: &mut [f32], mut values: impl Iterator<Item = f32>) {
    for element in buffer {
        *element = values.next().unwrap_or(0.0);
    }
}

/// Name of a graph input that belongs to an objective.
pub(crate) fn input_name(objective: &str, feature: &str) -> String {
    format!("{objective}/{feature}")
}

fn to_f32(value: i64) -> f32 {
    // Ids and masks are far below 2^24, where f32 stops holding every whole number.
    value as f32
}

/// Capacities that hold `needed`: those in use where they suffice, else a new bucket with four
/// standard deviations of a Bernoulli count to spare, so that a run settles on one program. `limit` is
/// batch * seq. Results do not depend on the capacity beyond the order of summation: unused entries
/// weigh 0.
pub(crate) fn grow(in_use: &[usize], needed: &[usize], limit: usize) -> Vec<usize> {
    needed
        .iter()
        .enumerate()
        .map(|(i, &n)| {
            let have = in_use.get(i).copied().unwrap_or(0);
            if n <= have || n == 0 {
                return have;
            }
            let spare = n + (4.0 * (n as f64).sqrt()).ceil() as usize;
            spare.div_ceil(BUCKET).saturating_mul(BUCKET).min(limit)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacities_grow_in_buckets_and_never_shrink() {
        assert_eq!(grow(&[], &[0], 512), [0]);
        assert_eq!(grow(&[], &[10], 512), [32]);
        let first = grow(&[], &[100], 512);
        assert_eq!(first, [160]);
        assert_eq!(grow(&first, &[50], 512), first);
        assert_eq!(grow(&first, &[160], 512), first);
        assert_eq!(grow(&first, &[161], 512), [224]);
        assert_eq!(grow(&first, &[500], 512), [512]);
    }
}
