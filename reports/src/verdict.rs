//! The answer in one paragraph: data, model, or both together.
//!
//! Owns the choice of words. It claims a direction only when the 95% interval leaves out zero, and says so when it
//! does not.

use crate::analysis::{Analysis, ArmSummary, Contrast, Pair};
use crate::format::{fixed, plural, signed};
use crate::statistics::{Estimate, Finding};

/// FLOPs within this share of the baseline's count as equal.
pub(crate) const EQUAL_COMPUTE: f64 = 0.02;

/// Headline and paragraph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub headline: String,
    pub text: String,
}

/// Judges an experiment.
pub(crate) fn verdict(analysis: &Analysis) -> Verdict {
    let Some(baseline) = analysis.baseline_arm() else {
        return nothing("the experiment has no baseline arm");
    };
    let outcome = format!("{} {}", analysis.outcome.split, analysis.outcome.label);
    let Some(loss) = baseline.held_out.get(&analysis.outcome.column) else {
        return nothing("no trial of the baseline has finished");
    };
    let data = best(analysis, |arm| {
        arm.arm.data.is_some() && arm.arm.model.is_none()
    });
    let model = best(analysis, |arm| {
        arm.arm.model.is_some() && arm.arm.data.is_none()
    });
    let both = best(analysis, |arm| {
        arm.arm.data.is_some() && arm.arm.model.is_some()
    });
    if data.or(model).or(both).is_none() {
        return nothing("no arm beside the baseline has finished with a seed of the baseline");
    }
    let contrast = analysis
        .contrasts
        .iter()
        .find(|c| data.is_some_and(|d| d.0 == c.data) && model.is_some_and(|m| m.0 == c.model));

    let mut sentences = vec![format!(
        "Arms are compared by the {outcome} (lower is better); the baseline reaches {} nats over {}.",
        fixed(loss.mean, 3),
        plural(baseline.compared, "seed")
    )];
    sentences.extend(sides(analysis, data, model));
    sentences.extend(together(analysis, data, model, both));
    if let Some(contrast) = contrast {
        sentences.push(contrasted(contrast));
    }
    sentences.extend(compute(analysis, data, model));
    sentences.extend(selection(analysis));
    Verdict {
        headline: headline(analysis, data, model, contrast),
        text: sentences.join(" "),
    }
}

type Candidate<'a> = (usize, &'a ArmSummary, &'a Estimate);

fn nothing(why: &str) -> Verdict {
    Verdict {
        headline: "No comparison can be made yet".to_string(),
        text: format!("No effect can be given: {why}. What is recorded so far is below."),
    }
}

/// The arm of a kind with the lowest mean difference.
fn best<'a>(analysis: &'a Analysis, kind: impl Fn(&ArmSummary) -> bool) -> Option<Candidate<'a>> {
    analysis
        .arms
        .iter()
        .enumerate()
        .filter(|(_, arm)| kind(arm))
        .filter_map(|(i, arm)| Some((i, arm, arm.difference.as_ref()?)))
        .min_by(|a, b| a.2.mean.total_cmp(&b.2.mean))
}

fn helps(candidate: Option<Candidate>) -> bool {
    candidate.is_some_and(|(_, _, e)| e.finding() == Finding::Below)
}

