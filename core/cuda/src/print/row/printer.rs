//! The text of a row kernel in the making: names of buffers and values, and the loop that makes each.

use super::super::access::{place, sum};
use super::super::analysis::{is_element, operands, Analysis};
use super::super::shape::{is_vector, Shape};
use super::super::{literal, About, Argument};
use ablate_compiler::ir::{Binary, Reduction, Unary};
use ablate_compiler::program::{BufferId, Instr, RowKernel, Span, Store, TileAccess, ValueId};
use std::fmt::Write as _;

/// Where the values of a column are kept.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kept {
    /// In registers from loop to loop: `v[i][j]`.
    Held,
    /// As a vector in its loop: `v[j]`.
    Vector,
    /// As one number.
    Single,
}

pub(super) struct Printer<'a> {
    pub(super) kernel: &'a RowKernel,
    pub(super) analysis: &'a Analysis,
    pub(super) shape: &'a Shape,
    pub(super) about: &'a About<'a>,
    /// Columns of the whole row.
    pub(super) width: usize,
    /// Where each accumulation's partial results go.
    pub(super) partials: Vec<Argument>,
    /// Where each reduction's partial results go, if rows are cut.
    pub(super) cut: Vec<(ValueId, Argument)>,
    pub(super) parameters: Vec<(String, Argument)>,
    pub(super) buffers: Vec<BufferId>,
    pub(super) streams: Vec<String>,
    pub(super) out: String,
    pub(super) depth: usize,
}

impl<'a> Printer<'a> {
    pub(super) fn new(
        kernel: &'a RowKernel,
        analysis: &'a Analysis,
        shape: &'a Shape,
        about: &'a About<'a>,
    ) -> Self {
        Printer {
            kernel,
            analysis,
            shape,
            about,
            width: kernel.cols,
            partials: vec![],
            cut: vec![],
            parameters: vec![],
            buffers: vec![],
            streams: vec![],
            out: String::new(),
            depth: 1,
        }
    }

    pub(super) fn line(&mut self, text: impl AsRef<str>) {
        let text = text.as_ref();
        if text.starts_with('}') {
            self.depth -= 1;
        }
        let indent = if text.starts_with('#') { 0 } else { self.depth };
        let _ = writeln!(self.out, "{}{text}", "  ".repeat(indent));
        if text.ends_with('{') {
            self.depth += 1;
        }
    }

