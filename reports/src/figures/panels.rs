//! Figures over training steps: losses, accuracies, learning rate and gradient norm.

use super::axes::{self, Scale};
use super::palette::Paint;
use super::scene::{Anchor, Scene, WIDTH};
use super::Figure;
use crate::analysis::Analysis;
use crate::curves::{Line, TrialLine};
use crate::{format, ReportError};

const GAP: f64 = 74.0;
const HEIGHT: f64 = 250.0;

/// One panel before it is laid out.
struct Panel {
    title: String,
    lines: Vec<Line>,
    /// Trials that are left out: arm and points.
    loose: Vec<TrialLine>,
    /// Whether points are marked, as evaluations are.
    marked: bool,
    /// Horizontal lines to read against.
    references: Vec<(String, f64)>,
}

impl Panel {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.loose.is_empty()
    }

    fn arms(&self) -> impl Iterator<Item = usize> + '_ {
        let lines = self.lines.iter().map(|line| line.arm);
        lines.chain(self.loose.iter().map(|(arm, _)| *arm))
    }

    /// Values that the vertical range must hold: the bands, or without any the single trials.
    fn heights(&self) -> Vec<f64> {
        if self.lines.is_empty() {
            let points = self.loose.iter().flat_map(|(_, points)| points);
            return points.map(|(_, v)| *v).collect();
        }
        let points = self.lines.iter().flat_map(|line| &line.points);
        points.flat_map(|p| [p.low, p.high]).collect()
    }

    fn steps(&self) -> Vec<f64> {
        let lines = self.lines.iter().flat_map(|line| &line.points);
        let loose = self.loose.iter().flat_map(|(_, points)| points);
        lines
            .map(|p| p.step)
            .chain(loose.map(|(s, _)| *s))
            .collect()
    }
}

fn panel(
    analysis: &Analysis,
    column: &str,
    split: &str,
    title: String,
    references: &[(String, f64)],
) -> Result<Panel, ReportError> {
    Ok(Panel {
        title,
        lines: analysis.curves.bands(column, split)?,
        loose: analysis.curves.loose(column, split)?,
        marked: split != "train",
        references: references.to_vec(),
    })
}

/// The course of one metric, training beside validation on the same scale.
pub(super) fn measure(analysis: &Analysis, column: &str) -> Result<Option<Figure>, ReportError> {
    let label = format::measure(column);
    let mut references = Vec::new();
    match (column, analysis.corpus.unigram_entropy_nats) {
        ("mlm_loss", Some(entropy)) => {
            let name = format!("unigram entropy {}", format::fixed(entropy, 2));
            references.push((name, entropy));
        }
        ("nsp_accuracy", _) => references.push(("chance".to_string(), 0.5)),
        _ => {}
    }
    let panels = vec![
        panel(
            analysis,
            column,
            "train",
            format!("{label}, training"),
            &references,
        )?,
        panel(
            analysis,
            column,
            "validation",
            format!("{label}, validation"),
            &references,
        )?,
    ];
    let mut caption = format!("{label} by step. {}", how_to_read(analysis));
    if column == "mlm_loss" && !references.is_empty() {
        caption.push_str(
            " The dashed line is the corpus' unigram entropy: a model that only knows how often each token occurs \
             cannot go below it.",
        );
    }
    layout(
        analysis,
        &column.replace('_', "-"),
        label,
        caption,
        panels,
        true,
    )
}

/// Learning rate and gradient norm.
pub(super) fn optimisation(analysis: &Analysis) -> Result<Option<Figure>, ReportError> {
    let panels = vec![
        panel(
            analysis,
            "learning_rate",
            "train",
            "learning rate".to_string(),
            &[],
        )?,
        panel(
            analysis,
            "grad_norm",
            "train",
            "gradient norm before clipping".to_string(),
            &[],
        )?,
    ];
    let caption = format!(
        "Learning rate and global gradient norm by step. {} Arms with the same schedule lie on one another.",
        how_to_read(analysis)
    );
    let title = "Optimisation".to_string();
    layout(analysis, "optimisation", title, caption, panels, false)
}

