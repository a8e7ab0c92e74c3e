//! Kernel times put together.
//!
//! Owns the sums by kind, phase and place, and their table. Must not know where the times come from.

use std::collections::BTreeMap;
use std::fmt::Write;

use ablate_compiler::KernelTime;
use ablate_graph::Phase;

/// Kernels that are shown as one line.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelGroup {
    /// Forward, backward or update.
    pub phase: Phase,
    /// Place in the model; layers are one place.
    pub scope: String,
    /// Kind of kernel.
    pub kind: &'static str,
    /// Kernels a step.
    pub kernels: u64,
    /// Seconds a step.
    pub seconds: f64,
    /// Floating-point operations of matrix products a step.
    pub flops: f64,
    /// Bytes that must be moved a step.
    pub bytes: u64,
}

/// Kernels by kind.
pub fn kernel_counts(kernels: &[KernelTime]) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for kernel in kernels {
        *counts.entry(kernel.kind).or_default() += 1;
    }
    counts
}

/// The path without the numbers of layers (and parameters of the optimizer): the twelve layers of a
/// model are one line of a table.
fn place(time: &KernelTime) -> String {
    if time.phase == Phase::Update {
        return match time.scope.split('/').next() {
            Some("grad_norm") => "gradient norm".to_owned(),
            _ => "parameters".to_owned(),
        };
    }
    let part = |p: &str| match p.trim_end_matches(|c: char| c.is_ascii_digit()) {
        short if short.len() < p.len() && short.ends_with(['.', '_']) => format!("{short}*"),
        _ => p.to_owned(),
    };
    let parts: Vec<String> = time.scope.split('/').map(part).collect();
    parts.join("/")
}

impl KernelGroup {
    /// Groups of equal phase, place and kind over `steps` steps, the longest first.
    pub fn collect(kernels: &[KernelTime], steps: usize) -> Vec<KernelGroup> {
        let mut groups: Vec<KernelGroup> = Vec::new();
        let each = 1.0 / steps.max(1) as f64;
        for time in kernels {
            let scope = place(time);
            let found = groups
                .iter()
                .position(|g| (g.phase, &g.scope, g.kind) == (time.phase, &scope, time.kind));
            let at = found.unwrap_or_else(|| {
                groups.push(KernelGroup {
                    phase: time.phase,
                    scope,
                    kind: time.kind,
                    kernels: 0,
                    seconds: 0.0,
                    flops: 0.0,
                    bytes: 0,
                });
                groups.len() - 1
            });
            let group = &mut groups[at];
            let calls = time.calls as f64 * each;
            group.kernels += 1;
            group.seconds += time.seconds * each;
            group.flops += time.flops * calls;
            group.bytes += (time.bytes as f64 * calls) as u64;
        }
        groups.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        groups
    }
}

/// A table of where the time of a step goes; `step_s` is the whole step, so that the last line is the
/// time outside of kernels.
pub fn table(kernels: &[KernelTime], steps: usize, step_s: f64) -> String {
    let groups = KernelGroup::collect(kernels, steps);
    let mut out = String::new();
    let mut line = |ms: f64, kernels: u64, rates: [f64; 2], kind: &str, what: &str| {
        let share = if step_s > 0.0 {
            ms / step_s / 10.0
        } else {
            0.0
        };
        let rate = |r: f64| {
            if r > 0.0 {
                format!("{r:.1}")
            } else {
                String::new()
            }
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{ms:>10.3} {share:>5.1}% {kernels:>7} {:>8} {:>7}  {kind:<11} {what}",
            rate(rates[0]),
            rate(rates[1])
        );
    };
    let mut inside = 0.0;
    let mut count = 0;
    for g in &groups {
        inside += g.seconds;
        count += g.kernels;
        let rate = |n: f64| {
            if g.seconds > 0.0 {
                n / g.seconds / 1e9
            } else {
                0.0
            }
        };
        let what = format!("{} {}", phase(g.phase), g.scope);
        let rates = [rate(g.flops), rate(g.bytes as f64)];
        line(g.seconds * 1e3, g.kernels, rates, g.kind, &what);
    }
    line(
        (step_s - inside) * 1e3,
        0,
        [0.0; 2],
        "",
        "outside of kernels",
    );
    line(step_s * 1e3, count, [0.0; 2], "", "step");
    format!(
        "{:>10} {:>6} {:>7} {:>8} {:>7}  {:<11} place\n{out}",
        "ms", "share", "kernels", "GFLOP/s", "GB/s", "kind"
    )
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Forward => "forward",
        Phase::Backward => "backward",
        Phase::Update => "update",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(scope: &str, kind: &'static str, seconds: f64) -> KernelTime {
        KernelTime {
            kind,
            scope: scope.into(),
            phase: Phase::Forward,
            calls: 2,
            seconds,
            flops: 1e9,
            bytes: 1000,
        }
    }

    #[test]
    fn layers_are_one_place_and_times_are_of_one_step() {
        let kernels = [
            time("encoder/layer.0/ffn", "gemm", 2.0),
            time("encoder/layer.11/ffn", "gemm", 4.0),
            time("encoder/layer.0/ffn", "elementwise", 7.0),
        ];
        let groups = KernelGroup::collect(&kernels, 2);
        assert_eq!(groups.len(), 2);
        assert_eq!((groups[0].kind, groups[0].seconds), ("elementwise", 3.5));
        assert_eq!(groups[1].scope, "encoder/layer.*/ffn");
        assert_eq!((groups[1].kernels, groups[1].seconds), (2, 3.0));
        assert_eq!((groups[1].flops, groups[1].bytes), (2e9, 2000));
        assert_eq!(kernel_counts(&kernels)["gemm"], 2);
        let text = table(&kernels, 2, 10.0);
        assert!(text.contains("3500.000  35.0%"), "{text}");
        assert!(text.contains("outside of kernels"), "{text}");
    }
}
