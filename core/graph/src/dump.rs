//! A readable text of a graph.

use crate::graph::Graph;
use crate::ir::{LoadKind, Op, Phase};
use crate::view::View;
use luminal::prelude::NodeIndex;
use std::fmt::Write;

impl Graph {
    /// One line a node: `%number op operands -> shape  scope  phase`, then the outputs and
    /// assignments.
    ///
    /// An operand that is not read plainly shows `size:stride` for each logical dim, `~` as the
    /// stride of a broadcast dim, `@first` where the dim is cut and `+before+after` where it is
    /// padded: `%3[2:20 5:~ 4:1]`.
    pub fn dump(&self) -> String {
        let mut text = String::new();
        let live = self.live();
        for (i, facts) in self.facts.iter().enumerate() {
            let line = match self.read_node(NodeIndex::new(i)) {
                Ok((op, inputs)) => {
                    let mut line = describe_op(&op);
                    for (source, view) in &inputs {
                        // writing to a String never fails
                        let _ = write!(line, " {}", describe_operand(*source, view));
                    }
                    line
                }
                Err(error) => error.to_string(),
            };
            let mut notes = Vec::new();
            if !facts.scope.is_empty() {
                notes.push(facts.scope.to_string());
            }
            match facts.phase {
                Phase::Forward => {}
                Phase::Backward => notes.push("backward".to_owned()),
                Phase::Update => notes.push("update".to_owned()),
            }
            if facts.stop_gradient {
                notes.push("stop-gradient".to_owned());
            }
            if !live[i] {
                notes.push("unused".to_owned());
            }
            let _ = write!(text, "%{i} {line} -> {:?}", facts.shape);
            if !notes.is_empty() {
                let _ = write!(text, "  {}", notes.join("  "));
            }
            text.push('\n');
        }
        for (kind, roots) in [("output", &self.outputs), ("assign", &self.assigns)] {
            for (name, t) in roots {
                let operand = describe_operand(t.node(), &t.view);
                let _ = writeln!(text, "{kind} {name} = {operand}");
            }
        }
        text
    }
}

fn describe_op(op: &Op) -> String {
    match op {
        Op::Load(LoadKind::State { name, parameter }) => {
            format!("{} {name}", if *parameter { "Parameter" } else { "State" })
        }
        Op::Load(LoadKind::Input { name, index_bound }) => match index_bound {
            Some(bound) => format!("Input {name} in 0..{bound}"),
            None => format!("Input {name}"),
        },
        Op::Load(LoadKind::Uniform { stream }) => format!("Uniform {stream}"),
        Op::Load(LoadKind::Iota) => "Iota".to_owned(),
        Op::Constant(value) => format!("Constant {value}"),
        Op::SumReduce(axis) | Op::MaxReduce(axis) => format!("{}({axis})", op.name()),
        _ => op.name().to_owned(),
    }
}

fn describe_operand(source: usize, view: &View) -> String {
    if view.is_plain() {
        return format!("%{source}");
    }
    let strides = view.strides();
    let dims: Vec<String> = (0..view.rank())
        .map(|l| {
            let dim = view.at(l);
            let mut text = format!("{}:", dim.len());
            if dim.fake {
                text.push('~');
            } else {
                text += &strides[l].to_string();
            }
            if dim.is_sliced() {
                text += &format!("@{}", dim.lo);
            }
            if dim.is_padded() {
                text += &format!("+{}+{}", dim.pad.0, dim.pad.1);
            }
            text
        })
        .collect();
    format!("%{source}[{}]", dims.join(" "))
}
