//! Tests of objectives.

use std::collections::BTreeMap;

use ablate_graph::gradcheck::{check, GradcheckRow, Options};
use ablate_graph::{Feeds, Interpreter, RandomKey};
use ablate_host::Registry;
use ablate_train::graphs::{
    evaluation, forward, gradient_name, output_name, scale_name, Forward, ForwardShape,
};
use ablate_train::window::{label, Labelled};
use ablate_train::{Feature, Objective, PreparedBatch, IGNORED};

use super::bench::{fail, same, Bench, Stop};
use crate::border::{hosts, proxy};
use crate::rig;

type Objectives = Vec<Box<dyn Objective>>;

fn made(bench: &mut Bench<'_>, registry: &Registry) -> Result<(Objectives, bool), Stop> {
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

/// The graph of a labelled batch and what it reads.
struct Built {
    forward: Forward,
    feeds: Feeds,
    states: BTreeMap<String, Vec<f64>>,
}

fn built(
    objectives: &mut Objectives,
    batch: PreparedBatch,
    spare: usize,
    dropout: Option<f64>,
) -> Result<Built, Stop> {
    let labelled = label(objectives, batch)?;
    let capacities: Vec<usize> = labelled.predictions().iter().map(|n| n + spare).collect();
    let shape = ForwardShape::of(&labelled, &capacities);
    // An evaluation has no dropout, whatever the model says, but for objectives that are made of it.
    let config = rig::model(dropout.unwrap_or(0.1));
    let forward = match dropout {
        Some(_) => forward(&config, objectives, &shape, true)?,
        None => evaluation(&config, objectives, &shape)?,
    };
    let names: Vec<String> = objectives.iter().map(|o| o.name().to_owned()).collect();
    let mut feeds = labelled.feeds(&names, &shape.capacities);
    for (objective, units) in objectives.iter().zip(&labelled.units) {
        let scale = if *units > 0.0 { 1.0 / units } else { 0.0 };
        feeds.set(scale_name(objective.name()), vec![scale as f32]);
    }
    let double = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect();
    let mut states: BTreeMap<String, Vec<f64>> = forward
        .parameters
        .iter()
        .map(|spec| {
            let values = config.initial_values(spec, &rig::INIT, 5);
            (spec.name.clone(), double(&values))
        })
        .collect();
    let frozen = forward.frozen.iter();
    states.extend(frozen.map(|s| (s.name.clone(), double(&s.values))));
    Ok(Built {
        forward,
        feeds,
        states,
    })
}

const KEY: RandomKey = RandomKey { seed: 4, step: 1 };

/// The summed loss without dropout, in double precision.
fn loss(objectives: &mut Objectives, batch: PreparedBatch, spare: usize) -> Result<f64, Stop> {
    let built = built(objectives, batch, spare, None)?;
    let name = output_name(objectives[0].name(), "loss_sum");
    let lowered = built
        .forward
        .graph
        .lower()?
        .restricted_to(&[name.as_str()])?;
    let run = Interpreter::new(lowered).run(&built.feeds, &built.states, KEY)?;
    match run.outputs.get(&name).map(Vec::as_slice) {
        Some([value]) => Ok(*value),
        _ => fail("the loss is not one number"),
    }
}

pub(super) fn loss_sum(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let (mut objectives, pairs) = made(bench, &registry)?;
    bench.doing("build");
    let batch = |padding| rig::batch(rig::ROWS, padding, 1, pairs);
    let plain = loss(&mut objectives, batch(0), 0)?;
    let near = |other: f64| (other - plain).abs() <= 1e-6 * plain.abs().max(1.0);
    if !plain.is_finite() {
        return fail(format!("the loss is {plain}"));
    }
    let padded = loss(&mut objectives, batch(2), 0)?;
    if !near(padded) {
        return fail(format!(
            "the summed loss {plain} becomes {padded} when two padding rows are added"
        ));
    }
    let roomy = loss(&mut objectives, batch(0), 5)?;
    if !near(roomy) {
        return fail(format!(
            "the summed loss {plain} becomes {roomy} when the graph has room for five more labels; multiply by the feature's weights"
        ));
    }
    let nothing = loss(&mut objectives, rig::batch(0, 2, 1, pairs), 0)?;
    if nothing != 0.0 {
        return fail(format!(
            "a batch of padding alone has the loss {nothing}; it has no unit, so it is 0"
        ));
    }
    Ok(format!("a loss of {plain:.4}, untouched by padding"))
}

/// Largest relative error that passes. The constants of the graph are f32, which alone costs 1e-7.
const TOLERANCE: f64 = 1e-4;

/// Absolute errors below this part of the largest gradient are the rounding of the differences.
const ROUNDING: f64 = 1e-8;

fn is_right(row: &GradcheckRow, largest: f64) -> bool {
    row.max_relative_error <= TOLERANCE || row.max_absolute_error <= ROUNDING * largest
}

pub(super) fn gradient(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.proxied()?;
    let (mut objectives, pairs) = made(bench, &registry)?;
    bench.doing("build");
    let mut built = built(
        &mut objectives,
        rig::batch(rig::ROWS, 1, 1, pairs),
        0,
        Some(0.1),
    )?;
    let loss = built.forward.weighted_loss(&objectives)?;
    let graph = &mut built.forward.graph;
    graph.output("loss", &loss)?;
    let parameters = graph.parameters().to_vec();
    let tensors: Vec<_> = parameters.iter().map(|(_, t)| t.clone()).collect();
    let gradients = graph.gradients(&loss, &tensors)?;
    let mut named = Vec::new();
    for ((name, _), gradient) in parameters.iter().zip(&gradients) {
        let output = gradient_name(name);
        graph.output(&output, gradient)?;
        named.push((name.clone(), output));
    }
    bench.doing("the gradient check");
    let options = Options {
        samples_per_tensor: 4,
        epsilon: 1e-3,
    };
    let rows = check(
        graph,
        "loss",
        &named,
        &built.states,
        &built.feeds,
        KEY,
        options,
    )?;
    let largest = rows.iter().fold(0.0, |m: f64, row| m.max(row.gradient_rms));
    let wrong = rows.iter().find(|row| !is_right(row, largest));
    if let Some(row) = wrong {
        let text = format!(
            "the gradient of `{}` is {:e} where the difference is {:e}",
            row.parameter, row.analytic, row.numeric
        );
        if hosts::stops_gradients() {
            return Err(Stop::Skipped(format!(
                "it stops gradients on purpose, so that differences say nothing ({text})"
            )));
        }
        return fail(text);
    }
    let worst = rows
        .iter()
        .filter(|row| row.max_absolute_error > ROUNDING * largest)
        .fold(0.0, |m: f64, row| m.max(row.max_relative_error));
    Ok(format!(
        "{} parameters, relative error at most {worst:.1e}",
        rows.len()
    ))
}

pub(super) fn finite(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let mut numbers = 0;
    for (rows, padding, about) in [(rig::ROWS, 1, "a batch"), (0, 2, "a batch without labels")] {
        let (mut objectives, pairs) = made(bench, &registry)?;
        bench.doing(format!("build on {about}"));
        let labelled = label(&mut objectives, rig::batch(rows, padding, 1, pairs))?;
        let shape = ForwardShape::of(&labelled, &labelled.predictions());
        let config = rig::model(0.1);
        let forward = ablate_train::graphs::gradient(&config, &mut objectives, &shape, false)?;
        let names: Vec<String> = objectives.iter().map(|o| o.name().to_owned()).collect();
        let mut feeds = labelled.feeds(&names, &shape.capacities);
        let scale = if labelled.units[0] > 0.0 {
            1.0 / labelled.units[0]
        } else {
            0.0
        };
        feeds.set(scale_name(&names[0]), vec![scale as f32]);
        let mut outputs = vec!["loss_sum".to_owned()];
        outputs.extend(forward.metric_names().into_iter().flatten());
        for init in [rig::INIT, ablate_bert::Init::Normal { std: 0.02 }] {
            let (mut objectives, _) = made(bench, &registry)?;
            bench.doing(format!("the gradient of {about}"));
            let forward = ablate_train::graphs::gradient(&config, &mut objectives, &shape, false)?;
            let mut session = bench.backend.session()?;
            for spec in &forward.parameters {
                session.set_state(&spec.name, &config.initial_values(spec, &init, 5))?;
            }
            for state in &forward.frozen {
                session.set_state(&state.name, &state.values)?;
            }
            let program = session.load(forward.graph)?;
            session.run(program, &feeds, KEY)?;
            let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
            for part in &outputs {
                let values = session.output(program, &output_name(&names[0], part))?;
                numbers += values.len();
                if !finite(values) {
                    return fail(format!("`{part}` of {about} is {}", values[0]));
                }
            }
            for spec in &forward.parameters {
                let values = session.state(&gradient_name(&spec.name))?;
                numbers += values.len();
                if !finite(&values) {
                    return fail(format!(
                        "the gradient of `{}` is not finite on {about}",
                        spec.name
                    ));
                }
            }
        }
    }
    Ok(format!("{numbers} numbers"))
}