fn how_to_read(analysis: &Analysis) -> String {
    let window = match analysis.curves.window {
        1 => String::new(),
        n => format!(" Training values are means over {n} steps."),
    };
    let left_out = if analysis.excluded.iter().any(|e| e.last_step.is_some()) {
        " Thin dashed lines are single trials that are left out of the comparisons."
    } else {
        ""
    };
    format!(
        "Line: mean over the seeds; band: from the lowest to the highest seed.{window}{left_out}"
    )
}

fn layout(
    analysis: &Analysis,
    name: &str,
    title: String,
    caption: String,
    mut panels: Vec<Panel>,
    same_scale: bool,
) -> Result<Option<Figure>, ReportError> {
    panels.retain(|panel| !panel.is_empty());
    if panels.is_empty() {
        return Ok(None);
    }
    let mut arms: Vec<usize> = panels.iter().flat_map(Panel::arms).collect();
    arms.sort_unstable();
    arms.dedup();
    let names: Vec<(usize, &str)> = arms
        .iter()
        .map(|&arm| (arm, analysis.arms[arm].arm.name.as_str()))
        .collect();
    let mut scene = Scene::new(0.0);
    let legend = scene.legend(12.0, 62.0, &names);
    let top = 12.0 + legend + 40.0;
    let bottom = top + HEIGHT;
    scene.height = bottom + 48.0;

    let heights = |panel: &Panel| {
        let references = panel.references.iter().map(|(_, v)| *v);
        panel
            .heights()
            .into_iter()
            .chain(references)
            .collect::<Vec<_>>()
    };
    let shared = axes::range(panels.iter().flat_map(heights), 0.05);
    let steps = axes::range(panels.iter().flat_map(Panel::steps), 0.0);
    let (_, last) = steps.unwrap_or((0.0, 1.0));
    let width = (WIDTH - 62.0 - 18.0 - GAP * (panels.len() - 1) as f64) / panels.len() as f64;
    for (i, panel) in panels.iter().enumerate() {
        let from = 62.0 + i as f64 * (width + GAP);
        let own = if same_scale {
            shared
        } else {
            axes::range(heights(panel), 0.05)
        };
        let (low, high) = own.unwrap_or((0.0, 1.0));
        // What is never negative is not shown on a scale that is.
        let low = if panel.heights().iter().all(|v| *v >= 0.0) {
            low.max(0.0)
        } else {
            low
        };
        let x = Scale {
            low: 0.0,
            high: last,
            from,
            to: from + width,
        };
        let y = Scale {
            low,
            high,
            from: bottom,
            to: top,
        };
        scene.heading((from - 46.0, top - 22.0), &panel.title, 13.0);
        axes::draw(&mut scene, &x, &y, "step");
        draw_panel(&mut scene, panel, &x, &y);
    }
    Figure::new(name, title, caption, &scene).map(Some)
}

fn draw_panel(scene: &mut Scene, panel: &Panel, x: &Scale, y: &Scale) {
    for (name, value) in &panel.references {
        let at = y.at(*value);
        scene.dashed(&[(x.from, at), (x.to, at)], Paint::Ink, 1.2, (5.0, 4.0));
        scene.text((x.to - 4.0, at - 9.0), name, 11.5, Anchor::End, Paint::Ink);
    }
    for line in &panel.lines {
        let upper = line.points.iter().map(|p| (x.at(p.step), y.at(p.high)));
        let lower = line
            .points
            .iter()
            .rev()
            .map(|p| (x.at(p.step), y.at(p.low)));
        scene.area(upper.chain(lower).collect(), Paint::Arm(line.arm), 0.18);
    }
    for (arm, points) in &panel.loose {
        // A diverged trial leaves the scale; what is outside is not drawn.
        for part in points.split(|(_, value)| !y.contains(*value)) {
            let part: Vec<_> = part.iter().map(|(s, v)| (x.at(*s), y.at(*v))).collect();
            scene.dashed(&part, Paint::Arm(*arm), 1.2, (3.0, 3.0));
        }
    }
    for line in &panel.lines {
        let points: Vec<_> = line
            .points
            .iter()
            .map(|p| (x.at(p.step), y.at(p.mean)))
            .collect();
        scene.arm_path(&points, line.arm, 2.0);
        if panel.marked || points.len() == 1 {
            for point in points {
                scene.dot(point, 3.0, Paint::Arm(line.arm), 1.0);
            }
        }
    }
}
