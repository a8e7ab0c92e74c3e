//! Tests of an objective's graph hook: the loss, its gradient, its numbers in single precision.

use std::collections::BTreeMap;

use ablate_graph::gradcheck::{check, Options};
use ablate_graph::{Feeds, Interpreter, RandomKey};
use ablate_train::graphs::{
    evaluation, forward, gradient_name, output_name, scale_name, Forward, ForwardShape,
};
use ablate_train::window::label;
use ablate_train::PreparedBatch;

use super::bench::{fail, Bench, Stop};
use super::objective::{made, Objectives};
use crate::border::hosts;
use crate::rig;

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

/// Largest relative error, beyond the quotient's own bound, that passes. The constants of the graph are
/// f32, which alone costs 1e-7.
const TOLERANCE: f64 = 1e-4;

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
    // So written that an error which is no number is wrong.
    let wrong = rows
        .iter()
        .find(|row| !(row.zero || row.max_relative_error <= TOLERANCE));
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
        .filter(|row| !row.zero)
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
