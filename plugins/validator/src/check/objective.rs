//! Tests of an objective's data hook.

use std::collections::BTreeMap;

use ablate_host::Registry;
use ablate_train::window::{label, Labelled};
use ablate_train::{Feature, Objective, PreparedBatch, IGNORED};

use super::bench::{fail, same, Bench, Stop};
use crate::border::proxy;
use crate::rig;

pub(super) type Objectives = Vec<Box<dyn Objective>>;

pub(super) fn made(bench: &mut Bench<'_>, registry: &Registry) -> Result<(Objectives, bool), Stop> {
    let made = bench.objective(registry)?;
    let pairs = rig::pairs(&made);
    Ok((vec![Box::new(made)], pairs))
}

/// Number of labels that are not ignored.
fn labels(feature: &Feature) -> usize {
    let (Feature::PerToken(values) | Feature::PerSequence(values)) = feature;
    values.iter().filter(|label| **label != IGNORED).count()
}

pub(super) fn bounds(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.proxied()?;
    let (mut objectives, pairs) = made(bench, &registry)?;
    let shapes = [(4, 1), (1, 0), (7, 0), (1, 6), (0, 2)];
    for (rows, padding) in shapes {
        for seed in 1..=3 {
            bench.doing(format!(
                "prepare on {rows} rows and {padding} of padding, in memory that ends where the arrays end"
            ));
            label(&mut objectives, rig::batch(rows, padding, seed, pairs))?;
            if let Some(first) = proxy::damage().first() {
                return fail(first.clone());
            }
        }
    }
    Ok(format!("{} batches", shapes.len() * 3))
}

fn written(labelled: &Labelled) -> (&[i64], &[BTreeMap<String, Feature>], Vec<u64>) {
    let units = labelled.units.iter().map(|u| u.to_bits()).collect();
    (&labelled.batch.input_ids, &labelled.features, units)
}

pub(super) fn determinism(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let (mut one, pairs) = made(bench, &registry)?;
    let (mut two, _) = made(bench, &registry)?;
    let batch = |seed| rig::batch(rig::ROWS, 1, seed, pairs);
    bench.doing("prepare");
    let first = label(&mut one, batch(1))?;
    let other = label(&mut one, batch(2))?;
    let again = label(&mut one, batch(1))?;
    let elsewhere = label(&mut two, batch(1))?;
    same(
        &written(&first),
        &written(&again),
        "the labels of one batch before and after another batch",
    )?;
    same(
        &written(&first),
        &written(&elsewhere),
        "the labels that two instances give one batch",
    )?;
    Ok(if written(&first).1 == written(&other).1 {
        "the same labels".into()
    } else {
        "the same labels for the same batch, others for another".into()
    })
}

pub(super) fn special_tokens(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let (mut objectives, pairs) = made(bench, &registry)?;
    let mut changed = 0;
    for seed in 1..=20 {
        bench.doing("prepare");
        let before = rig::batch(rig::ROWS, 2, seed, pairs);
        let after = label(&mut objectives, before.clone())?;
        for (at, special) in before.special_tokens_mask.iter().enumerate() {
            let (row, column) = (at / before.seq, at % before.seq);
            let place = format!("row {row}, token {column}");
            let (old, new) = (before.input_ids[at], after.batch.input_ids[at]);
            changed += usize::from(old != new);
            if *special && old != new {
                return fail(format!("{place}: the special token {old} became {new}"));
            }
            let unwelcome = new < rig::SPECIAL && new != before.vocabulary.mask_id;
            if old != new && unwelcome {
                return fail(format!(
                    "{place}: the word {old} became the special token {new}"
                ));
            }
            if !special {
                continue;
            }
            for (name, feature) in after.features.iter().flatten() {
                // Other labels than tokens may be about special tokens too.
                if let (true, Feature::PerToken(labels)) =
                    (objectives[0].predicts_tokens(name), feature)
                {
                    if labels[at] != IGNORED {
                        return fail(format!(
                            "{place}: the special token has the label {} of `{name}`; it should be {IGNORED}",
                            labels[at]
                        ));
                    }
                }
            }
        }
        for (name, feature) in after.features.iter().flatten() {
            if let Feature::PerSequence(labels) = feature {
                if let Some(row) = (before.rows..before.batch).find(|row| labels[*row] != IGNORED) {
                    return fail(format!(
                        "row {row} is padding, but `{name}` has the label {} for it",
                        labels[row]
                    ));
                }
            }
        }
    }
    Ok(format!(
        "{changed} words changed in 20 batches, no special token"
    ))
}

pub(super) fn units(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let (mut objectives, pairs) = made(bench, &registry)?;
    let mut total = 0.0;
    for seed in 1..=20 {
        bench.doing("prepare");
        let mut count = |batch: PreparedBatch| -> Result<(Labelled, f64), Stop> {
            let labelled = label(&mut objectives, batch)?;
            let units = labelled.units.first().copied().unwrap_or(0.0);
            Ok((labelled, units))
        };
        let (labelled, units) = count(rig::batch(rig::ROWS, 0, seed, pairs))?;
        let (_, padded) = count(rig::batch(rig::ROWS, 3, seed, pairs))?;
        if units != padded {
            return fail(format!(
                "{units} units become {padded} when three padding rows are added"
            ));
        }
        let (_, nothing) = count(rig::batch(0, 2, seed, pairs))?;
        if nothing != 0.0 {
            return fail(format!("a batch of padding alone has {nothing} units"));
        }
        let batch = &labelled.batch;
        let real = |special: bool| {
            let cells = batch.attention_mask.iter().zip(&batch.special_tokens_mask);
            cells
                .filter(|(mask, s)| **mask == 1 && (special || !**s))
                .count()
        };
        let mut counts: Vec<usize> = labelled
            .features
            .iter()
            .flatten()
            .map(|(_, f)| labels(f))
            .collect();
        counts.push(counts.iter().sum());
        if counts == [0] {
            // Without labels there are rows or tokens to count.
            counts.extend([rig::ROWS, real(true), real(false)]);
        }
        if !counts.iter().any(|n| *n as f64 == units) {
            return fail(format!(
                "there are {units} units, but the features have {counts:?} labels; a mean over units would be wrong"
            ));
        }
        total += units;
    }
    Ok(format!(
        "{:.1} units in a batch of {} rows on average",
        total / 20.0,
        rig::ROWS
    ))
}
