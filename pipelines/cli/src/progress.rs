//! How a run is shown: a bar on a terminal, plain lines elsewhere, or nothing.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use ablate_experiment::{Event, Progress, Status, TrialResult};
use indicatif::{ProgressBar, ProgressStyle};

/// Chooses the display.
pub fn display(quiet: bool) -> Box<dyn Progress> {
    if quiet {
        Box::new(Quiet)
    } else if std::io::stderr().is_terminal() {
        Box::new(Bars::default())
    } else {
        Box::new(Lines::default())
    }
}

/// A line on standard error; a closed stream is no reason to stop training.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Warnings and failures only.
struct Quiet;

impl Progress for Quiet {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Warning(text) => say(&format!("warning: {text}")),
            Event::TrialFinished(result) if result.status != Status::Finished => {
                say(&ending(result));
            }
            _ => {}
        }
    }
}

/// Speed since the trial began (or went on).
struct Speed {
    since: Instant,
    tokens: Option<u64>,
    step: Option<u64>,
}

impl Speed {
    fn new() -> Self {
        Speed {
            since: Instant::now(),
            tokens: None,
            step: None,
        }
    }

    /// Tokens a second and seconds a step; the first step only sets the start, as it compiles.
    fn update(&mut self, step: u64, tokens: u64) -> Option<(f64, f64)> {
        let (Some(first_tokens), Some(first_step)) = (self.tokens, self.step) else {
            self.since = Instant::now();
            self.tokens = Some(tokens);
            self.step = Some(step);
            return None;
        };
        let seconds = self.since.elapsed().as_secs_f64().max(1e-9);
        let rate = tokens.saturating_sub(first_tokens) as f64 / seconds;
        let per_step = seconds / step.saturating_sub(first_step).max(1) as f64;
        Some((rate, per_step))
    }
}

/// One bar for the running trial, with lines above it for what is done.
#[derive(Default)]
struct Bars {
    bar: Option<ProgressBar>,
    speed: Option<Speed>,
    total: Option<u64>,
}

impl Bars {
    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }

    fn start(&mut self, bar: ProgressBar) {
        self.clear();
        bar.enable_steady_tick(Duration::from_millis(200));
        self.bar = Some(bar);
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Bars {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Working(what) => {
                self.start(ProgressBar::new_spinner().with_message(what.to_owned()));
            }
            Event::TrialStarted {
                arm,
                seed,
                number,
                trials,
                resumed_at,
                total_steps,
                ..
            } => {
                // The templates are constant, so they either always or never parse; the fallback keeps
                // the bar without its decoration.
                let (bar, template) = match total_steps {
                    Some(total) => (
                        ProgressBar::new(total),
                        "{prefix} [{bar:24}] {pos}/{len} {msg}",
                    ),
                    None => (ProgressBar::no_length(), "{prefix} {spinner} {pos} {msg}"),
                };
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style.progress_chars("=> "));
                }
                bar.set_prefix(format!("{number}/{trials} {arm} seed {seed}"));
                bar.set_message("compiling");
                bar.set_position(resumed_at);
                self.start(bar);
                self.speed = Some(Speed::new());
                self.total = total_steps;
            }
            Event::Step(row) => {
                let speed = self
                    .speed
                    .as_mut()
                    .and_then(|s| s.update(row.step, row.tokens));
                if let Some(bar) = &self.bar {
                    bar.set_position(row.step);
                    let mut message = format!("loss {:.4}", row.loss);
                    if let Some((rate, per_step)) = speed {
                        message.push_str(&format!(", {} tokens/s", thousands(rate)));
                        if let Some(total) = self.total {
                            let left = total.saturating_sub(row.step) as f64 * per_step;
                            message.push_str(&format!(", {} left", duration(left)));
                        }
                    }
                    bar.set_message(message);
                }
            }
            Event::TrialFinished(result) => {
                self.clear();
                say(&ending(result));
            }
            Event::Planned { .. } | Event::DataReady { .. } | Event::Warning(_) => {
                if matches!(event, Event::DataReady { .. }) {
                    self.clear();
                }
                if let Some(text) = common(&event) {
                    self.line(&text);
                }
            }
            Event::Evaluation(_) | Event::Checkpoint { .. } => {}
        }
    }
}

/// A line now and then, for logs.
#[derive(Default)]
struct Lines {
    last: Option<Instant>,
    speed: Option<Speed>,
    name: String,
    total: Option<u64>,
}

