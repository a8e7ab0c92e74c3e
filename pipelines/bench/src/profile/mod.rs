//! Kernel times put together: by kind and shape, by part of the model, as a tree.
//!
//! Owns the sums and their tables. Must not know where the times come from.

mod groups;
mod parts;
mod tree;

use std::collections::BTreeMap;

use ablate_compiler::KernelTime;
use ablate_graph::Phase;

pub use groups::{kernel_table, KernelGroup};
pub use parts::{part_table, Part};
pub use tree::{tree, Tree};

/// Kernels of one step by kind.
pub fn kernel_counts(kernels: &[KernelTime]) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for kernel in kernels {
        *counts.entry(kernel.kind).or_default() += 1;
    }
    counts
}

/// The place of a kernel without the numbers of layers: the twelve layers of a model are one line of
/// a table. All of the update is one place but for the gradient's norm.
fn place(time: &KernelTime) -> String {
    if time.phase == Phase::Update {
        return match &*time.scope {
            "grad_norm" => "gradient norm".to_owned(),
            _ => "parameters".to_owned(),
        };
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in segments(&time.scope) {
        parts.push(if is_number(part) { "*" } else { part });
    }
    parts.join(".")
}

/// The parts of a scope. An objective's scope is pushed by the trainer and often once more by the
/// plugin; a name that repeats the one before it is left out.
fn segments(scope: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = scope.split('.').filter(|p| !p.is_empty()).collect();
    parts.dedup();
    parts
}

fn is_number(part: &str) -> bool {
    part.bytes().all(|b| b.is_ascii_digit())
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Forward => "forward",
        Phase::Backward => "backward",
        Phase::Update => "update",
    }
}

/// A rate in 10^9 a second, empty when there is none.
fn giga(amount: f64, seconds: f64) -> String {
    if amount > 0.0 && seconds > 0.0 {
        format!("{:.1}", amount / seconds / 1e9)
    } else {
        String::new()
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        100.0 * part / whole
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn time(phase: Phase, scope: &str, kind: &'static str, seconds: f64) -> KernelTime {
        KernelTime {
            kind,
            shape: "4x4".to_owned(),
            scope: scope.into(),
            phase,
            calls: 2,
            seconds,
            flops: 1e9,
            bytes: 1000,
            held_bytes: 100,
        }
    }

    #[test]
    fn layers_and_parameters_are_one_place() {
        let of = |phase, scope| place(&time(phase, scope, "row", 1.0));
        assert_eq!(
            of(Phase::Forward, "encoder.layer.11.ffn"),
            "encoder.layer.*.ffn"
        );
        assert_eq!(of(Phase::Backward, "mlm.mlm"), "mlm");
        assert_eq!(of(Phase::Update, "bert.pooler.dense.bias"), "parameters");
        assert_eq!(of(Phase::Update, "grad_norm"), "gradient norm");
    }

    #[test]
    fn kinds_are_counted() {
        let kernels = [
            time(Phase::Forward, "a", "gemm", 1.0),
            time(Phase::Update, "b", "gemm", 1.0),
            time(Phase::Forward, "a", "row", 1.0),
        ];
        let counts = kernel_counts(&kernels);
        assert_eq!((counts["gemm"], counts["row"]), (2, 1));
    }
}
