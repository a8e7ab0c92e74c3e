//! Tests in front of other hosts.

use super::bench::{fail, Bench, Stop};
use crate::border::{hosts, set_sizes, Sizes};

pub(super) fn older(bench: &mut Bench<'_>) -> Result<String, Stop> {
    set_sizes(Sizes::Oldest);
    let registry = bench.proxied()?;
    bench.works(&registry, " under the oldest host")?;
    Ok("works".into())
}

pub(super) fn newer(bench: &mut Bench<'_>) -> Result<String, Stop> {
    set_sizes(Sizes::Newer);
    let registry = bench.proxied()?;
    bench.works(&registry, " under a newer host")?;
    Ok("works".into())
}

pub(super) fn without_tables(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.proxied()?;
    bench.works(&registry, "")?;
    let mut words = Vec::new();
    for (i, id) in hosts::TABLES.into_iter().enumerate() {
        hosts::leave_out(Some(i));
        match bench.exercise(&registry, &format!(" without the host's table {id}"))? {
            Ok(()) => words.push(format!("{id} not needed")),
            Err(_) => words.push(format!("{id} missed")),
        }
    }
    hosts::leave_out(None);
    Ok(words.join(", ").replace("ablate.host.", ""))
}

/// Calls that are refused one by one; where there are more, they are spread.
const MOST: u32 = 150;

pub(super) fn refuses(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.proxied()?;
    hosts::refuse(None);
    bench.works(&registry, "")?;
    hosts::refuse(None);
    bench.exercise(&registry, "")?.map_err(Stop::Failed)?;
    let calls = hosts::calls();
    if calls == 0 {
        return Err(Stop::Skipped(
            "it calls no function of the host that can fail".into(),
        ));
    }
    let step = calls.div_ceil(MOST).max(1) as usize;
    for call in (0..calls).step_by(step) {
        hosts::refuse(Some(call));
        let situation = format!(" while the host refuses call {} of {calls}", call + 1);
        match bench.exercise(&registry, &situation)? {
            Err(_) => {}
            Ok(()) => {
                return fail(format!(
                    "the host refused call {} of {calls}, and the plugin went on as if nothing had happened",
                    call + 1
                ));
            }
        }
    }
    hosts::refuse(None);
    Ok(format!("{calls} calls, every refusal passed on"))
}
