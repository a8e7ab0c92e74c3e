//! Scales, ticks and grids.

use super::palette::Paint;
use super::scene::{Anchor, Scene};
use crate::format;

/// A linear map from values to points.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub low: f64,
    pub high: f64,
    /// Where `low` lies.
    pub from: f64,
    /// Where `high` lies.
    pub to: f64,
}

impl Scale {
    pub(crate) fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    pub(crate) fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// The range of the values, `share` wider at each end; never empty. None without values.
pub(crate) fn range(values: impl IntoIterator<Item = f64>, share: f64) -> Option<(f64, f64)> {
    let ends =
        values
            .into_iter()
            .filter(|v| v.is_finite())
            .fold(None, |ends: Option<(f64, f64)>, v| {
                Some(ends.map_or((v, v), |(low, high)| (low.min(v), high.max(v))))
            });
    let (low, high) = ends?;
    let width = high - low;
    if width <= low.abs().max(high.abs()) * 1e-9 {
        let half = if low == 0.0 { 1.0 } else { 0.1 * low.abs() };
        return Some((low - half, high + half));
    }
    Some((low - share * width, high + share * width))
}

/// Round numbers from `low` to `high`, about `wanted` of them (Heckbert, "Nice numbers for graph labels",
/// Graphics Gems, 1990).
pub(crate) fn ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let rough = (high - low) / wanted.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .iter()
        .map(|m| m * power)
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(10.0 * power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// The ticks as text, all with the same number of decimals.
pub(crate) fn labels(ticks: &[f64]) -> Vec<String> {
    let step = match ticks {
        [a, b, ..] => b - a,
        _ => 1.0,
    };
    let largest = ticks.iter().fold(0.0f64, |m, t| m.max(t.abs()));
    ticks
        .iter()
        .map(|&t| {
            if largest >= 1e4 {
                if t == 0.0 {
                    "0".to_string()
                } else {
                    format::count(t).replace(".00 ", " ").replace(".0 ", " ")
                }
            } else if largest < 1e-3 && largest > 0.0 {
                if t == 0.0 {
                    "0".to_string()
                } else {
                    format!("{t:.1e}").replace(".0e", "e").replace('-', "−")
                }
            } else {
                format::fixed(t, decimals(step))
            }
        })
        .collect()
}

fn decimals(step: f64) -> usize {
    (0..6)
        .find(|&d| {
            let scaled = step * 10f64.powi(d);
            (scaled - scaled.round()).abs() < 1e-6 * scaled.abs().max(1.0)
        })
        .unwrap_or(6) as usize
}

/// Draws the grid, the tick labels and the name of the x axis of a panel.
pub(crate) fn draw(scene: &mut Scene, x: &Scale, y: &Scale, x_name: &str) {
    let across = ticks(y.low, y.high, 5);
    for (tick, label) in across.iter().zip(labels(&across)) {
        let at = y.at(*tick);
        scene.path(&[(x.from, at), (x.to, at)], Paint::Grid, 1.0);
        scene.text((x.from - 8.0, at), label, 11.5, Anchor::End, Paint::Muted);
    }
    draw_x(scene, x, y.from, x_name);
}

/// Draws the x axis at height `bottom`.
pub(crate) fn draw_x(scene: &mut Scene, x: &Scale, bottom: f64, name: &str) {
    scene.path(&[(x.from, bottom), (x.to, bottom)], Paint::Muted, 1.0);
    let wanted = ((x.to - x.from) / 75.0).max(2.0) as usize;
    let along = ticks(x.low, x.high, wanted);
    for (tick, label) in along.iter().zip(labels(&along)) {
        let at = x.at(*tick);
        scene.path(&[(at, bottom), (at, bottom + 4.0)], Paint::Muted, 1.0);
        scene.text(
            (at, bottom + 14.0),
            label,
            11.5,
            Anchor::Middle,
            Paint::Muted,
        );
    }
    let middle = 0.5 * (x.from + x.to);
    scene.text(
        (middle, bottom + 33.0),
        name,
        12.0,
        Anchor::Middle,
        Paint::Muted,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 200.0, 5), [0.0, 50.0, 100.0, 150.0, 200.0]);
        assert_eq!(
            labels(&ticks(-0.31, 0.12, 5)),
            ["−0.3", "−0.2", "−0.1", "0.0", "0.1"]
        );
        assert_eq!(labels(&ticks(0.0, 1e-3, 2)), ["0.0000", "0.0005", "0.0010"]);
        assert_eq!(labels(&ticks(0.0, 2e-4, 2)), ["0", "1e−4", "2e−4"]);
        assert_eq!(labels(&ticks(0.0, 40000.0, 2)), ["0", "20 k", "40 k"]);
    }

    #[test]
    fn a_range_is_never_empty() {
        assert_eq!(range([], 0.1), None);
        assert_eq!(range([2.0, f64::NAN], 0.1), Some((1.8, 2.2)));
        assert_eq!(range([0.0, 1.0], 0.1), Some((-0.1, 1.1)));
    }
}