    pub(super) fn elements(&self) -> impl Iterator<Item = ValueId> + '_ {
        let count = self.kernel.instrs.len();
        (0..count).filter(|id| self.analysis.live[*id] && is_element(self.kernel, *id))
    }

    /// The C name of a buffer, which becomes a parameter.
    pub(super) fn buffer(&mut self, id: BufferId) -> String {
        let number = self.buffers.iter().position(|b| *b == id);
        let number = number.unwrap_or_else(|| {
            self.buffers.push(id);
            self.buffers.len() - 1
        });
        format!("b{number}")
    }

    /// An element of a buffer, which becomes a parameter.
    pub(super) fn read(&mut self, id: BufferId, index: &str) -> String {
        let name = self.buffer(id);
        self.about.read(id, &name, index)
    }

    pub(super) fn stream(&mut self, name: &str) -> String {
        let number = self.streams.iter().position(|s| s == name);
        let number = number.unwrap_or_else(|| {
            self.streams.push(name.into());
            self.streams.len() - 1
        });
        format!("k{number}")
    }

    /// Loops in which the value is made.
    pub(super) fn is_made_in(&self, id: ValueId, number: usize) -> bool {
        match self.shape.items {
            Some(_) => self.analysis.at[id] == number,
            None => self.needed(number)[id],
        }
    }

    /// What a loop must make when nothing waits in registers.
    pub(super) fn needed(&self, number: usize) -> Vec<bool> {
        let count = self.kernel.instrs.len();
        let mut needed = vec![false; count];
        for (id, instr) in self.kernel.instrs.iter().enumerate() {
            if let Instr::Reduce(_, x) = instr {
                let here = is_element(self.kernel, *x) && self.analysis.level[*x] == number;
                needed[*x] |= here && self.analysis.live[id];
            }
        }
        for (value, at) in self.stored_at().chain(self.accumulated_at()) {
            needed[value] |= at == number;
        }
        for id in (0..count).rev() {
            if needed[id] && is_element(self.kernel, id) {
                for x in operands(&self.kernel.instrs[id]) {
                    needed[x] = true;
                }
            }
        }
        needed
    }

    /// Values stored for each row and column, with the loop that stores them.
    pub(super) fn stored_at(&self) -> impl Iterator<Item = (ValueId, usize)> + '_ {
        let stores = if self.cut.is_empty() {
            &self.kernel.stores[..]
        } else {
            &[]
        };
        stores
            .iter()
            .filter(|s| s.full)
            .map(|s| (s.value, self.store_loop(s)))
    }

    pub(super) fn store_loop(&self, store: &Store) -> usize {
        match store.in_place {
            true => self.analysis.loops - 1,
            false => self.analysis.level[store.value],
        }
    }

    pub(super) fn accumulated_at(&self) -> impl Iterator<Item = (ValueId, usize)> + '_ {
        let all = self.kernel.accumulates.iter().filter(|a| a.full);
        all.map(|a| (a.value, self.analysis.level[a.value]))
    }

    pub(super) fn kept(&self, id: ValueId) -> Kept {
        if self.shape.items.is_some() && self.analysis.waits(id) {
            return Kept::Held;
        }
        let loaded = match &self.kernel.instrs[id] {
            Instr::Load { access, .. } => is_vector(access, self.kernel.cols, self.shape.vector),
            _ => false,
        };
        let stored = self.stored_at().any(|(value, _)| value == id);
        match loaded || stored {
            true => Kept::Vector,
            false => Kept::Single,
        }
    }

    /// The value as an expression, where one element of a vector is at hand.
    pub(super) fn value(&self, id: ValueId) -> String {
        if let Instr::Constant(value) = self.kernel.instrs[id] {
            return literal(value);
        }
        if !is_element(self.kernel, id) {
            return format!("v{id}");
        }
        match self.kept(id) {
            Kept::Held => format!("v{id}[i][j]"),
            Kept::Vector => format!("v{id}[j]"),
            Kept::Single => format!("v{id}"),
        }
    }

    pub(super) fn expression(&self, instr: &Instr) -> String {
        match instr {
            Instr::Unary(op, x) => {
                let x = self.value(*x);
                match op {
                    Unary::Log2 => format!("log2f({x})"),
                    Unary::Exp2 => format!("exp2f({x})"),
                    Unary::Sin => format!("sinf({x})"),
                    Unary::Sqrt => format!("sqrtf({x})"),
                    Unary::Recip => format!("1.0f / {x}"),
                }
            }
            Instr::Binary(op, x, y) => {
                let (x, y) = (self.value(*x), self.value(*y));
                match op {
                    Binary::Add => format!("{x} + {y}"),
                    Binary::Sub => format!("{x} - {y}"),
                    Binary::Mul => format!("{x} * {y}"),
                    Binary::Mod => format!("fmodf({x}, {y})"),
                    Binary::LessThan => format!("{x} < {y} ? 1.0f : 0.0f"),
                    Binary::Equal => format!("{x} == {y} ? 1.0f : 0.0f"),
                }
            }
            _ => String::new(),
        }
    }

    /// The element that a row of a load starts at, as statements `x<id>` and, for padding, `g<id>`.
    pub(super) fn row_start(&mut self, id: ValueId, access: &TileAccess) {
        let rows = place(&access.rows, "row");
        let offset = if access.offset == 0 {
            String::new()
        } else {
            access.offset.to_string()
        };
        let start = sum(&[&rows.offset, &offset]);
        self.line(format!("const Index x{id} = {start};"));
        if !rows.guard.is_empty() {
            self.line(format!("const bool g{id} = {};", rows.guard));
        }
    }

    pub(super) fn row_guard(access: &TileAccess, id: ValueId) -> String {
        match place(&access.rows, "row").guard.is_empty() {
            true => String::new(),
            false => format!("g{id}"),
        }
    }

    /// Values of one number a row that need `level` reductions.
    pub(super) fn rows(&mut self, level: usize) {
        for id in 0..self.kernel.instrs.len() {
            let here = self.kernel.spans[id] == Span::Row && self.analysis.level[id] == level;
            if !here || !self.analysis.live[id] {
                continue;
            }
            match self.kernel.instrs[id].clone() {
                Instr::Load { buffer, access } => {
                    self.row_start(id, &access);
                    let guard = Self::row_guard(&access, id);
                    let read = self.read(buffer, &format!("x{id}"));
                    let read = if guard.is_empty() {
                        read
                    } else {
                        format!("{guard} ? {read} : 0.0f")
                    };
                    self.line(format!("const float v{id} = {read};"));
                }
                Instr::Uniform { stream } => {
                    let key = self.stream(&stream);
                    self.line(format!("const float v{id} = uniform({key}, row);"));
                }
                Instr::Reduce(op, x) if !is_element(self.kernel, x) => {
                    let x = self.value(x);
                    let width = literal(self.width as f32);
                    self.line(match op {
                        Reduction::Sum => format!("const float v{id} = {x} * {width};"),
                        Reduction::Max => format!("const float v{id} = {x};"),
                    });
                }
                // Made by the loop.
                Instr::Reduce(..) => {}
                instr => {
                    let expression = self.expression(&instr);
                    self.line(format!("const float v{id} = {expression};"));
                }
            }
        }
    }

    /// Reductions that a loop makes.
    pub(super) fn reductions(&self, number: usize) -> Vec<(ValueId, Reduction, ValueId)> {
        let instrs = self.kernel.instrs.iter().enumerate();
        instrs
            .filter_map(|(id, i)| match i {
                Instr::Reduce(op, x)
                    if is_element(self.kernel, *x)
                        && self.analysis.level[*x] == number
                        && self.analysis.live[id] =>
                {
                    Some((id, *op, *x))
                }
                _ => None,
            })
            .collect()
    }
}
