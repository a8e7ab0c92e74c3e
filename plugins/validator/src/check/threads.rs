//! Tests of instances: on other threads, at the same time, many of them, and how fast they build.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use ablate_host::{
    Kind, ObjectivePlugin, OperatorPlugin, OptimizerPlugin, Registry, SchedulePlugin,
    StoppingRulePlugin,
};
use ablate_train::graphs::{forward, update, ForwardShape};
use ablate_train::window::label;
use ablate_train::{Event, Objective, Optimizer, Schedule, Split, StoppingRule};

use super::bench::{fail, Bench, Stop};
use crate::rig;

/// An instance of any kind.
enum Made {
    Objective(Vec<Box<dyn Objective>>),
    Optimizer(Box<OptimizerPlugin>),
    Schedule(Box<SchedulePlugin>),
    StoppingRule(Box<StoppingRulePlugin>),
    Operator(Box<OperatorPlugin>),
}

fn made(bench: &mut Bench<'_>, registry: &Registry) -> Result<Made, Stop> {
    Ok(match bench.kind {
        Kind::Objective => {
            let objective: ObjectivePlugin = bench.objective(registry)?;
            Made::Objective(vec![Box::new(objective)])
        }
        Kind::Optimizer => Made::Optimizer(Box::new(bench.optimizer(registry)?)),
        Kind::Schedule => Made::Schedule(Box::new(bench.schedule(registry)?)),
        Kind::StoppingRule => Made::StoppingRule(Box::new(bench.stopping_rule(registry)?)),
        Kind::Operator => Made::Operator(Box::new(bench.operator(registry)?)),
        Kind::Unknown => return fail("there is no use for it"),
    })
}

/// Runs `work` here, or on a fresh thread.
fn on<T: Send>(elsewhere: bool, work: impl FnOnce() -> T + Send) -> Result<T, String> {
    if !elsewhere {
        return Ok(work());
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(work);
        thread.join().map_err(|_| "the thread panicked".to_owned())
    })
}

type Trace = Result<String, String>;

/// Calls every hook, and writes down all that comes out. `hop`: each hook on a thread of its own.
/// Instances go to the thread as a whole (`&mut`), for they may not be shared.
fn trace(made: &mut Made, hop: bool) -> Trace {
    fn words(error: impl ToString) -> String {
        error.to_string()
    }
    let mut text = String::new();
    match made {
        Made::Objective(objectives) => {
            let pairs = rig::pairs(&*objectives[0]);
            for seed in 1..=3 {
                let batch = rig::batch(rig::ROWS, 1, seed, pairs);
                let labelled = on(hop, || label(objectives, batch))?.map_err(words)?;
                let _ = write!(
                    text,
                    "{:?} {:?}",
                    labelled.batch.input_ids, labelled.features
                );
                let shape = ForwardShape::of(&labelled, &labelled.predictions());
                let graph = on(hop, || {
                    forward(&rig::model(0.1), objectives, &shape, true).map(|f| f.graph.dump())
                });
                text.push_str(&graph?.map_err(words)?);
            }
        }
        Made::Optimizer(optimizer) => {
            for step in 1..=3 {
                let one = &mut **optimizer;
                let values = on(hop, move || one.scalars(step, 1e-3))?.map_err(words)?;
                let _ = write!(text, "{values:?}");
                let graph = on(hop, || {
                    update(&rig::parameters(), &mut **optimizer, Some(1.0)).map(|(g, _)| g.dump())
                });
                text.push_str(&graph?.map_err(words)?);
            }
        }
        Made::Schedule(schedule) => {
            for step in 1..=20 {
                let one = &mut **schedule;
                let factor = on(hop, move || one.factor(step))?.map_err(words)?;
                let _ = write!(text, "{factor:?} ");
            }
        }
        Made::StoppingRule(rule) => {
            for step in 1..=20 {
                let decision = on(hop, || {
                    let metrics = [("loss", 9.0 / step as f64), ("mlm_loss", 9.0 / step as f64)];
                    rule.observe(&Event {
                        step,
                        tokens: step,
                        flops: step as f64 * 1e9,
                        seconds: step as f64 * 0.1,
                        split: if step % 4 == 0 {
                            Split::Validation
                        } else {
                            Split::Train
                        },
                        metrics: &metrics,
                    })
                });
                // A rule may miss a metric here; then it misses it on every thread.
                let _ = write!(text, "{:?} ", decision?.map_err(words));
            }
            let one = &mut **rule;
            let state = on(hop, move || one.save())?.map_err(words)?;
            let _ = write!(text, "{state:?}");
        }
        Made::Operator(operator) => {
            for part in 0..4 {
                let texts: Vec<(String, String)> = (0..8)
                    .map(|i| {
                        (
                            format!("{part}-{i}"),
                            format!("The text of number {} of part {part}.", i % 5),
                        )
                    })
                    .collect();
                let batch: Vec<(&str, &str)> = texts
                    .iter()
                    .map(|(i, t)| (i.as_str(), t.as_str()))
                    .collect();
                let fates = on(hop, || operator.apply(&batch))?.map_err(words)?;
                let _ = write!(text, "{fates:?}");
            }
        }
    }
    Ok(text)
}