fn headline(
    analysis: &Analysis,
    data: Option<Candidate>,
    model: Option<Candidate>,
    contrast: Option<&Contrast>,
) -> String {
    let name = |c: Option<Candidate>| c.map_or(String::new(), |c| format!("`{}`", c.1.arm.name));
    let (d, m) = (name(data), name(model));
    let one_seed = |c: Option<Candidate>| c.is_some_and(|c| c.2.interval.is_none());
    if one_seed(data) || one_seed(model) {
        return "One seed cannot decide between data and model".to_string();
    }
    let (Some(_), Some(_)) = (data, model) else {
        let (side, arm, candidate) = if data.is_some() {
            ("data", d, data)
        } else if model.is_some() {
            ("model", m, model)
        } else {
            return "Only arms that change data and model at once have finished".to_string();
        };
        return match candidate.map(|c| c.2.finding()) {
            Some(Finding::Below) => format!("The {side} change {arm} helps"),
            Some(Finding::Above) => format!("The {side} change {arm} hurts"),
            _ => format!("Whether the {side} change {arm} helps is inconclusive"),
        };
    };
    let ahead = contrast.map_or(Finding::NoInterval, |c| c.difference.finding());
    let equal =
        unequal_compute(analysis, data).is_none() && unequal_compute(analysis, model).is_none();
    let budget = if equal { "" } else { " (at unequal compute)" };
    match (helps(data), helps(model), ahead) {
        (true, true, Finding::Below) => {
            format!("Work on the data first: {d} and {m} both help, {d} more{budget}")
        }
        (true, true, Finding::Above) => {
            format!("Work on the model first: {m} and {d} both help, {m} more{budget}")
        }
        (true, true, _) => {
            format!("Data and model both help; which helps more is inconclusive{budget}")
        }
        (true, false, Finding::Below) => {
            format!("Work on the data: {d} helps, and more than {m}{budget}")
        }
        (false, true, Finding::Above) => {
            format!("Work on the model: {m} helps, and more than {d}{budget}")
        }
        (true, false, _) => {
            format!(
                "The data change {d} helps; whether it helps more than {m} is inconclusive{budget}"
            )
        }
        (false, true, _) => {
            format!("The model change {m} helps; whether it helps more than {d} is inconclusive{budget}")
        }
        (false, false, _) => {
            "Inconclusive: neither data nor model helps beyond the spread of the seeds".to_string()
        }
    }
}

fn sides(analysis: &Analysis, data: Option<Candidate>, model: Option<Candidate>) -> Vec<String> {
    let side = |name: &str, candidate: Option<Candidate>, others: usize| {
        let (_, arm, estimate) = candidate?;
        let which = if others > 1 {
            ", the best of its kind,"
        } else {
            ""
        };
        Some(format!(
            "The {name} change alone (`{}`){which} {}.",
            arm.arm.name,
            change(estimate)
        ))
    };
    let count = |kind: fn(&ArmSummary) -> bool| analysis.arms.iter().filter(|a| kind(a)).count();
    let data_arms = count(|a| a.arm.data.is_some() && a.arm.model.is_none());
    let model_arms = count(|a| a.arm.model.is_some() && a.arm.data.is_none());
    let sentences = [
        side("data", data, data_arms),
        side("model", model, model_arms),
    ];
    sentences.into_iter().flatten().collect()
}

/// The pair of the two best arms, or the pair with the lowest loss.
fn chosen_pair<'a>(
    analysis: &'a Analysis,
    data: Option<Candidate>,
    model: Option<Candidate>,
) -> Option<&'a Pair> {
    let of_the_best = analysis
        .pairs
        .iter()
        .find(|p| data.is_some_and(|d| d.0 == p.data) && model.is_some_and(|m| m.0 == p.model));
    of_the_best.or_else(|| {
        let pairs = analysis.pairs.iter();
        pairs.min_by(|a, b| a.total.mean.total_cmp(&b.total.mean))
    })
}

fn together(
    analysis: &Analysis,
    data: Option<Candidate>,
    model: Option<Candidate>,
    both: Option<Candidate>,
) -> Vec<String> {
    let Some(pair) = chosen_pair(analysis, data, model) else {
        return match both {
            Some((_, arm, e)) => vec![format!("Both together (`{}`) {}.", arm.arm.name, change(e))],
            None => Vec::new(),
        };
    };
    let arm = &analysis.arms[pair.both];
    let interaction = match pair.interaction.finding() {
        Finding::Below => "the two strengthen each other",
        Finding::Above => "the two get in each other's way, or gain the same thing twice",
        Finding::Inconclusive => "inconclusive, so the two may simply add up",
        Finding::NoInterval => "one seed, no interval can be given",
    };
    let parts = &pair.interaction;
    let within = parts.interval.map_or(String::new(), |i| {
        format!(
            "95% interval {} to {}: ",
            signed(i.lower, 3),
            signed(i.upper, 3)
        )
    });
    let whole = arm.difference.as_ref().unwrap_or(&pair.total);
    // An arm may have seeds that another of the four lost; the parts are of the seeds that all have.
    let over = if whole.seeds() == pair.total.seeds() {
        "Of that,".to_string()
    } else {
        format!(
            "Over the {} that all four arms share it is {} in all, of which",
            plural(pair.total.seeds(), "seed"),
            signed(pair.total.mean, 3)
        )
    };
    vec![
        format!("Both together (`{}`) {}.", arm.arm.name, change(whole)),
        format!(
            "{over} {} comes from the data alone, {} from the model alone and {} from both together, the interaction \
             ({within}{interaction}).",
            signed(pair.data_alone.mean, 3),
            signed(pair.model_alone.mean, 3),
            signed(parts.mean, 3),
        ),
    ]
}

