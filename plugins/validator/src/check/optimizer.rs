//! Tests of optimizers.

use ablate_train::graphs::update;
use ablate_train::Optimizer;

use super::bench::{bits, count, fail, same, Bench, Stop};
use crate::engine::{Engine, States};
use crate::rig;

/// The learning rate of the tests that do not use the plugin's own.
const RATE: f64 = 1e-2;

fn start() -> States {
    rig::parameters()
        .iter()
        .map(|p| (p.name.clone(), rig::numbers(&p.name, p.elements())))
        .collect()
}

fn gradients(step: u64) -> States {
    rig::parameters()
        .iter()
        .map(|p| {
            (
                p.name.clone(),
                rig::numbers(&format!("{}/{step}", p.name), p.elements()),
            )
        })
        .collect()
}

fn state_bits(states: &States) -> Vec<(&str, Vec<u32>)> {
    states
        .iter()
        .map(|(name, values)| (name.as_str(), bits(values)))
        .collect()
}

pub(super) fn slots(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let (one, two) = (bench.optimizer(&registry)?, bench.optimizer(&registry)?);
    bench.doing("slots");
    let mut counts = Vec::new();
    for parameter in rig::parameters() {
        let what = format!("the slots of `{}`", parameter.name);
        // The host refuses names twice and more than six dimensions.
        let found = one.slots(&parameter)?;
        same(
            &found,
            &one.slots(&parameter)?,
            &format!("{what}, asked twice,"),
        )?;
        same(
            &found,
            &two.slots(&parameter)?,
            &format!("{what} of two instances"),
        )?;
        for slot in &found {
            if !slot.initial.is_finite() {
                return fail(format!(
                    "the slot `{}` of `{}` begins as {}",
                    slot.name, parameter.name, slot.initial
                ));
            }
            if slot.shape.contains(&0) {
                return fail(format!(
                    "the slot `{}` of `{}` has the shape {:?}",
                    slot.name, parameter.name, slot.shape
                ));
            }
        }
        counts.push(found.len());
    }
    bench.doing("scalar_names");
    let names = one.scalar_names()?;
    same(&names, &two.scalar_names()?, "the scalars of two instances")?;
    let (low, high) = (
        counts.iter().min().unwrap_or(&0),
        counts.iter().max().unwrap_or(&0),
    );
    let slots = if low == high {
        count(*low, "slot")
    } else {
        format!("{low} to {high} slots")
    };
    Ok(format!(
        "{slots} a parameter, {} a step",
        count(names.len(), "scalar")
    ))
}

pub(super) fn scalars(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let (one, two) = (bench.optimizer(&registry)?, bench.optimizer(&registry)?);
    bench.doing("scalars");
    let mut questions: Vec<(u64, f64)> = (1..=300).map(|step| (step, RATE)).collect();
    for step in [1_000, 10_000, 1_000_000, 1_000_000_000] {
        questions.extend([(step, RATE), (step, 1e-8), (step, 1.0), (step, 0.0)]);
    }
    questions.push((1, 0.0));
    // The host refuses values that are not finite.
    let forward: Vec<Vec<f64>> = questions
        .iter()
        .map(|(step, rate)| one.scalars(*step, *rate))
        .collect::<Result<_, _>>()?;
    for ((step, rate), expected) in questions.iter().zip(&forward).rev() {
        for (optimizer, whose) in [(&one, "the same instance"), (&two, "another instance")] {
            if optimizer.scalars(*step, *rate)? != *expected {
                return fail(format!(
                    "the scalars of step {step} at learning rate {rate} are others when {whose} is asked again in another order; a resumed \
                     trial would differ"
                ));
            }
        }
    }
    Ok(format!(
        "{} steps and rates, in both orders",
        questions.len()
    ))
}

pub(super) fn determinism(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let mut ends = Vec::new();
    let mut graphs = Vec::new();
    for _ in 0..2 {
        let mut optimizer = bench.optimizer(&registry)?;
        bench.doing("update");
        for _ in 0..2 {
            graphs.push(
                update(&rig::parameters(), &mut optimizer, Some(1.0))?
                    .0
                    .lower()?,
            );
        }
        let mut engine = Engine::new(bench.backend, &mut optimizer, rig::parameters(), &start())?;
        for step in 1..=5 {
            engine.step(&optimizer, step, RATE, &gradients(step))?;
        }
        ends.push(engine.states()?);
    }
    if graphs.iter().any(|graph| *graph != graphs[0]) {
        return fail("the graph of the update is another one each time it is built");
    }
    same(
        &state_bits(&ends[0]),
        &state_bits(&ends[1]),
        "two instances on the same gradients",
    )?;
    Ok("four graphs and twice five steps".into())
}