/// Seconds between two lines of steps.
const EVERY: Duration = Duration::from_secs(5);

impl Progress for Lines {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::TrialStarted {
                arm,
                seed,
                number,
                trials,
                parameters,
                resumed_at,
                total_steps,
            } => {
                self.name = format!("{number}/{trials} {arm} seed {seed}");
                self.total = total_steps;
                self.speed = Some(Speed::new());
                self.last = None;
                let from = match resumed_at {
                    0 => String::new(),
                    step => format!(", going on after step {step}"),
                };
                say(&format!("{}: {parameters} parameters{from}", self.name));
            }
            Event::Step(row) => {
                let speed = self
                    .speed
                    .as_mut()
                    .and_then(|s| s.update(row.step, row.tokens));
                let due = self.last.is_none_or(|at| at.elapsed() >= EVERY);
                if !due {
                    return;
                }
                self.last = Some(Instant::now());
                let of = self.total.map_or(String::new(), |t| format!("/{t}"));
                let mut line = format!("{} step {}{of} loss {:.4}", self.name, row.step, row.loss);
                if let Some((rate, per_step)) = speed {
                    line.push_str(&format!(" {} tokens/s", thousands(rate)));
                    if let Some(total) = self.total {
                        let left = total.saturating_sub(row.step) as f64 * per_step;
                        line.push_str(&format!(" {} left", duration(left)));
                    }
                }
                say(&line);
            }
            Event::Evaluation(row) => {
                let split = row.split.map_or("", |s| s.name());
                say(&format!(
                    "{} step {} {split} loss {:.4}",
                    self.name, row.step, row.loss
                ));
            }
            Event::TrialFinished(result) => say(&ending(result)),
            Event::Working(what) => say(what),
            Event::Checkpoint { .. } => {}
            event => {
                if let Some(text) = common(&event) {
                    say(&text);
                }
            }
        }
    }
}

/// What both displays say in the same words.
fn common(event: &Event<'_>) -> Option<String> {
    Some(match event {
        Event::Planned { trials, finished } if finished == trials => {
            format!("all {trials} trials are finished; --fresh starts over")
        }
        Event::Planned { trials, finished } if *finished > 0 => {
            format!("{trials} trials, {finished} of them finished before")
        }
        Event::Planned { trials, .. } => format!("{trials} trials"),
        Event::DataReady { summary } => (*summary).to_owned(),
        Event::Warning(text) => format!("warning: {text}"),
        _ => return None,
    })
}

/// The line of a finished trial.
fn ending(result: &TrialResult) -> String {
    let name = format!("{} seed {}", result.arm, result.seed);
    match result.status {
        Status::Failed => format!("{name}: failed: {}", result.reason),
        Status::Diverged => {
            let mut text = format!(
                "{name}: diverged after {} steps: {}",
                result.steps, result.reason
            );
            for finding in &result.diagnosis {
                text.push_str(&format!("\n  = {finding}"));
            }
            text
        }
        Status::Finished => {
            let held_out = result.test.as_ref().or(result.validation.as_ref());
            let metrics: Vec<String> = held_out
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some(format!("{name} {:.4}", value.as_f64()?)))
                .collect();
            let mut text = format!(
                "{name}: {} steps in {}, stopped by {}; held-out {}",
                result.steps,
                duration(result.seconds),
                result.stopped_by,
                metrics.join(", ")
            );
            for finding in &result.diagnosis {
                text.push_str(&format!("\n  = {finding}"));
            }
            text
        }
    }
}

fn thousands(rate: f64) -> String {
    if rate >= 10_000.0 {
        format!("{:.0}k", rate / 1000.0)
    } else {
        format!("{rate:.0}")
    }
}

fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_rates_are_short() {
        assert_eq!(duration(0.4), "0s");
        assert_eq!(duration(75.0), "1m15s");
        assert_eq!(duration(3.0 * 3600.0 + 61.0), "3h01m");
        assert_eq!(thousands(950.4), "950");
        assert_eq!(thousands(24_500.0), "24k");
    }

    #[test]
    fn the_first_step_gives_no_speed() {
        let mut speed = Speed::new();
        assert!(speed.update(1, 100).is_none());
        let (rate, per_step) = speed.update(3, 300).unwrap();
        assert!(rate > 0.0 && per_step > 0.0);
    }
}
