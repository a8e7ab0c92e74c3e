//! Says in words what a run's history and weights look like: a run that diverged, or never learned.
//!
//! Owns the signs and their wording. Must not decide whether a trial ends; that is the stopping rules'
//! part. Memory is bounded: the first and the latest steps are kept, not all.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Steps kept from the beginning.
const FIRST: usize = 32;
/// Steps kept from the end.
const RECENT: usize = 256;
/// Fewer steps than this prove nothing about a trend.
const ENOUGH: usize = 20;

/// One step as the diagnosis sees it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Optimizer step, from 1.
    pub step: u64,
    /// Cumulative loss; NaN is kept as null in files.
    #[serde(with = "finite_or_null")]
    pub loss: f64,
    /// Global gradient norm before clipping.
    #[serde(with = "finite_or_null")]
    pub grad_norm: f64,
    /// Scheduled learning rate.
    #[serde(with = "finite_or_null")]
    pub learning_rate: f64,
}

mod finite_or_null {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &f64, s: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            s.serialize_some(value)
        } else {
            s.serialize_none()
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
        Ok(Option::<f64>::deserialize(d)?.unwrap_or(f64::NAN))
    }
}

/// The steps that are remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    first: Vec<Point>,
    recent: VecDeque<Point>,
}

impl History {
    /// Remembers a step.
    pub fn push(&mut self, point: Point) {
        if self.first.len() < FIRST {
            self.first.push(point);
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(point);
    }
}

/// What the weights themselves show, see [`inspect_weight`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightSigns {
    /// Weight matrices of the encoder that are all zero.
    pub zero: Vec<String>,
    /// Weight matrices whose rows are all the same: the units cannot tell themselves apart.
    pub symmetric: Vec<String>,
}

/// Looks at one weight matrix `[out, in]` and notes a sign.
pub fn inspect_weight(signs: &mut WeightSigns, name: &str, shape: &[usize], values: &[f32]) {
    let [out, width] = *shape else { return };
    if out < 2 || width == 0 {
        return;
    }
    if values.iter().all(|&v| v == 0.0) {
        signs.zero.push(name.to_owned());
    } else if values.chunks(width).all(|row| row == &values[..width]) {
        signs.symmetric.push(name.to_owned());
    }
}

/// All signs found, most telling first; empty when the run looks sound.
pub fn diagnose(history: &History, weights: &WeightSigns) -> Vec<String> {
    let mut findings = Vec::new();
    non_finite(history, &mut findings);
    rising(history, &mut findings);
    exploding(history, &mut findings);
    vanishing(history, &mut findings);
    flat(history, &mut findings);
    if let Some(name) = weights.zero.first() {
        findings.push(format!(
            "{} weight matrices are still all zero ({name} is one): with zero initialisation every unit gets the same gradient, or none. \
             Use model.bert.init: {{normal: 0.02}}",
            weights.zero.len()
        ));
    }
    if let Some(name) = weights.symmetric.first() {
        findings.push(format!(
            "{} weight matrices have all rows equal ({name} is one): with constant initialisation the units of a layer stay copies of each \
             other. Use model.bert.init: {{normal: 0.02}}",
            weights.symmetric.len()
        ));
    }
    findings
}

fn non_finite(history: &History, findings: &mut Vec<String>) {
    let Some(at) = history
        .recent
        .iter()
        .position(|p| !p.loss.is_finite() || !p.grad_norm.is_finite())
    else {
        return;
    };
    let point = history.recent[at];
    let what = if point.loss.is_finite() {
        "gradient norm"
    } else {
        "loss"
    };
    let before = match at.checked_sub(1).map(|i| history.recent[i]) {
        Some(p) => format!(
            "; the step before it had loss {:.4} and gradient norm {:.3e}",
            p.loss, p.grad_norm
        ),
        None => String::new(),
    };
    findings.push(format!(
        "the {what} stopped being a finite number at step {}, with learning rate {:.2e}{before}",
        point.step, point.learning_rate
    ));
}

/// Loss well above where it began or where it had come down to: the step size is too large.
fn rising(history: &History, findings: &mut Vec<String>) {
    let losses: Vec<&Point> = history
        .recent
        .iter()
        .filter(|p| p.loss.is_finite())
        .collect();
    let (Some(last), Some(first)) = (losses.last(), history.first.first()) else {
        return;
    };
    let Some(best) = losses.iter().min_by(|a, b| a.loss.total_cmp(&b.loss)) else {
        return;
    };
    if last.loss > 1.5 * best.loss.abs() && last.loss > first.loss && last.step > best.step {
        let peak = losses
            .iter()
            .map(|p| p.learning_rate)
            .fold(0.0_f64, f64::max);
        findings.push(format!(
            "the loss rose from {:.4} at step {} to {:.4} at step {}, above its start of {:.4}: the learning rate ({peak:.2e} at most) is \
             too high. Try a third of it, more warm-up steps, or train.clip_norm: 1.0",
            best.loss, best.step, last.loss, last.step, first.loss
        ));
    }
}

