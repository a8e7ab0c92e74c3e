//! Programs as text: what `ablate graph --program` prints.

use crate::ir::Gemm;
use crate::program::{Instr, Kernel, Place, Program, RowKernel, Span, Storage, TileAccess};
use std::fmt;

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "program: {} kernels, arena {} bytes, {} in blocks, {:.3} GFLOP in matrix products",
            self.steps.len(),
            self.arena_len * 4,
            self.arena_len_in_blocks * 4,
            self.flops() / 1e9
        )?;
        for ((phase, kind), count) in self.counts() {
            writeln!(f, "  {phase:9} {kind:12} {count}")?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            write!(f, "{number:4} {:11} ", step.kernel.kind())?;
            match &step.kernel {
                Kernel::Row(kernel) => self.row(f, kernel)?,
                Kernel::Gemm {
                    gemm,
                    a,
                    b,
                    c,
                    bias,
                    sums,
                } => {
                    let (a, b, c) = (self.buffer(*a), self.buffer(*b), self.buffer(*c));
                    write!(f, "{c} = {a} x {b} ")?;
                    if let Some(bias) = bias {
                        write!(f, "+ {} ", self.buffer(*bias))?;
                    }
                    write!(f, "{}", Shape(gemm))?;
                    if let Some(sums) = sums {
                        write!(f, ", sums {}", self.buffer(*sums))?;
                    }
                }
                Kernel::Gather {
                    table,
                    index,
                    classes,
                    out,
                    ..
                } => write!(
                    f,
                    "{} = {}[{} < {classes}]",
                    self.buffer(*out),
                    self.buffer(*table),
                    self.buffer(*index)
                )?,
                Kernel::ScatterAdd {
                    value,
                    index,
                    classes,
                    out,
                    ..
                } => write!(
                    f,
                    "{}[{} < {classes}] += {}",
                    self.buffer(*out),
                    self.buffer(*index),
                    self.buffer(*value)
                )?,
                Kernel::Uniform { stream, out } => {
                    write!(f, "{} = uniform({stream})", self.buffer(*out))?;
                }
                Kernel::Copy { from, to } => {
                    write!(f, "{} = {}", self.buffer(*to), self.buffer(*from))?;
                }
            }
            writeln!(f, "  # {} {:?}", step.scope, step.phase)?;
        }
        for group in &self.groups {
            let locals: Vec<String> = group
                .locals
                .iter()
                .map(|l| format!("b{} ({} elements)", l.buffer, l.len))
                .collect();
            writeln!(
                f,
                "steps {} to {} in {} blocks, local: {}",
                group.steps.start,
                group.steps.end - 1,
                group.blocks,
                locals.join(", ")
            )?;
        }
        for (name, buffer) in &self.outputs {
            writeln!(f, "output {name} = {}", self.buffer(*buffer))?;
        }
        Ok(())
    }
}

struct Shape<'a>(&'a Gemm);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gemm = self.0;
        let batch: Vec<String> = gemm.batch.iter().map(|l| l.size.to_string()).collect();
        let order = |inner: isize| if inner == 1 { "N" } else { "T" };
        write!(
            f,
            "[batch {}] m {} n {} k {} {}{}",
            if batch.is_empty() {
                "1".into()
            } else {
                batch.join("x")
            },
            gemm.m.size,
            gemm.n.size,
            gemm.k.size,
            order(gemm.k.a),
            order(gemm.n.b),
        )
    }
}

impl Program {
    fn buffer(&self, id: usize) -> String {
        match &self.buffers[id].place {
            Place::Arena { offset } => match self.buffers[id].storage {
                Storage::F32 => format!("b{id}@{offset}"),
                Storage::Bf16 => format!("b{id}@{offset}:bf16"),
            },
            Place::State(name) => format!("state `{name}`"),
            Place::Input { name, .. } => format!("input `{name}`"),
            Place::Iota => "iota".into(),
        }
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, kernel: &RowKernel) -> fmt::Result {
        write!(f, "{} x {}", kernel.rows, kernel.cols)?;
        for (id, instr) in kernel.instrs.iter().enumerate() {
            let span = match kernel.spans[id] {
                Span::Scalar => "s",
                Span::Column => "c",
                Span::Row => "r",
                Span::Full => "f",
            };
            write!(f, "\n       {span}{id} = ")?;
            match instr {
                Instr::Load { buffer, access } => {
                    write!(f, "load {}{}", self.buffer(*buffer), Axes(access))?;
                }
                Instr::Constant(value) => write!(f, "{value}")?,
                Instr::Uniform { stream } => write!(f, "uniform({stream})")?,
                Instr::Unary(op, x) => write!(f, "{op:?} {x}")?,
                Instr::Binary(op, x, y) => write!(f, "{op:?} {x} {y}")?,
                Instr::Reduce(op, x) => write!(f, "reduce {op:?} {x}")?,
            }
        }
        for store in &kernel.stores {
            write!(
                f,
                "\n       store {} = {}",
                self.buffer(store.buffer),
                store.value
            )?;
        }
        for acc in &kernel.accumulates {
            write!(
                f,
                "\n       {:?} over rows {} = {}",
                acc.op,
                self.buffer(acc.buffer),
                acc.value
            )?;
        }
        write!(f, "\n      ")
    }
}

struct Axes<'a>(&'a TileAccess);

impl fmt::Display for Axes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |axes: &[crate::access::Axis]| -> String {
            let list: Vec<String> = axes
                .iter()
                .map(|a| format!("{}:{}", a.size, a.stride))
                .collect();
            list.join(" ")
        };
        write!(
            f,
            " +{} rows({}) cols({})",
            self.0.offset,
            part(&self.0.rows),
            part(&self.0.cols)
        )
    }
}
