//! Time, traffic and memory by part of the model.

use std::fmt::Write;

use ablate_compiler::KernelTime;
use ablate_graph::Phase;

use super::{giga, place, share};

/// A part of the model; all layers of one kind are one part.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// Its place: `encoder.layer.*.ffn`.
    pub place: String,
    /// Seconds a step: forward, backward, update.
    pub seconds: [f64; 3],
    /// Floating-point operations of matrix products a step.
    pub flops: f64,
    /// Bytes that must be moved a step.
    pub bytes: f64,
    /// Bytes of its values in the arena when most of it is in use.
    pub held_bytes: u64,
}

impl Part {
    /// Parts over `steps` steps, in the order in which a step reaches them.
    pub fn collect(kernels: &[KernelTime], steps: usize) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let each = 1.0 / steps.max(1) as f64;
        for time in kernels {
            let place = place(time);
            let at = parts.iter().position(|p| p.place == place);
            let at = at.unwrap_or_else(|| {
                parts.push(Part {
                    place,
                    ..Part::default()
                });
                parts.len() - 1
            });
            let part = &mut parts[at];
            let phase = match time.phase {
                Phase::Forward => 0,
                Phase::Backward => 1,
                Phase::Update => 2,
            };
            let calls = time.calls as f64 * each;
            part.seconds[phase] += time.seconds * each;
            part.flops += time.flops * calls;
            part.bytes += time.bytes as f64 * calls;
            part.held_bytes += time.held_bytes;
        }
        parts
    }
}

/// Where the time and the memory of a step go, by part of the model.
pub fn part_table(kernels: &[KernelTime], steps: usize, step_s: f64) -> String {
    let parts = Part::collect(kernels, steps);
    let mut out = format!(
        "{:>9} {:>9} {:>9} {:>9} {:>6} {:>8} {:>6} {:>9}  part\n",
        "forward", "backward", "update", "ms", "share", "GFLOP/s", "GB/s", "held MiB"
    );
    for part in &parts {
        let total: f64 = part.seconds.iter().sum();
        let ms = |s: f64| match s > 0.0 {
            true => format!("{:.3}", s * 1e3),
            false => String::new(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{:>9} {:>9} {:>9} {:>9} {:>5.1}% {:>8} {:>6} {:>9.1}  {}",
            ms(part.seconds[0]),
            ms(part.seconds[1]),
            ms(part.seconds[2]),
            ms(total),
            share(total, step_s),
            giga(part.flops, total),
            giga(part.bytes, total),
            part.held_bytes as f64 / f64::from(1 << 20),
            part.place
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::time;
    use super::*;

    #[test]
    fn phases_of_a_part_stand_side_by_side() {
        let kernels = [
            time(Phase::Forward, "encoder.layer.0.ffn", "gemm", 2.0),
            time(Phase::Forward, "mlm.mlm", "gemm", 2.0),
            time(Phase::Backward, "encoder.layer.1.ffn", "row", 4.0),
            time(Phase::Update, "bert.pooler.dense.bias", "elementwise", 1.0),
        ];
        let parts = Part::collect(&kernels, 2);
        let names: Vec<&str> = parts.iter().map(|p| &*p.place).collect();
        assert_eq!(names, ["encoder.layer.*.ffn", "mlm", "parameters"]);
        assert_eq!(parts[0].seconds, [1.0, 2.0, 0.0]);
        assert_eq!(parts[0].held_bytes, 200);
        assert_eq!(parts[2].seconds, [0.0, 0.0, 0.5]);
        let text = part_table(&kernels, 2, 10.0);
        assert!(
            text.contains("1000.000  2000.000            3000.000  30.0%"),
            "{text}"
        );
    }
}