fn contrasted(contrast: &Contrast) -> String {
    let e = &contrast.difference;
    let size = fixed(e.mean.abs(), 3);
    let leader = if e.mean < 0.0 { "data" } else { "model" };
    match (e.finding(), e.interval) {
        (Finding::Inconclusive, Some(i)) => format!(
            "Data against model is inconclusive: the {leader} change is ahead by {size} nats, but the 95% interval of \
             the difference, {} to {}, contains zero.",
            signed(i.lower, 3),
            signed(i.upper, 3)
        ),
        (_, Some(i)) => {
            let (a, b) = ends(i.lower, i.upper);
            format!("The {leader} change is ahead of the other by {size} nats (95% interval {a} to {b}).")
        }
        (_, None) => format!("The {leader} change is ahead by {size} nats in this one seed."),
    }
}

/// "lowers it by 0.120 nats (95% interval 0.090 to 0.150)" and its like.
fn change(e: &Estimate) -> String {
    let size = fixed(e.mean.abs(), 3);
    match (e.finding(), e.interval) {
        (Finding::Below, Some(i)) => {
            let (a, b) = ends(i.lower, i.upper);
            format!("lowers it by {size} nats (95% interval {a} to {b})")
        }
        (Finding::Above, Some(i)) => {
            let (a, b) = ends(i.lower, i.upper);
            format!("raises it by {size} nats (95% interval {a} to {b})")
        }
        (_, Some(i)) => format!(
            "changes it by {} nats (95% interval {} to {}: inconclusive)",
            signed(e.mean, 3),
            signed(i.lower, 3),
            signed(i.upper, 3)
        ),
        (_, None) => format!(
            "changes it by {} nats (one seed, so no interval can be given)",
            signed(e.mean, 3)
        ),
    }
}

/// The ends of an interval that leaves out zero, as sizes in rising order.
fn ends(lower: f64, upper: f64) -> (String, String) {
    let (a, b) = (lower.abs(), upper.abs());
    (fixed(a.min(b), 3), fixed(a.max(b), 3))
}

/// How many times the baseline's FLOPs an arm spent, when that is not about once.
fn unequal_compute(analysis: &Analysis, candidate: Option<Candidate>) -> Option<f64> {
    let base = analysis.baseline_arm()?.flops?;
    let ratio = candidate?.1.flops? / base;
    (ratio.is_finite() && (ratio - 1.0).abs() > EQUAL_COMPUTE).then_some(ratio)
}

fn compute(
    analysis: &Analysis,
    data: Option<Candidate>,
    model: Option<Candidate>,
) -> Option<String> {
    let side = |candidate: Option<Candidate>| {
        let ratio = unequal_compute(analysis, candidate)?;
        let name = &candidate?.1.arm.name;
        Some(format!(
            "`{name}` spent {} times the baseline's FLOPs",
            fixed(ratio, 2)
        ))
    };
    let sides: Vec<String> = [side(data), side(model)].into_iter().flatten().collect();
    (!sides.is_empty()).then(|| {
        format!(
            "The arms did not spend the same compute: {}, so their differences include what that compute buys.",
            sides.join(" and ")
        )
    })
}

/// The best of several is chosen by its luck too.
fn selection(analysis: &Analysis) -> Option<String> {
    let others = analysis
        .arms
        .iter()
        .filter(|a| a.difference.is_some())
        .count();
    (others > 3).then(|| {
        format!(
            "{others} differences are looked at and the intervals are not widened for that: the best of several looks \
             better than it is."
        )
    })
}
