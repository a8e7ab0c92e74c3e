//! Tests of stopping rules.

use ablate_random::Stream;
use ablate_train::{Decision, Event, Split, StoppingRule};

use super::bench::{fail, same, Bench, Stop};

/// An event with metrics of its own.
struct Seen {
    step: u64,
    split: Split,
    metrics: Vec<(&'static str, f64)>,
}

impl Seen {
    fn event(&self) -> Event<'_> {
        Event {
            step: self.step,
            tokens: self.step * 4096,
            flops: self.step as f64 * 1e9,
            seconds: self.step as f64 * 0.1,
            split: self.split,
            metrics: &self.metrics,
        }
    }
}

/// A loss that falls, then stands, then rises; an evaluation after every fifth step.
fn history(steps: u64) -> Vec<Seen> {
    let mut noise = Stream::new(3, "history").reader();
    let mut seen = Vec::new();
    for step in 1..=steps {
        let t = step as f64 / steps as f64;
        let loss = 2.0 + 4.0 * (-6.0 * t).exp() + 3.0 * (t - 0.7).max(0.0) + 0.02 * noise.normal();
        let metrics = |loss: f64, split: Split| {
            let mut metrics = vec![
                ("loss", loss),
                ("mlm_loss", loss * 0.8),
                ("nsp_loss", loss * 0.2),
            ];
            match split {
                Split::Train => metrics.extend([("grad_norm", 1.0 + t), ("learning_rate", 1e-3)]),
                _ => metrics.extend([("mlm_accuracy", 1.0 / loss), ("nsp_accuracy", 0.5)]),
            }
            metrics
        };
        seen.push(Seen {
            step,
            split: Split::Train,
            metrics: metrics(loss, Split::Train),
        });
        if step % 5 == 0 {
            seen.push(Seen {
                step,
                split: Split::Validation,
                metrics: metrics(loss + 0.1, Split::Validation),
            });
        }
    }
    seen
}

const STEPS: u64 = 120;

fn decisions(rule: &mut dyn StoppingRule, seen: &[Seen]) -> Result<Vec<Decision>, Stop> {
    Ok(seen
        .iter()
        .map(|s| rule.observe(&s.event()))
        .collect::<Result<_, _>>()?)
}

fn ends(decisions: &[Decision]) -> usize {
    decisions
        .iter()
        .filter(|d| **d != Decision::Continue)
        .count()
}

pub(super) fn determinism(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let seen = history(STEPS);
    let (mut one, mut two) = (
        bench.stopping_rule(&registry)?,
        bench.stopping_rule(&registry)?,
    );
    bench.doing("observe");
    let (a, b) = (decisions(&mut one, &seen)?, decisions(&mut two, &seen)?);
    same(&a, &b, "the decisions of two instances")?;
    bench.doing("save");
    same(
        &one.save()?,
        &two.save()?,
        "the saved states of two instances",
    )?;
    Ok(format!(
        "{} events, {} decisions to end",
        seen.len(),
        ends(&a)
    ))
}

pub(super) fn save_load(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let seen = history(STEPS);
    let mut whole = bench.stopping_rule(&registry)?;
    bench.doing("observe and save");
    let mut expected = Vec::new();
    let mut states = vec![whole.save()?];
    for one in &seen {
        expected.push(whole.observe(&one.event())?);
        states.push(whole.save()?);
    }
    let mut longest = 0;
    for cut in (0..seen.len()).step_by(7) {
        let mut resumed = bench.stopping_rule(&registry)?;
        bench.doing(format!("load after {cut} events"));
        resumed.load(&states[cut])?;
        longest = longest.max(states[cut].len());
        if resumed.save()? != states[cut] {
            return fail(format!(
                "state that is loaded and saved again is another one (after {cut} events)"
            ));
        }
        for (at, one) in seen.iter().enumerate().skip(cut) {
            if resumed.observe(&one.event())? != expected[at] {
                return fail(format!(
                    "an instance that takes over after {cut} events decides otherwise at event {}: `save` leaves something out, or `load` does",
                    at + 1
                ));
            }
        }
        if resumed.save()? != states[seen.len()] {
            return fail(format!(
                "an instance that takes over after {cut} events ends in another state"
            ));
        }
    }
    Ok(format!(
        "{} interruptions, state of at most {longest} bytes",
        seen.len().div_ceil(7)
    ))
}