pub(super) fn save_load(bench: &mut Bench<'_>) -> Result<String, Stop> {
    const STEPS: u64 = 8;
    let registry = bench.registry()?;
    let mut whole = bench.optimizer(&registry)?;
    bench.doing("update and scalars");
    let mut engine = Engine::new(bench.backend, &mut whole, rig::parameters(), &start())?;
    let mut history = vec![engine.states()?];
    for step in 1..=STEPS {
        engine.step(&whole, step, RATE, &gradients(step))?;
        history.push(engine.states()?);
    }
    for cut in [1, 3, STEPS - 1] {
        let mut resumed = bench.optimizer(&registry)?;
        bench.doing(format!("going on after step {cut}"));
        let mut engine = Engine::new(bench.backend, &mut resumed, rig::parameters(), &start())?;
        engine.restore(&history[cut as usize])?;
        for step in cut + 1..=STEPS {
            engine.step(&resumed, step, RATE, &gradients(step))?;
            let (found, expected) = (engine.states()?, &history[step as usize]);
            if state_bits(&found) != state_bits(expected) {
                let name = found
                    .iter()
                    .find(|(name, values)| bits(values) != bits(&expected[*name]))
                    .map_or("", |(name, _)| name.as_str());
                return fail(format!(
                    "a new instance that goes on after step {cut} has another `{name}` at step {step}: something is remembered outside of the slots"
                ));
            }
        }
    }
    Ok(format!(
        "{STEPS} steps, interrupted three times, the same bits"
    ))
}

pub(super) fn finite(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let zeros: States = start()
        .into_iter()
        .map(|(name, values)| (name, vec![0.0; values.len()]))
        .collect();
    for (begin, first) in [(start(), "random numbers"), (zeros, "zeros")] {
        for scale in [0.0, 1e-30, 1e-8, 1.0, 1e4] {
            let mut optimizer = bench.optimizer(&registry)?;
            bench.doing(format!("steps with gradients of size {scale}"));
            let rate = optimizer.base_learning_rate().min(RATE);
            let mut engine = Engine::new(bench.backend, &mut optimizer, rig::parameters(), &begin)?;
            for step in 1..=20 {
                let mut scaled = gradients(step);
                scaled.values_mut().flatten().for_each(|g| *g *= scale);
                engine.step(&optimizer, step, rate, &scaled)?;
                let states = engine.states()?;
                let bad = states
                    .iter()
                    .find(|(_, values)| values.iter().any(|v| !v.is_finite()));
                if let Some((name, _)) = bad {
                    return fail(format!(
                        "with gradients of size {scale} and parameters that begin as {first}, `{name}` is not finite after step {step}"
                    ));
                }
            }
        }
    }
    Ok("ten times twenty steps".into())
}

pub(super) fn descent(bench: &mut Bench<'_>) -> Result<String, Stop> {
    const STEPS: u64 = 100;
    let registry = bench.registry()?;
    let mut optimizer = bench.optimizer(&registry)?;
    let rate = optimizer.base_learning_rate();
    bench.doing("steps down a quadratic function");
    let mut engine = Engine::new(bench.backend, &mut optimizer, rig::parameters(), &start())?;
    // Half the squared distance to a target; its gradient is the distance.
    let target = gradients(0);
    let parameters = rig::parameters();
    let distance = |states: &States| -> States {
        parameters
            .iter()
            .map(|p| {
                let both = states[&p.name].iter().zip(&target[&p.name]);
                (p.name.clone(), both.map(|(a, b)| a - b).collect())
            })
            .collect()
    };
    let loss = |d: &States| {
        d.values()
            .flatten()
            .map(|v| f64::from(v * v) / 2.0)
            .sum::<f64>()
    };
    let mut away = distance(&engine.states()?);
    let before = loss(&away);
    for step in 1..=STEPS {
        engine.step(&optimizer, step, rate, &away)?;
        away = distance(&engine.states()?);
    }
    let after = loss(&away);
    if after < before {
        Ok(format!(
            "from {before:.3} to {after:.3} in {STEPS} steps at its own learning rate {rate}"
        ))
    } else {
        fail(format!("from {before:.3} to {after:.3} in {STEPS} steps at its own learning rate {rate}: that is no descent"))
    }
}
