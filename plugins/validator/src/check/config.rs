//! Tests of configurations against the plugin's own schema.

use ablate_host::{HostError, Registry};
use serde_json::Value;

use super::bench::{count, fail, is_bare, shown, Bench, Stop};
use crate::schema::{forbidden, odd, problems, variations, Sample};

pub(super) fn schema(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let found = problems(bench.schema);
    match found.first() {
        None => {
            let keys = bench.schema.get("properties").and_then(Value::as_object);
            Ok(count(keys.map_or(0, serde_json::Map::len), "key"))
        }
        Some(first) if found.len() == 1 => fail(first.clone()),
        Some(first) => fail(format!("{first} (and {} more)", found.len() - 1)),
    }
}

/// The plugin's answer to a configuration: None where it takes it, else its message.
fn answer(
    bench: &mut Bench<'_>,
    registry: &Registry,
    sample: &Sample,
) -> Result<Option<String>, Stop> {
    bench.doing(format!("create with {}", sample.about));
    match registry.check(bench.kind, bench.name, &sample.config) {
        Ok(()) => Ok(None),
        Err(HostError::Create { message, .. }) if is_bare(&message) => fail(format!(
            "with {} it fails without a message; call set_error before you return a status",
            sample.about
        )),
        Err(HostError::Create { message, .. }) => Ok(Some(message)),
        Err(other) => Err(other.into()),
    }
}

pub(super) fn valid(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let base = bench.config()?;
    let first = Sample {
        about: shown(&base),
        config: base.clone(),
    };
    if let Some(message) = answer(bench, &registry, &first)? {
        if bench.made_up() {
            return Err(Stop::Skipped(format!(
                "the made-up configuration {} is refused; give one: --config {}={{...}} ({message})",
                first.about, bench.name
            )));
        }
        return fail(format!("{} is refused: {message}", first.about));
    }
    let keys: Vec<&str> = bench
        .schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .collect();
    let (mut taken, mut refused) = (1, 0);
    for sample in variations(bench.schema, &base) {
        match answer(bench, &registry, &sample)? {
            None => taken += 1,
            Some(message) if keys.iter().any(|key| message.contains(key)) => refused += 1,
            Some(message) => {
                return fail(format!(
                    "{} is allowed by the schema, and the refusal names no key: {message}",
                    sample.about
                ))
            }
        }
    }
    Ok(match refused {
        0 => format!("{taken} taken"),
        n => format!("{taken} taken, {n} refused by name"),
    })
}

pub(super) fn garbage(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let base = bench.config()?;
    let bad = forbidden(bench.schema, &base);
    for sample in &bad {
        if answer(bench, &registry, sample)?.is_none() {
            return fail(format!(
                "{} is taken, although the schema forbids it",
                sample.about
            ));
        }
    }
    let strange = odd(bench.schema, &base);
    for sample in &strange {
        answer(bench, &registry, sample)?;
    }
    Ok(format!(
        "{} refused, {} odd ones survived",
        bad.len(),
        strange.len()
    ))
}