fn exploding(history: &History, findings: &mut Vec<String>) {
    let early = median(history.first.iter().map(|p| p.grad_norm));
    let Some(peak) = history
        .recent
        .iter()
        .filter(|p| p.grad_norm.is_finite())
        .max_by(|a, b| a.grad_norm.total_cmp(&b.grad_norm))
    else {
        return;
    };
    if let Some(early) = early {
        if early > 0.0 && peak.grad_norm > 100.0 * early {
            findings.push(format!(
                "exploding gradients: the norm reached {:.3e} at step {}, {:.0} times its median over the first steps ({early:.3e}). Lower \
                 the learning rate or set train.clip_norm: 1.0",
                peak.grad_norm,
                peak.step,
                peak.grad_norm / early
            ));
        }
    }
}

fn vanishing(history: &History, findings: &mut Vec<String>) {
    if history.recent.len() < ENOUGH {
        return;
    }
    let late = median(
        history
            .recent
            .iter()
            .rev()
            .take(ENOUGH)
            .map(|p| p.grad_norm),
    );
    let early = median(history.first.iter().map(|p| p.grad_norm));
    if let (Some(late), Some(early)) = (late, early) {
        if late < 1e-7 || late < 1e-4 * early {
            findings.push(format!(
                "vanishing gradients: their norm is {late:.3e} over the last {ENOUGH} steps ({early:.3e} at the start). Check the \
                 initialisation, or make the encoder shallower"
            ));
        }
    }
}

fn flat(history: &History, findings: &mut Vec<String>) {
    if history.recent.len() < ENOUGH {
        return;
    }
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for p in &history.recent {
        if !p.loss.is_finite() {
            return;
        }
        low = low.min(p.loss);
        high = high.max(p.loss);
    }
    if high - low <= 1e-4 * high.abs() {
        findings.push(format!(
            "constant loss: it stayed within {:.1e} of {high:.4} over the last {} steps. The learning rate may be far too small, or the \
             weights may be stuck (zero or constant initialisation)",
            high - low,
            history.recent.len()
        ));
    }
}

/// Median of the finite values.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut finite: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    finite.sort_by(f64::total_cmp);
    finite.get(finite.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(points: impl IntoIterator<Item = (f64, f64)>) -> Vec<String> {
        let mut history = History::default();
        for (i, (loss, grad_norm)) in points.into_iter().enumerate() {
            history.push(Point {
                step: i as u64 + 1,
                loss,
                grad_norm,
                learning_rate: 1e-3,
            });
        }
        diagnose(&history, &WeightSigns::default())
    }

    #[test]
    fn a_sound_run_has_no_findings() {
        let found = run((0..300).map(|i| (8.0 - 0.01 * f64::from(i), 1.0)));
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_blow_up_names_the_learning_rate_and_the_gradients() {
        let found = run((0..40).map(|i| (8.0 - 0.01 * f64::from(i), 1.0)).chain([
            (9.0, 50.0),
            (40.0, 5e3),
            (f64::NAN, f64::NAN),
        ]));
        assert!(found[0].contains("at step 43"), "{found:?}");
        assert!(found.iter().any(|f| f.contains("too high")), "{found:?}");
        assert!(found.iter().any(|f| f.contains("exploding")), "{found:?}");
    }

    #[test]
    fn a_flat_run_with_dying_gradients_says_both() {
        let found = run((0..60).map(|i| (8.0, if i < 32 { 1.0 } else { 1e-9 })));
        assert!(found.iter().any(|f| f.contains("vanishing")), "{found:?}");
        assert!(
            found.iter().any(|f| f.contains("constant loss")),
            "{found:?}"
        );
    }

    #[test]
    fn symmetric_and_zero_weights_are_told_apart() {
        let mut signs = WeightSigns::default();
        inspect_weight(&mut signs, "a", &[2, 2], &[0.0; 4]);
        inspect_weight(&mut signs, "b", &[2, 2], &[0.5, 0.1, 0.5, 0.1]);
        inspect_weight(&mut signs, "c", &[2, 2], &[0.5, 0.1, 0.1, 0.5]);
        inspect_weight(&mut signs, "bias", &[2], &[0.0, 0.0]);
        assert_eq!(signs.zero, ["a"]);
        assert_eq!(signs.symmetric, ["b"]);
    }

    #[test]
    fn memory_is_bounded_and_survives_a_file() {
        let mut history = History::default();
        for step in 1..=10_000 {
            history.push(Point {
                step,
                loss: f64::NAN,
                grad_norm: 1.0,
                learning_rate: 0.1,
            });
        }
        assert_eq!(history.first.len() + history.recent.len(), FIRST + RECENT);
        let text = serde_json::to_string(&history).unwrap();
        let back: History = serde_json::from_str(&text).unwrap();
        assert!(back.recent[0].loss.is_nan());
        assert_eq!(back.recent.len(), RECENT);
    }
}