pub(super) fn moved(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let mut here = made(bench, &registry)?;
    let mut there = made(bench, &registry)?;
    bench.doing("the hooks on one thread");
    let expected = trace(&mut here, false).map_err(Stop::Failed)?;
    bench.doing("the hooks on a thread each");
    let found = trace(&mut there, true);
    bench.doing("destroy on another thread");
    on(true, move || drop(there)).map_err(Stop::Failed)?;
    match found {
        Ok(found) if found == expected => Ok("the same".into()),
        Ok(_) => fail("an instance gives something else when its hooks are called on other threads than create was"),
        Err(message) => fail(format!("on other threads than create was called on: {message}")),
    }
}

pub(super) fn at_once(bench: &mut Bench<'_>) -> Result<String, Stop> {
    const ROUNDS: usize = 8;
    let registry = bench.registry()?;
    let mut alone = made(bench, &registry)?;
    bench.doing("the hooks of one instance");
    let expected = trace(&mut alone, false).map_err(Stop::Failed)?;
    let mut instances = Vec::new();
    for _ in 0..2 * ROUNDS {
        instances.push(made(bench, &registry)?);
    }
    bench.doing("the hooks of two instances on two threads at once");
    let second = instances.split_off(ROUNDS);
    let work = |instances: Vec<Made>| -> Vec<Trace> {
        instances
            .into_iter()
            .map(|mut one| trace(&mut one, false))
            .collect()
    };
    let traces = std::thread::scope(|scope| {
        let threads = [instances, second].map(|half| scope.spawn(move || work(half)));
        threads.map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| vec![Err("the thread panicked".into())])
        })
    });
    for trace in traces.into_iter().flatten() {
        match trace {
            Ok(found) if found == expected => {}
            Ok(_) => return fail(
                "an instance gives something else while another one is in use on another thread",
            ),
            Err(message) => {
                return fail(format!(
                    "while another instance is in use on another thread: {message}"
                ))
            }
        }
    }
    Ok(format!("{ROUNDS} rounds"))
}

pub(super) fn create_destroy(bench: &mut Bench<'_>) -> Result<String, Stop> {
    /// Instances that are made before memory is looked at, so that what is kept on purpose is there.
    const WARM_UP: u64 = 50;
    const COUNT: u64 = 300;
    /// Growth that passes: allocators round.
    const GROWTH_BYTES: u64 = 4096;
    /// Enough has been seen after this time: some instances read a whole model.
    const TIME: Duration = Duration::from_secs(5);
    let registry = bench.registry()?;
    let since = Instant::now();
    let mut before = None;
    let mut made_since = 0;
    for i in 0..COUNT {
        drop(made(bench, &registry)?);
        if i == WARM_UP {
            before = resident_bytes();
        }
        made_since = i.saturating_sub(WARM_UP);
        if since.elapsed() > TIME {
            break;
        }
    }
    let (Some(before), Some(after)) = (before, resident_bytes()) else {
        return Ok(format!(
            "{} made and destroyed; memory cannot be seen",
            made_since + WARM_UP
        ));
    };
    let each = after.saturating_sub(before) / made_since.max(1);
    if each > GROWTH_BYTES {
        return fail(format!("the process grows by {each} bytes with each instance; does `destroy` free all that `create` makes?"));
    }
    Ok(format!("{} made and destroyed", made_since + WARM_UP))
}

/// Memory that this process really has.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

pub(super) fn build_time(bench: &mut Bench<'_>) -> Result<String, Stop> {
    /// A build of the small model that takes longer is felt at BERT's size.
    const MOST: Duration = Duration::from_secs(2);
    let registry = bench.registry()?;
    let mut times = Vec::new();
    for _ in 0..5 {
        let mut made = made(bench, &registry)?;
        bench.doing("build");
        let since = Instant::now();
        match &mut made {
            Made::Objective(objectives) => {
                let pairs = rig::pairs(&*objectives[0]);
                let labelled = label(objectives, rig::batch(rig::ROWS, 1, 1, pairs))?;
                let shape = ForwardShape::of(&labelled, &labelled.predictions());
                forward(&rig::model(0.1), objectives, &shape, true)?;
            }
            Made::Optimizer(optimizer) => {
                update(&rig::parameters(), &mut **optimizer, Some(1.0))?;
            }
            _ => return Err(Stop::Skipped("it builds no graph".into())),
        }
        times.push(since.elapsed());
    }
    times.sort();
    let best = times[0];
    if best > MOST {
        return fail(format!(
            "{:.1} s for a small model, at best",
            best.as_secs_f64()
        ));
    }
    Ok(format!(
        "{:.1} ms for a small model, encoder included",
        best.as_secs_f64() * 1e3
    ))
}
