//! Kernels of equal phase, place, kind and shape as one line.

use std::fmt::Write;

use ablate_compiler::KernelTime;
use ablate_graph::Phase;

use super::{giga, phase, place, share};

/// Kernels that are shown as one line.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelGroup {
    /// Forward, backward or update.
    pub phase: Phase,
    /// Place in the model; layers are one place.
    pub place: String,
    /// Kind of kernel.
    pub kind: &'static str,
    /// Size of its work; empty for the update, whose sizes are those of the parameters.
    pub shape: String,
    /// Kernels a step.
    pub kernels: u64,
    /// Seconds a step.
    pub seconds: f64,
    /// Floating-point operations of matrix products a step.
    pub flops: f64,
    /// Bytes that must be moved a step.
    pub bytes: f64,
}

impl KernelGroup {
    /// Groups over `steps` steps, the longest first.
    pub fn collect(kernels: &[KernelTime], steps: usize) -> Vec<KernelGroup> {
        let mut groups: Vec<KernelGroup> = Vec::new();
        let each = 1.0 / steps.max(1) as f64;
        for time in kernels {
            let place = place(time);
            let shape = match time.phase {
                Phase::Update => "",
                _ => &time.shape,
            };
            let same = |g: &KernelGroup| {
                (g.phase, &*g.place, g.kind, &*g.shape) == (time.phase, &*place, time.kind, shape)
            };
            let at = groups.iter().position(same).unwrap_or_else(|| {
                groups.push(KernelGroup {
                    phase: time.phase,
                    place: place.clone(),
                    kind: time.kind,
                    shape: shape.to_owned(),
                    kernels: 0,
                    seconds: 0.0,
                    flops: 0.0,
                    bytes: 0.0,
                });
                groups.len() - 1
            });
            let group = &mut groups[at];
            let calls = time.calls as f64 * each;
            group.kernels += 1;
            group.seconds += time.seconds * each;
            group.flops += time.flops * calls;
            group.bytes += time.bytes as f64 * calls;
        }
        groups.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        groups
    }
}

/// Where the time of a step goes, kernel by kernel, the longest first. `step_s` is the whole step: what
/// no kernel took is a line of its own.
pub fn kernel_table(kernels: &[KernelTime], steps: usize, step_s: f64) -> String {
    let groups = KernelGroup::collect(kernels, steps);
    let shape_width = groups
        .iter()
        .map(|g| g.shape.len())
        .max()
        .unwrap_or(0)
        .max(5);
    let mut out = format!(
        "{:>10} {:>6} {:>7} {:>8} {:>6}  {:<11} {:<shape_width$}  place\n",
        "ms", "share", "kernels", "GFLOP/s", "GB/s", "kind", "shape"
    );
    let mut inside = 0.0;
    let mut count = 0;
    for g in &groups {
        inside += g.seconds;
        count += g.kernels;
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{:>10.3} {:>5.1}% {:>7} {:>8} {:>6}  {:<11} {:<shape_width$}  {} {}",
            g.seconds * 1e3,
            share(g.seconds, step_s),
            g.kernels,
            giga(g.flops, g.seconds),
            giga(g.bytes, g.seconds),
            g.kind,
            g.shape,
            phase(g.phase),
            g.place,
        );
    }
    let outside = (step_s - inside).max(0.0);
    let _ = writeln!(
        out,
        "{:>10.3} {:>5.1}%  outside of kernels: fetch, mask, feed, record",
        outside * 1e3,
        share(outside, step_s)
    );
    let _ = writeln!(out, "{:>10.3}        {count:>7}  the step", step_s * 1e3);
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::time;
    use super::*;

    #[test]
    fn groups_hold_the_time_of_one_step() {
        let kernels = [
            time(Phase::Forward, "encoder.layer.0.ffn", "gemm", 2.0),
            time(Phase::Forward, "encoder.layer.11.ffn", "gemm", 4.0),
            time(Phase::Forward, "encoder.layer.0.ffn", "row", 7.0),
            time(Phase::Backward, "encoder.layer.0.ffn", "gemm", 1.0),
        ];
        let groups = KernelGroup::collect(&kernels, 2);
        assert_eq!(groups.len(), 3);
        assert_eq!((groups[0].kind, groups[0].seconds), ("row", 3.5));
        assert_eq!(groups[1].place, "encoder.layer.*.ffn");
        assert_eq!((groups[1].kernels, groups[1].seconds), (2, 3.0));
        assert_eq!((groups[1].flops, groups[1].bytes), (2e9, 2000.0));
    }

    #[test]
    fn the_table_adds_up_to_the_step() {
        let kernels = [
            time(Phase::Forward, "embeddings", "row", 1.0),
            time(Phase::Update, "bert.pooler.dense.bias", "elementwise", 0.5),
        ];
        let text = kernel_table(&kernels, 1, 2.0);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines[1].contains("1000.000  50.0%"), "{text}");
        assert!(lines[1].ends_with("4x4    forward embeddings"), "{text}");
        assert!(lines[2].ends_with("update parameters"), "{text}");
        assert!(lines[3].contains("500.000  25.0%  outside"), "{text}");
        assert!(
            lines[4].contains("2000.000              2  the step"),
            "{text}"
        );
    }
}
