//! The forest plot: every difference and effect with its interval, on one scale.

use super::axes::{self, Scale};
use super::palette::Paint;
use super::scene::{Anchor, Scene, WIDTH};
use super::Figure;
use crate::analysis::Analysis;
use crate::statistics::Estimate;
use crate::{format, ReportError};

const ROW: f64 = 30.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = WIDTH - 220.0;

struct Row<'a> {
    label: String,
    paint: Paint,
    estimate: &'a Estimate,
}

/// Draws the differences of the arms and the effects of the pairs; none when nothing can be compared.
pub(super) fn draw(analysis: &Analysis) -> Result<Option<Figure>, ReportError> {
    let groups = groups(analysis);
    if groups.is_empty() {
        return Ok(None);
    }
    let rows = || groups.iter().flat_map(|(_, rows)| rows);
    let ends = rows().flat_map(|row| {
        let interval = row
            .estimate
            .interval
            .iter()
            .flat_map(|i| [i.lower, i.upper]);
        let values = row.estimate.values.iter().map(|(_, v)| *v);
        interval.chain(values).collect::<Vec<_>>()
    });
    // Zero is what every interval is read against.
    let (low, high) = axes::range(ends.chain([0.0]), 0.06).unwrap_or((-1.0, 1.0));
    let x = Scale {
        low,
        high,
        from: LEFT,
        to: RIGHT,
    };
    let top = 34.0;
    let bottom = top
        + groups
            .iter()
            .map(|(_, rows)| 32.0 + ROW * rows.len() as f64)
            .sum::<f64>();
    let mut scene = Scene::new(bottom + 66.0);
    let zero = x.at(0.0);
    for tick in axes::ticks(x.low, x.high, 6) {
        scene.path(&[(x.at(tick), top), (x.at(tick), bottom)], Paint::Grid, 1.0);
    }
    scene.dashed(
        &[(zero, top - 8.0), (zero, bottom)],
        Paint::Ink,
        1.2,
        (4.0, 3.0),
    );
    if zero - x.from > 70.0 {
        scene.text(
            (zero - 8.0, top - 16.0),
            "← better",
            12.0,
            Anchor::End,
            Paint::Muted,
        );
    }
    if x.to - zero > 70.0 {
        scene.text(
            (zero + 8.0, top - 16.0),
            "worse →",
            12.0,
            Anchor::Start,
            Paint::Muted,
        );
    }
    let heading = if rows().any(|row| row.estimate.interval.is_some()) {
        "mean [95% interval]"
    } else {
        "one seed: no interval"
    };
    scene.text(
        (WIDTH - 14.0, top - 16.0),
        heading,
        12.0,
        Anchor::End,
        Paint::Muted,
    );

    let mut y = top;
    for (title, rows) in &groups {
        scene.heading((14.0, y + 18.0), title, 13.0);
        y += 32.0;
        for row in rows {
            draw_row(&mut scene, &x, y + 0.5 * ROW, row);
            y += ROW;
        }
    }
    let name = format!(
        "difference in {} {}, nats",
        analysis.outcome.split, analysis.outcome.label
    );
    axes::draw_x(&mut scene, &x, bottom, &name);
    let caption = format!(
        "Differences in {} {}, paired by seed. Large dot: mean over the seeds; bar: 95% interval (Student t); small \
         dots: single seeds. An interval that crosses the dashed zero line decides nothing.",
        analysis.outcome.split, analysis.outcome.label
    );
    Figure::new("effects", "Effects".to_string(), caption, &scene).map(Some)
}

fn groups(analysis: &Analysis) -> Vec<(String, Vec<Row<'_>>)> {
    let mut groups = Vec::new();
    let arms: Vec<Row> = analysis
        .arms
        .iter()
        .enumerate()
        .filter_map(|(i, arm)| {
            Some(Row {
                label: arm.arm.name.clone(),
                paint: Paint::Arm(i),
                estimate: arm.difference.as_ref()?,
            })
        })
        .collect();
    if !arms.is_empty() {
        groups.push(("Arms against the baseline".to_string(), arms));
    }
    for pair in &analysis.pairs {
        let name = |arm: usize| analysis.arms[arm].arm.name.as_str();
        let title = if analysis.pairs.len() == 1 {
            "Parts".to_string()
        } else {
            format!("{} × {}", name(pair.data), name(pair.model))
        };
        let row = |label: &str, paint, estimate| Row {
            label: label.to_string(),
            paint,
            estimate,
        };
        groups.push((
            title,
            vec![
                row("data, main effect", Paint::Arm(pair.data), &pair.data_main),
                row(
                    "model, main effect",
                    Paint::Arm(pair.model),
                    &pair.model_main,
                ),
                row("interaction", Paint::Effect, &pair.interaction),
            ],
        ));
    }
    groups
}

fn draw_row(scene: &mut Scene, x: &Scale, y: f64, row: &Row) {
    let label = shortened(&row.label, LEFT - 44.0);
    scene.text((28.0, y), label, 12.5, Anchor::Start, Paint::Ink);
    for (_, value) in &row.estimate.values {
        scene.dot((x.at(*value), y + 7.5), 2.2, row.paint, 0.6);
    }
    if let Some(interval) = row.estimate.interval {
        let (from, to) = (x.at(interval.lower), x.at(interval.upper));
        scene.path(&[(from, y), (to, y)], row.paint, 2.5);
        for end in [from, to] {
            scene.path(&[(end, y - 4.5), (end, y + 4.5)], row.paint, 2.5);
        }
    }
    scene.dot((x.at(row.estimate.mean), y), 5.0, row.paint, 1.0);
    let numbers = format::estimate(row.estimate);
    scene.text((WIDTH - 14.0, y), numbers, 12.5, Anchor::End, Paint::Ink);
}

/// The label cut to a width, with an ellipsis for what is missing.
fn shortened(label: &str, width: f64) -> String {
    let mut text = label.to_string();
    while super::scene::text_width(&text, 12.5) > width && text.chars().count() > 4 {
        text = text.chars().take(text.chars().count() - 2).collect();
        text.push('…');
    }
    text
}
