//! Held-out loss against the compute that it took: whether a gain was bought with FLOPs.

use super::axes::{self, Scale};
use super::palette::Paint;
use super::scene::{Scene, WIDTH};
use super::Figure;
use crate::analysis::Analysis;
use crate::outcome::outcome_column;
use crate::ReportError;

struct Dot {
    arm: usize,
    flops: f64,
    loss: f64,
}

/// Draws every compared trial; none when fewer than two arms have both numbers.
pub(super) fn draw(analysis: &Analysis) -> Result<Option<Figure>, ReportError> {
    let dots = dots(analysis)?;
    let mut arms: Vec<usize> = dots.iter().map(|dot| dot.arm).collect();
    arms.sort_unstable();
    arms.dedup();
    if arms.len() < 2 {
        return Ok(None);
    }
    let names: Vec<(usize, &str)> = arms
        .iter()
        .map(|&arm| (arm, analysis.arms[arm].arm.name.as_str()))
        .collect();
    let mut scene = Scene::new(0.0);
    let legend = scene.legend(12.0, 62.0, &names);
    let top = 12.0 + legend + 40.0;
    let bottom = top + 220.0;
    scene.height = bottom + 48.0;
    let title = format!("{} {}", analysis.outcome.split, analysis.outcome.label);
    scene.heading((16.0, top - 22.0), title, 13.0);
    let (_, most) = axes::range(dots.iter().map(|dot| dot.flops), 0.08).unwrap_or((0.0, 1.0));
    let (low, high) = axes::range(dots.iter().map(|dot| dot.loss), 0.12).unwrap_or((0.0, 1.0));
    let (unit, unit_name) = unit(most);
    let x = Scale {
        low: 0.0,
        high: most / unit,
        from: 62.0,
        to: WIDTH - 18.0,
    };
    let y = Scale {
        low,
        high,
        from: bottom,
        to: top,
    };
    axes::draw(
        &mut scene,
        &x,
        &y,
        &format!("compute of the trial, {unit_name}"),
    );
    for dot in &dots {
        let at = (x.at(dot.flops / unit), y.at(dot.loss));
        scene.dot(at, 3.5, Paint::Arm(dot.arm), 0.55);
    }
    for &arm in &arms {
        let mine: Vec<&Dot> = dots.iter().filter(|dot| dot.arm == arm).collect();
        let mean =
            |of: fn(&Dot) -> f64| mine.iter().map(|d| of(d)).sum::<f64>() / mine.len() as f64;
        let at = (x.at(mean(|d| d.flops) / unit), y.at(mean(|d| d.loss)));
        scene.path(
            &[(at.0 - 11.0, at.1), (at.0 + 11.0, at.1)],
            Paint::Arm(arm),
            3.0,
        );
    }
    let caption = format!(
        "{} {} of every compared trial against the floating-point operations it spent (dot: trial; bar: mean of the \
         arm). Arms that stand above one another had the same compute.",
        capitalised(analysis.outcome.split),
        analysis.outcome.label
    );
    Figure::new("compute", "Loss and compute".to_string(), caption, &scene).map(Some)
}

fn dots(analysis: &Analysis) -> Result<Vec<Dot>, ReportError> {
    let trials = &analysis.trials;
    let names = trials.column("arm")?.str()?.iter();
    let compared = trials.column("compared")?.bool()?.iter();
    let flops = trials.column("flops")?.f64()?.iter();
    let losses = trials
        .column(&outcome_column(&analysis.outcome))?
        .f64()?
        .iter();
    let rows = names.zip(compared).zip(flops).zip(losses);
    let dots = rows.filter_map(|(((name, compared), flops), loss)| {
        let arm = analysis
            .arms
            .iter()
            .position(|arm| Some(arm.arm.name.as_str()) == name)?;
        (compared? && flops? > 0.0).then_some(Dot {
            arm,
            flops: flops?,
            loss: loss?,
        })
    });
    Ok(dots.collect())
}

fn unit(most: f64) -> (f64, &'static str) {
    [
        (1e18, "EFLOP (10¹⁸)"),
        (1e15, "PFLOP (10¹⁵)"),
        (1e12, "TFLOP (10¹²)"),
        (1e9, "GFLOP (10⁹)"),
    ]
    .into_iter()
    .find(|(unit, _)| most >= *unit)
    .unwrap_or((1.0, "FLOP"))
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}
