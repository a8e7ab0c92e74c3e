//! Loops over the columns of a row: loads, values, sums, stores, and what brings the threads of a team together.

use super::super::access::{both, place, sum};
use super::super::analysis::is_element;
use super::super::shape::{is_vector, Shape};
use super::printer::{Kept, Printer};
use super::start;
use ablate_compiler::ir::Reduction;
use ablate_compiler::program::{Instr, ValueId};

impl Printer<'_> {
    /// The head of a loop over the team's columns, with the column in `c`; lines to close it.
    pub(super) fn open_columns(&mut self) -> usize {
        let Shape {
            lanes,
            vector,
            segment,
            segments,
            ..
        } = *self.shape;
        let cols = self.kernel.cols;
        let first = if segments > 1 {
            format!("segment * {segment} + ")
        } else {
            String::new()
        };
        let scaled = |text: String| match (vector, text.contains(' ')) {
            (1, _) => text,
            (_, true) => format!("({text}) * {vector}"),
            (_, false) => format!("{text} * {vector}"),
        };
        match self.shape.items {
            Some(items) => {
                self.line("#pragma unroll");
                self.line(format!("for (int i = 0; i < {items}; i++) {{"));
                let lane = match (items, lanes) {
                    (1, 1) => "0".to_string(),
                    (1, _) => "lane".to_string(),
                    (_, 1) => "i".to_string(),
                    _ => format!("lane + i * {lanes}"),
                };
                self.line(format!("const Index c = {first}{};", scaled(lane)));
                if lanes * vector * items * segments == cols {
                    return 1;
                }
                self.line(format!("if (c < {cols}) {{"));
                2
            }
            None => {
                let end = match segments {
                    1 => cols.to_string(),
                    _ => "end".to_string(),
                };
                if segments > 1 {
                    self.line(format!("const Index end = segment * {segment} + {segment} < {cols} ? segment * {segment} + {segment} : {cols};"));
                }
                let start = scaled("lane".into());
                let step = lanes * vector;
                self.line(format!(
                    "for (Index c = {first}{start}; c < {end}; c += {step}) {{"
                ));
                1
            }
        }
    }

    pub(super) fn close(&mut self, count: usize) {
        (0..count).for_each(|_| self.line("}"));
    }

    pub(super) fn one_loop(&mut self, number: usize) {
        let vector = self.shape.vector;
        let reductions = self.reductions(number);
        let close_block = self.shape.segments > 1 && self.shape.items.is_none();
        for (id, op, _) in &reductions {
            let start = match op {
                Reduction::Sum => "0.0f",
                Reduction::Max => "lowest()",
            };
            self.line(format!("float v{id} = {start};"));
        }
        if close_block {
            self.line("{");
        }
        let depth = self.open_columns();
        let made: Vec<ValueId> = self
            .elements()
            .filter(|id| self.is_made_in(*id, number))
            .collect();
        // Vectors first, so that all loads are under way before the first is used.
        for id in &made {
            let kept = self.kept(*id);
            if kept == Kept::Vector {
                self.line(format!("float v{id}[{vector}];"));
            }
            let Instr::Load { buffer, access } = self.kernel.instrs[*id].clone() else {
                continue;
            };
            if !is_vector(&access, self.kernel.cols, vector) {
                continue;
            }
            let name = if kept == Kept::Held {
                format!("v{id}[i]")
            } else {
                format!("v{id}")
            };
            let buffer = self.buffer(buffer);
            let guard = Self::row_guard(&access, *id);
            let load = format!("load({name}, {buffer} + x{id} + c);");
            match guard.is_empty() {
                true => self.line(load),
                false => {
                    self.line(format!("if ({guard}) {{"));
                    self.line(load);
                    self.line("} else {");
                    self.line("#pragma unroll");
                    self.line(format!(
                        "for (int j = 0; j < {vector}; j++) {name}[j] = 0.0f;"
                    ));
                    self.line("}");
                }
            }
        }
        let splats = self.splats(number);
        for (store, _) in &splats {
            self.line(format!("float s{store}[{vector}];"));
        }
        self.line("#pragma unroll");
        self.line(format!("for (int j = 0; j < {vector}; j++) {{"));
        for id in &made {
            self.element(*id);
        }
        for (store, value) in &splats {
            let value = self.value(*value);
            self.line(format!("s{store}[j] = {value};"));
        }
        for (id, op, x) in &reductions {
            let x = self.value(*x);
            self.line(match op {
                Reduction::Sum => format!("v{id} += {x};"),
                Reduction::Max => format!("v{id} = greater(v{id}, {x});"),
            });
        }
        self.accumulate(number);
        self.line("}");
        self.store(number);
        self.close(depth + usize::from(close_block));
        self.reduce(&reductions);
    }

    /// Stores for each row and column of a value that is one number a row: their numbers and values.
    pub(super) fn splats(&self, number: usize) -> Vec<(usize, ValueId)> {
        if !self.cut.is_empty() {
            return vec![];
        }
        let stores = self.kernel.stores.iter().enumerate();
        let here = stores.filter(|(_, s)| s.full && self.store_loop(s) == number);
        here.filter(|(_, s)| !is_element(self.kernel, s.value))
            .map(|(store, s)| (store, s.value))
            .collect()
    }

    pub(super) fn element(&mut self, id: ValueId) {
        let cols = self.kernel.cols;
        let text = match self.kernel.instrs[id].clone() {
            Instr::Load { access, .. } if is_vector(&access, cols, self.shape.vector) => return,
            Instr::Load { buffer, access } => {
                let column = if self.shape.vector == 1 {
                    "c"
                } else {
                    "(c + j)"
                };
                let at = place(&access.cols, column);
                let guard = both(&Self::row_guard(&access, id), &at.guard);
                let read = self.read(buffer, &sum(&[&format!("x{id}"), &at.offset]));
                match guard.is_empty() {
                    true => read,
                    false => format!("{guard} ? {read} : 0.0f"),
                }
            }
            Instr::Uniform { stream } => {
                let key = self.stream(&stream);
                let row = if self.kernel.rows == 1 {
                    String::new()
                } else {
                    format!("row * {cols}ull")
                };
                let column = if self.shape.vector == 1 { "c" } else { "c + j" };
                format!("uniform({key}, {})", sum(&[&row, column]))
            }
            instr => self.expression(&instr),
        };
        let name = self.value(id);
        let new = if self.kept(id) == Kept::Single {
            "const float "
        } else {
            ""
        };
        self.line(format!("{new}{name} = {text};"));
    }

    pub(super) fn accumulate(&mut self, number: usize) {
        let (kernel, vector) = (self.kernel, self.shape.vector);
        for (k, acc) in kernel.accumulates.iter().enumerate() {
            if !acc.full || self.analysis.level[acc.value] != number {
                continue;
            }
            let x = self.value(acc.value);
            let place = match (self.shape.items, vector) {
                (Some(_), _) => format!("a{k}[i][j]"),
                (None, 1) => format!("p{k}[c]"),
                (None, _) => format!("p{k}[c + j]"),
            };
            // Without registers the sums lie where the partial results go; the first row begins them.
            let before = match self.shape.items {
                Some(_) => place.clone(),
                None => format!("(row == first_row ? {} : {place})", start(acc.op)),
            };
            self.line(match acc.op {
                Reduction::Sum => format!("{place} = {before} + {x};"),
                Reduction::Max => format!("{place} = greater({before}, {x});"),
            });
        }
    }

    pub(super) fn store(&mut self, number: usize) {
        let cols = self.kernel.cols;
        let stores = if self.cut.is_empty() {
            &self.kernel.stores[..]
        } else {
            &[]
        };
        for (k, store) in stores.iter().enumerate() {
            if !store.full || self.store_loop(store) != number {
                continue;
            }
            let value = match is_element(self.kernel, store.value) {
                false => format!("s{k}"),
                true if self.kept(store.value) == Kept::Held => format!("v{}[i]", store.value),
                true => format!("v{}", store.value),
            };
            let row = if self.kernel.rows == 1 {
                String::new()
            } else {
                format!("row * {cols}")
            };
            let buffer = self.buffer(store.buffer);
            let at = sum(&[&buffer, &row, "c"]);
            self.line(format!("store({at}, {value});"));
        }
    }

    /// Brings what the threads of a team have summed together.
    pub(super) fn reduce(&mut self, reductions: &[(ValueId, Reduction, ValueId)]) {
        let lanes = self.shape.lanes;
        let name = |op: &Reduction| match op {
            Reduction::Sum => "lanes_sum",
            Reduction::Max => "lanes_max",
        };
        if reductions.is_empty() || lanes == 1 {
            return;
        }
        let within = lanes.min(32);
        let mask = if lanes < 32 { "mask" } else { "0xffffffffu" };
        for (id, op, _) in reductions {
            self.line(format!("v{id} = {}(v{id}, {mask}, {within});", name(op)));
        }
        if lanes <= 32 {
            return;
        }
        let warps = lanes / 32;
        self.line("if (threadIdx.x % 32 == 0) {");
        for (id, ..) in reductions {
            self.line(format!("part{id}[threadIdx.x / 32] = v{id};"));
        }
        self.line("}");
        self.line("__syncthreads();");
        let width = warps.next_power_of_two();
        for (id, op, _) in reductions {
            let index = match width == warps {
                true => format!("part{id}[threadIdx.x % {width}]"),
                false => format!(
                    "threadIdx.x % {width} < {warps} ? part{id}[threadIdx.x % {width}] : {}",
                    start(*op)
                ),
            };
            self.line(format!(
                "v{id} = {}({index}, 0xffffffffu, {width});",
                name(op)
            ));
        }
    }
}