pub(super) fn state_garbage(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let seen = history(STEPS);
    let mut rule = bench.stopping_rule(&registry)?;
    bench.doing("observe and save");
    decisions(&mut rule, &seen[..40])?;
    let state = rule.save()?;
    let mut garbage: Vec<(String, Vec<u8>)> = vec![
        ("no byte at all".into(), vec![]),
        ("one byte".into(), vec![0]),
        ("zeros".into(), vec![0; 64]),
        ("a mebibyte of 255".into(), vec![255; 1 << 20]),
        (
            "JSON of something else".into(),
            br#"{"rule": "other", "version": 1, "state": {}}"#.to_vec(),
        ),
        (
            "deep JSON".into(),
            [b"[".repeat(100_000), b"]".repeat(100_000)].concat(),
        ),
        (
            "twice the state".into(),
            [state.clone(), state.clone()].concat(),
        ),
    ];
    for length in [1, state.len() / 2, state.len().saturating_sub(1)] {
        garbage.push((
            format!("the first {length} bytes of the state"),
            state[..length.min(state.len())].to_vec(),
        ));
    }
    let mut numbers = Stream::new(9, "garbage").reader();
    for _ in 0..20 {
        if state.is_empty() {
            break;
        }
        let mut changed = state.clone();
        let at = numbers.below(u32::try_from(state.len()).unwrap_or(u32::MAX)) as usize;
        changed[at] ^= 1 << numbers.below(8);
        garbage.push((format!("the state with byte {at} changed"), changed));
    }
    let (mut taken, mut refused) = (0, 0);
    for (about, bytes) in &garbage {
        let mut fresh = bench.stopping_rule(&registry)?;
        bench.doing(format!("load of {about}"));
        match fresh.load(bytes) {
            Err(_) => refused += 1,
            Ok(()) => {
                taken += 1;
                // Whatever it believes now, it must go on without harm.
                for one in &seen[40..60] {
                    let _ = fresh.observe(&one.event());
                }
            }
        }
    }
    // A rule that remembers nothing may take anything.
    Ok(format!("{refused} refused, {taken} taken, none did harm"))
}

pub(super) fn odd_metrics(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let mut outcomes = Vec::new();
    for (about, value) in [
        ("NaN", f64::NAN),
        ("infinity", f64::INFINITY),
        ("-infinity", f64::NEG_INFINITY),
        ("1e308", 1e308),
    ] {
        for split in [Split::Train, Split::Validation] {
            let mut rule = bench.stopping_rule(&registry)?;
            bench.doing(format!("observe of {about} on the {} split", split.name()));
            for step in 1..=30 {
                let odd = Seen {
                    step,
                    split,
                    metrics: vec![
                        ("loss", value),
                        ("mlm_loss", value),
                        ("grad_norm", value),
                        ("learning_rate", 1e-3),
                    ],
                };
                match rule.observe(&odd.event()) {
                    Ok(decision) => outcomes.push(decision != Decision::Continue),
                    Err(_) => outcomes.push(true),
                }
            }
        }
    }
    let mut rule = bench.stopping_rule(&registry)?;
    bench.doing("observe of an event without metrics");
    let empty = Seen {
        step: 1,
        split: Split::Train,
        metrics: vec![],
    };
    let _ = rule.observe(&empty.event());
    Ok(format!(
        "{} events, {} ended or refused",
        outcomes.len() + 1,
        outcomes.iter().filter(|end| **end).count()
    ))
}
