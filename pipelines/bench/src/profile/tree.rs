//! Kernels as a tree: step, phase, path of the place, kernel.

use ablate_compiler::KernelTime;

use super::{giga, is_number, phase, segments};

/// A node with the time of everything below it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    /// Short name.
    pub name: String,
    /// Seconds a step, those of the children included.
    pub seconds: f64,
    /// What else there is to say: rates and bytes of a kernel.
    pub note: String,
    /// Parts, in the order of execution.
    pub children: Vec<Tree>,
}

impl Tree {
    fn child(&mut self, name: &str) -> &mut Tree {
        let at = self.children.iter().position(|c| c.name == name);
        let at = at.unwrap_or_else(|| {
            self.children.push(Tree {
                name: name.to_owned(),
                ..Tree::default()
            });
            self.children.len() - 1
        });
        &mut self.children[at]
    }
}

/// The tree of a step that takes `step_s`; what no kernel took is a child of the root.
pub fn tree(kernels: &[KernelTime], steps: usize, step_s: f64) -> Tree {
    let each = 1.0 / steps.max(1) as f64;
    let mut root = Tree {
        name: "step".to_owned(),
        seconds: step_s,
        ..Tree::default()
    };
    let mut inside = 0.0;
    for time in kernels {
        let seconds = time.seconds * each;
        inside += seconds;
        let mut node = root.child(phase(time.phase));
        node.seconds += seconds;
        for name in path(&time.scope) {
            node = node.child(&name);
            node.seconds += seconds;
        }
        let calls = time.calls as f64 * each;
        let mut note = vec![format!("{:.1} MB", time.bytes as f64 * calls / 1e6)];
        for (amount, unit) in [(time.bytes as f64, "GB/s"), (time.flops, "GFLOP/s")] {
            let rate = giga(amount * calls, seconds);
            if !rate.is_empty() {
                note.push(format!("{rate} {unit}"));
            }
        }
        // Several kernels of one place may look alike; each is a node of its own.
        node.children.push(Tree {
            name: format!("{} {}", time.kind, time.shape),
            seconds,
            note: note.join(", "),
            children: Vec::new(),
        });
    }
    if step_s > inside {
        root.children.push(Tree {
            name: "outside of kernels".to_owned(),
            seconds: step_s - inside,
            note: "fetch, mask, feed, record".to_owned(),
            children: Vec::new(),
        });
    }
    root
}

/// `encoder.layer.3.ffn` as `encoder`, `layer.3`, `ffn`.
fn path(scope: &str) -> Vec<String> {
    let mut path: Vec<String> = Vec::new();
    for part in segments(scope) {
        match path.last_mut() {
            Some(last) if is_number(part) => *last = format!("{last}.{part}"),
            _ => path.push(part.to_owned()),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::super::tests::time;
    use super::*;
    use ablate_graph::Phase;

    #[test]
    fn every_node_holds_the_time_below_it() {
        let kernels = [
            time(Phase::Forward, "encoder.layer.0.ffn", "gemm", 2.0),
            time(Phase::Forward, "encoder.layer.0.ffn", "gemm", 2.0),
            time(Phase::Forward, "encoder.layer.1.ffn", "row", 4.0),
            time(Phase::Backward, "mlm.mlm", "row", 1.0),
        ];
        let root = tree(&kernels, 2, 5.0);
        let names = |t: &Tree| {
            t.children
                .iter()
                .map(|c| c.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&root), ["forward", "backward", "outside of kernels"]);
        let encoder = &root.children[0].children[0];
        assert_eq!((&*encoder.name, encoder.seconds), ("encoder", 4.0));
        assert_eq!(names(encoder), ["layer.0", "layer.1"]);
        let ffn = &encoder.children[0].children[0];
        assert_eq!(
            (&*ffn.name, ffn.seconds, ffn.children.len()),
            ("ffn", 2.0, 2)
        );
        assert_eq!(ffn.children[0].note, "0.0 MB, 0.0 GB/s, 1.0 GFLOP/s");
        assert_eq!(root.children[2].seconds, 0.5);
        let sum: f64 = root.children.iter().map(|c| c.seconds).sum();
        assert_eq!(sum, root.seconds);
    }
}
