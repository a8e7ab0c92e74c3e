//! Tests of schedules.

use ablate_train::Schedule;

use super::bench::{fail, Bench, Stop};

pub(super) fn values(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let (one, two) = (bench.schedule(&registry)?, bench.schedule(&registry)?);
    let mut steps: Vec<u64> = (1..=2000).collect();
    for power in 11..64 {
        steps.extend([(1 << power) - 1, 1 << power]);
    }
    steps.push(u64::MAX);
    bench.doing("factor");
    // The host refuses what is negative or no number.
    let forward: Vec<f64> = steps
        .iter()
        .map(|s| one.factor(*s))
        .collect::<Result<_, _>>()?;
    for (i, step) in steps.iter().enumerate().rev() {
        for (schedule, whose) in [(&one, "the same instance"), (&two, "another instance")] {
            let again = schedule.factor(*step)?;
            if again.to_bits() != forward[i].to_bits() {
                return fail(format!(
                    "step {step} has the factor {}, and {again} when {whose} is asked again in another order",
                    forward[i]
                ));
            }
        }
    }
    let (low, high) = forward
        .iter()
        .fold((f64::INFINITY, 0.0f64), |(low, high), f| {
            (low.min(*f), high.max(*f))
        });
    if high == 0.0 {
        return fail("the factor is 0 at every step: nothing would be trained");
    }
    Ok(format!(
        "{} steps, factors from {low:.3} to {high:.3}",
        steps.len()
    ))
}
