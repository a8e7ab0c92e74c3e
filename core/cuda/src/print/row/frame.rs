//! What is around the loops: which thread works where, sums over the rows, parameters.

use super::super::analysis::is_element;
use super::super::shape::Shape;
use super::super::{Argument, KernelSource, Launch};
use super::printer::{Kept, Printer};
use super::{flops, start};
use ablate_compiler::ir::Reduction;
use ablate_compiler::program::{BufferId, Instr, Span, Store, ValueId};

impl Printer<'_> {
    /// The function's body and everything about it.
    pub(super) fn finish(mut self) -> KernelSource {
        self.team();
        let block = self.shape.lanes > 32;
        if self.kernel.rows > 1 {
            self.scalars();
        }
        self.open_accumulates();
        let many = self.shape.rows_per_team > 1;
        let whole = self.shape.row_teams.is_multiple_of(self.shape.teams()) && !many;
        if many {
            let (rows, each) = (self.kernel.rows, self.shape.rows_per_team);
            self.line(format!("const Index first_row = team * {each};"));
            self.line(format!(
                "const Index end_row = first_row + {each} < {rows} ? first_row + {each} : {rows};"
            ));
            self.line("for (Index row = first_row; row < end_row; row++) {");
        } else {
            let row = if self.kernel.rows == 1 { "0" } else { "team" };
            self.line(format!("const Index row = {row};"));
            if !self.kernel.accumulates.is_empty() && self.shape.items.is_none() {
                self.line("const Index first_row = row;");
            }
            self.line(match whole {
                true => "{".into(),
                false => format!("if (team < {}) {{", self.shape.row_teams),
            });
        }
        if self.kernel.rows == 1 {
            // Such a number may be overwritten by this very team: no other thread may read it.
            self.scalars();
        }
        self.one_row();
        if many && block && self.has_reductions() {
            // The next row writes to the same shared memory.
            self.line("__syncthreads();");
        }
        self.line("}");
        self.close_accumulates();
        self.assemble()
    }

    /// Values that are one number for the whole kernel.
    pub(super) fn scalars(&mut self) {
        for id in 0..self.kernel.instrs.len() {
            if self.kernel.spans[id] != Span::Scalar || !self.analysis.live[id] {
                continue;
            }
            match self.kernel.instrs[id].clone() {
                Instr::Constant(_) => {}
                Instr::Load { buffer, access } => {
                    let read = self.read(buffer, &access.offset.to_string());
                    self.line(format!("const float v{id} = {read};"));
                }
                instr => {
                    let expression = self.expression(&instr);
                    self.line(format!("const float v{id} = {expression};"));
                }
            }
        }
    }

    pub(super) fn has_reductions(&self) -> bool {
        (0..self.analysis.loops).any(|number| !self.reductions(number).is_empty())
    }

    /// Which team a thread belongs to, and which lane of it it is.
    pub(super) fn team(&mut self) {
        let Shape {
            lanes, segments, ..
        } = *self.shape;
        let teams = self.shape.teams();
        let block = match segments {
            1 => "(Index)blockIdx.x".to_string(),
            _ => {
                self.line(format!("const Index segment = blockIdx.x % {segments};"));
                format!("(Index)(blockIdx.x / {segments})")
            }
        };
        self.line(match (teams, lanes) {
            (1, _) => format!("const Index team = {block};"),
            (_, 1) => format!("const Index team = {block} * {teams} + threadIdx.x;"),
            _ => format!("const Index team = {block} * {teams} + threadIdx.x / {lanes};"),
        });
        self.line(match (teams, lanes) {
            (1, _) => "const int lane = threadIdx.x;".to_string(),
            (_, 1) => "const int lane = 0;".to_string(),
            _ => format!("const int lane = threadIdx.x % {lanes};"),
        });
        if lanes < 32 && lanes > 1 && self.has_reductions() {
            let bits = (1u64 << lanes) - 1;
            self.line(format!(
                "const unsigned mask = 0x{bits:x}u << (threadIdx.x % 32 / {lanes} * {lanes});"
            ));
        }
        if lanes > 32 {
            for number in 0..self.analysis.loops {
                for (id, ..) in self.reductions(number) {
                    let warps = lanes / 32;
                    self.line(format!("__shared__ float part{id}[{warps}];"));
                }
            }
        }
        let streams: Vec<String> = self.live_streams();
        for (k, _) in streams.iter().enumerate() {
            self.line(format!("const uint4 k{k} = *s{k};"));
        }
        self.streams = streams;
    }

    pub(super) fn live_streams(&self) -> Vec<String> {
        let mut streams: Vec<String> = vec![];
        for (id, instr) in self.kernel.instrs.iter().enumerate() {
            if let Instr::Uniform { stream } = instr {
                if self.analysis.live[id] && !streams.contains(stream) {
                    streams.push(stream.clone());
                }
            }
        }
        streams
    }

    pub(super) fn open_accumulates(&mut self) {
        let vector = self.shape.vector;
        for (k, acc) in self.kernel.accumulates.iter().enumerate() {
            match (acc.full, self.shape.items) {
                (false, _) => self.line(format!("float a{k} = {};", start(acc.op))),
                (true, Some(items)) => {
                    self.line(format!("float a{k}[{items}][{vector}];"));
                    self.line("#pragma unroll");
                    self.line(format!("for (int i = 0; i < {items}; i++) {{"));
                    self.line("#pragma unroll");
                    self.line(format!(
                        "for (int j = 0; j < {vector}; j++) a{k}[i][j] = {};",
                        start(acc.op)
                    ));
                    self.line("}");
                }
                (true, None) => {
                    let cols = self.kernel.cols;
                    self.line(format!("float *p{k} = r{k} + team * {cols};"));
                }
            }
        }
    }

    pub(super) fn close_accumulates(&mut self) {
        let cols = self.kernel.cols;
        let teams = self.shape.row_teams;
        let all: Vec<(usize, bool)> = self
            .kernel
            .accumulates
            .iter()
            .map(|a| a.full)
            .enumerate()
            .collect();
        if all.is_empty() {
            return;
        }
        let guard = !teams.is_multiple_of(self.shape.teams());
        if guard {
            self.line(format!("if (team < {teams}) {{"));
        }
        for (k, _) in all.iter().filter(|a| !a.1) {
            let first = if self.shape.segments > 1 {
                "lane == 0 && segment == 0"
            } else {
                "lane == 0"
            };
            self.line(format!("if ({first}) r{k}[team] = a{k};"));
        }
        if self.shape.items.is_some() && all.iter().any(|a| a.1) {
            let depth = self.open_columns();
            for (k, _) in all.iter().filter(|a| a.1) {
                self.line(format!("store(r{k} + team * {cols} + c, a{k}[i]);"));
            }
            self.close(depth);
        }
        if guard {
            self.line("}");
        }
    }

    /// Everything that is done for one row.
    pub(super) fn one_row(&mut self) {
        let held: Vec<ValueId> = self
            .elements()
            .filter(|id| self.kept(*id) == Kept::Held)
            .collect();
        if let Some(items) = self.shape.items {
            let vector = self.shape.vector;
            for id in held {
                self.line(format!("float v{id}[{items}][{vector}];"));
            }
        }
        let elements: Vec<ValueId> = self.elements().collect();
        for id in elements {
            if let Instr::Load { access, .. } = self.kernel.instrs[id].clone() {
                self.row_start(id, &access);
            }
        }
        for number in 0..self.analysis.loops {
            self.rows(number);
            self.one_loop(number);
        }
        if !self.cut.is_empty() {
            let segments = self.shape.segments;
            self.line("if (lane == 0) {");
            for k in 0..self.cut.len() {
                let id = self.cut[k].0;
                self.line(format!("q{k}[row * {segments} + segment] = v{id};"));
            }
            self.line("}");
            return;
        }
        let levels = self.analysis.level.iter().copied().max().unwrap_or(0);
        for level in self.analysis.loops..=levels.max(self.analysis.loops) {
            self.rows(level);
        }
        self.store_rows();
        for (k, acc) in self.kernel.accumulates.iter().enumerate() {
            if !acc.full {
                let x = match is_element(self.kernel, acc.value) {
                    true => format!("v{}", acc.value),
                    false => self.value(acc.value),
                };
                self.line(match acc.op {
                    Reduction::Sum => format!("a{k} += {x};"),
                    Reduction::Max => format!("a{k} = greater(a{k}, {x});"),
                });
            }
        }
    }

    pub(super) fn store_rows(&mut self) {
        let stores: Vec<Store> = self
            .kernel
            .stores
            .iter()
            .copied()
            .filter(|s| !s.full)
            .collect();
        if stores.is_empty() {
            return;
        }
        // Every lane has read the row's numbers before one of them is overwritten.
        if stores.iter().any(|s| s.in_place) && self.shape.lanes > 1 {
            let lanes = self.shape.lanes;
            self.line(match lanes {
                32 => "__syncwarp();".to_string(),
                33.. => "__syncthreads();".to_string(),
                _ => {
                    let bits = (1u64 << lanes) - 1;
                    format!("__syncwarp(0x{bits:x}u << (threadIdx.x % 32 / {lanes} * {lanes}));")
                }
            });
        }
        self.line("if (lane == 0) {");
        for store in stores {
            let (name, value) = (self.buffer(store.buffer), self.value(store.value));
            self.line(self.about.write(store.buffer, &name, "row", &value));
        }
        self.line("}");
    }

    pub(super) fn assemble(mut self) -> KernelSource {
        let aliased = self.kernel.stores.iter().any(|s| s.in_place) && self.cut.is_empty();
        let restrict = if aliased { "" } else { "__restrict__ " };
        let written = |id: &BufferId| {
            self.cut.is_empty() && self.kernel.stores.iter().any(|s| s.buffer == *id)
        };
        for (k, id) in self.buffers.iter().enumerate() {
            let constant = if written(id) { "" } else { "const " };
            let kind = self.about.type_of(*id);
            let known = self.about.buffers.len();
            let argument = match id.checked_sub(known) {
                None => Argument::Buffer(*id),
                Some(scratch) => Argument::Scratch(scratch * size_of::<f32>()),
            };
            self.parameters
                .push((format!("{constant}{kind} *{restrict}b{k}"), argument));
        }
        for (k, name) in self.streams.iter().enumerate() {
            self.parameters
                .push((format!("const uint4 *s{k}"), Argument::Stream(name.clone())));
        }
        for (k, to) in self.partials.iter().enumerate() {
            self.parameters.push((format!("float *r{k}"), to.clone()));
        }
        for (k, (_, to)) in self.cut.iter().enumerate() {
            self.parameters.push((format!("float *q{k}"), to.clone()));
        }
        let (rows, cols) = (self.kernel.rows, self.kernel.cols);
        let reduces = self
            .kernel
            .instrs
            .iter()
            .any(|i| matches!(i, Instr::Reduce(..)));
        let kind = match (reduces, self.kernel.accumulates.is_empty()) {
            (true, _) => "row",
            (false, false) => "column",
            (false, true) => "elementwise",
        };
        let index = self
            .about
            .index_type(self.buffers.iter().copied(), rows * cols);
        let warps = if self.shape.lanes > 32 {
            self.shape.lanes / 32
        } else {
            0
        };
        let reductions: usize = (0..self.analysis.loops)
            .map(|n| self.reductions(n).len())
            .sum();
        let launch = Launch {
            kind,
            size: format!("{rows}x{cols}"),
            blocks: self.shape.blocks(),
            threads: self.shape.threads,
            shared_bytes: warps * reductions * size_of::<f32>(),
            flops: flops(self.kernel),
        };
        let body = format!("  typedef {index} Index;\n{}", self.out);
        self.about
            .source(&launch, &self.parameters, &body, self.about.bytes)
    }
}
