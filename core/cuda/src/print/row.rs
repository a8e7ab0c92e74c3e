//! A row kernel as CUDA C.
//!
//! A team of threads takes a row through the kernel's loops: each makes the values of its columns, adds
//! them up for the reductions that the next loop waits for, and stores what is final. Values that wait
//! from loop to loop stay in registers; where a row is too long for that, each loop makes them again.

use super::access::{both, place, sum};
use super::analysis::{is_element, Analysis};
use super::fold::{self, Part};
use super::shape::{can_cut, is_vector, Shape};
use super::{literal, About, Argument, KernelSource, Kernels, Launch};
use ablate_compiler::access::Axis;
use ablate_compiler::ir::{Binary, Reduction, Unary};
use ablate_compiler::program::{BufferId, Instr, RowKernel, Span, Store, TileAccess, ValueId};
use std::fmt::Write as _;

/// Prints a kernel: one launch, or two where partial results are folded.
pub fn print(kernel: &RowKernel, about: &About) -> Kernels {
    let kernel = &unflattened(kernel);
    let reductions = Analysis::new(kernel, true);
    if can_cut(kernel, &reductions) {
        return cut(kernel, &reductions, about);
    }
    let analysis = Analysis::new(kernel, false);
    let shape = Shape::new(kernel, &analysis);
    let mut printer = Printer::new(kernel, &analysis, &shape, about);
    let mut parts = vec![];
    let mut scratch = 0;
    for acc in &kernel.accumulates {
        let width = if acc.full { kernel.cols } else { 1 };
        let to = match shape.row_teams {
            1 => Argument::Buffer(acc.buffer),
            _ => Argument::Scratch(scratch * size_of::<f32>()),
        };
        printer.partials.push(to.clone());
        if shape.row_teams > 1 {
            parts.push(Part {
                from: to,
                to: Argument::Buffer(acc.buffer),
                width,
                op: acc.op,
            });
            scratch += (width * shape.row_teams).next_multiple_of(32);
        }
    }
    let mut kernels = vec![printer.finish()];
    if !parts.is_empty() {
        kernels.push(fold::print(&parts, shape.row_teams, about));
    }
    Kernels { kernels, scratch }
}

/// Work without rows has been laid out as one column; threads walk along columns, so it is turned back.
fn unflattened(kernel: &RowKernel) -> RowKernel {
    let mut kernel = kernel.clone();
    let reduces = kernel.instrs.iter().any(|i| matches!(i, Instr::Reduce(..)));
    if kernel.cols != 1 || kernel.rows == 1 || reduces || !kernel.accumulates.is_empty() {
        return kernel;
    }
    for (instr, span) in kernel.instrs.iter_mut().zip(&mut kernel.spans) {
        if let Instr::Load { access, .. } = instr {
            access.cols = std::mem::take(&mut access.rows);
        }
        if *span != Span::Scalar {
            *span = Span::Full;
        }
    }
    kernel.stores.iter_mut().for_each(|s| s.full = true);
    (kernel.rows, kernel.cols) = (1, kernel.rows);
    kernel
}

/// Few rows, each so long that many blocks reduce it: one kernel for segments, one for the rest.
fn cut(kernel: &RowKernel, analysis: &Analysis, about: &About) -> Kernels {
    let shape = Shape::cut(kernel);
    let mut first = Printer::new(kernel, analysis, &shape, about);
    let mut rest = RowKernel {
        rows: kernel.rows,
        cols: shape.segments,
        instrs: kernel.instrs.clone(),
        spans: kernel.spans.clone(),
        stores: kernel.stores.clone(),
        accumulates: vec![],
    };
    let mut scratch = 0;
    let mut loads = vec![];
    for (id, instr) in kernel.instrs.iter().enumerate() {
        let Instr::Reduce(op, x) = instr else {
            continue;
        };
        if !is_element(kernel, *x) {
            continue;
        }
        first
            .cut
            .push((id, Argument::Scratch(scratch * size_of::<f32>())));
        // A buffer behind those of the program stands for the partial results.
        let load = Instr::Load {
            buffer: about.buffers.len() + scratch,
            access: TileAccess {
                rows: vec![Axis::new(kernel.rows, shape.segments as isize)],
                cols: vec![Axis::new(shape.segments, 1)],
                offset: 0,
            },
        };
        loads.push((id, *op, load));
        scratch += (kernel.rows * shape.segments).next_multiple_of(32);
    }
    // The reductions now read what the first kernel left.
    let moved = loads.len();
    let mut instrs: Vec<Instr> = loads.iter().map(|l| l.2.clone()).collect();
    let mut spans = vec![Span::Full; moved];
    for (id, instr) in rest.instrs.iter().enumerate() {
        let partial = loads.iter().position(|l| l.0 == id);
        instrs.push(match (instr, partial) {
            (_, Some(load)) => Instr::Reduce(loads[load].1, load),
            (Instr::Unary(op, x), _) => Instr::Unary(*op, x + moved),
            (Instr::Binary(op, x, y), _) => Instr::Binary(*op, x + moved, y + moved),
            (Instr::Reduce(op, x), _) => Instr::Reduce(*op, x + moved),
            (other, _) => other.clone(),
        });
        spans.push(rest.spans[id]);
    }
    (rest.instrs, rest.spans) = (instrs, spans);
    rest.stores.iter_mut().for_each(|s| s.value += moved);
    let first = first.finish();
    let analysis = Analysis::new(&rest, false);
    let shape = Shape::new(&rest, &analysis);
    let mut second = Printer::new(&rest, &analysis, &shape, about);
    // A sum over the columns of what is one number a row counts the columns of the whole kernel.
    second.width = kernel.cols;
    Kernels {
        kernels: vec![first, second.finish()],
        scratch,
    }
}

/// Where the values of a column are kept.
#[derive(Clone, Copy, PartialEq)]
enum Kept {
    /// In registers from loop to loop: `v[i][j]`.
    Held,
    /// As a vector in its loop: `v[j]`.
    Vector,
    /// As one number.
    Single,
}

struct Printer<'a> {
    kernel: &'a RowKernel,
    analysis: &'a Analysis,
    shape: &'a Shape,
    about: &'a About<'a>,
    /// Columns of the whole row.
    width: usize,
    /// Where each accumulation's partial results go.
    partials: Vec<Argument>,
    /// Where each reduction's partial results go, if rows are cut.
    cut: Vec<(ValueId, Argument)>,
    parameters: Vec<(String, Argument)>,
    buffers: Vec<BufferId>,
    streams: Vec<String>,
    out: String,
    depth: usize,
}

impl<'a> Printer<'a> {
    fn new(
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

    fn line(&mut self, text: impl AsRef<str>) {
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

    fn elements(&self) -> impl Iterator<Item = ValueId> + '_ {
        let count = self.kernel.instrs.len();
        (0..count).filter(|id| self.analysis.live[*id] && is_element(self.kernel, *id))
    }

    /// The C name of a buffer, which becomes a parameter.
    fn buffer(&mut self, id: BufferId) -> String {
        let number = self.buffers.iter().position(|b| *b == id);
        let number = number.unwrap_or_else(|| {
            self.buffers.push(id);
            self.buffers.len() - 1
        });
        format!("b{number}")
    }

    fn stream(&mut self, name: &str) -> String {
        let number = self.streams.iter().position(|s| s == name);
        let number = number.unwrap_or_else(|| {
            self.streams.push(name.into());
            self.streams.len() - 1
        });
        format!("k{number}")
    }

    /// Loops in which the value is made.
    fn is_made_in(&self, id: ValueId, number: usize) -> bool {
        match self.shape.items {
            Some(_) => self.analysis.at[id] == number,
            None => self.needed(number)[id],
        }
    }

    /// What a loop must make when nothing waits in registers.
    fn needed(&self, number: usize) -> Vec<bool> {
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
                for x in super::analysis::operands(&self.kernel.instrs[id]) {
                    needed[x] = true;
                }
            }
        }
        needed
    }

    /// Values stored for each row and column, with the loop that stores them.
    fn stored_at(&self) -> impl Iterator<Item = (ValueId, usize)> + '_ {
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

    fn store_loop(&self, store: &Store) -> usize {
        match store.in_place {
            true => self.analysis.loops - 1,
            false => self.analysis.level[store.value],
        }
    }

    fn accumulated_at(&self) -> impl Iterator<Item = (ValueId, usize)> + '_ {
        let all = self.kernel.accumulates.iter().filter(|a| a.full);
        all.map(|a| (a.value, self.analysis.level[a.value]))
    }

    fn kept(&self, id: ValueId) -> Kept {
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
    fn value(&self, id: ValueId) -> String {
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

    fn expression(&self, instr: &Instr) -> String {
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
    fn row_start(&mut self, id: ValueId, access: &TileAccess) {
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

    fn row_guard(access: &TileAccess, id: ValueId) -> String {
        match place(&access.rows, "row").guard.is_empty() {
            true => String::new(),
            false => format!("g{id}"),
        }
    }

    /// Values of one number a row that need `level` reductions.
    fn rows(&mut self, level: usize) {
        for id in 0..self.kernel.instrs.len() {
            let here = self.kernel.spans[id] == Span::Row && self.analysis.level[id] == level;
            if !here || !self.analysis.live[id] {
                continue;
            }
            match self.kernel.instrs[id].clone() {
                Instr::Load { buffer, access } => {
                    self.row_start(id, &access);
                    let buffer = self.buffer(buffer);
                    let guard = Self::row_guard(&access, id);
                    let read = format!("{buffer}[x{id}]");
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
    fn reductions(&self, number: usize) -> Vec<(ValueId, Reduction, ValueId)> {
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

    /// The head of a loop over the team's columns, with the column in `c`; lines to close it.
    fn open_columns(&mut self) -> usize {
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

    fn close(&mut self, count: usize) {
        (0..count).for_each(|_| self.line("}"));
    }

    fn one_loop(&mut self, number: usize) {
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
    fn splats(&self, number: usize) -> Vec<(usize, ValueId)> {
        if !self.cut.is_empty() {
            return vec![];
        }
        let stores = self.kernel.stores.iter().enumerate();
        let here = stores.filter(|(_, s)| s.full && self.store_loop(s) == number);
        here.filter(|(_, s)| !is_element(self.kernel, s.value))
            .map(|(store, s)| (store, s.value))
            .collect()
    }

    fn element(&mut self, id: ValueId) {
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
                let buffer = self.buffer(buffer);
                let guard = both(&Self::row_guard(&access, id), &at.guard);
                let read = format!("{buffer}[{}]", sum(&[&format!("x{id}"), &at.offset]));
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

    fn accumulate(&mut self, number: usize) {
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

    fn store(&mut self, number: usize) {
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
    fn reduce(&mut self, reductions: &[(ValueId, Reduction, ValueId)]) {
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

    /// The function's body and everything about it.
    fn finish(mut self) -> KernelSource {
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
    fn scalars(&mut self) {
        for id in 0..self.kernel.instrs.len() {
            if self.kernel.spans[id] != Span::Scalar || !self.analysis.live[id] {
                continue;
            }
            match self.kernel.instrs[id].clone() {
                Instr::Constant(_) => {}
                Instr::Load { buffer, access } => {
                    let buffer = self.buffer(buffer);
                    self.line(format!("const float v{id} = {buffer}[{}];", access.offset));
                }
                instr => {
                    let expression = self.expression(&instr);
                    self.line(format!("const float v{id} = {expression};"));
                }
            }
        }
    }

    fn has_reductions(&self) -> bool {
        (0..self.analysis.loops).any(|number| !self.reductions(number).is_empty())
    }

    /// Which team a thread belongs to, and which lane of it it is.
    fn team(&mut self) {
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

    fn live_streams(&self) -> Vec<String> {
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

    fn open_accumulates(&mut self) {
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

    fn close_accumulates(&mut self) {
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
    fn one_row(&mut self) {
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

    fn store_rows(&mut self) {
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
            let (buffer, value) = (self.buffer(store.buffer), self.value(store.value));
            self.line(format!("{buffer}[row] = {value};"));
        }
        self.line("}");
    }

    fn assemble(mut self) -> KernelSource {
        let aliased = self.kernel.stores.iter().any(|s| s.in_place) && self.cut.is_empty();
        let restrict = if aliased { "" } else { "__restrict__ " };
        let written = |id: &BufferId| {
            self.cut.is_empty() && self.kernel.stores.iter().any(|s| s.buffer == *id)
        };
        for (k, id) in self.buffers.iter().enumerate() {
            let constant = if written(id) { "" } else { "const " };
            let known = self.about.buffers.len();
            let argument = match id.checked_sub(known) {
                None => Argument::Buffer(*id),
                Some(scratch) => Argument::Scratch(scratch * size_of::<f32>()),
            };
            self.parameters
                .push((format!("{constant}float *{restrict}b{k}"), argument));
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

/// What a reduction begins with.
pub(super) fn start(op: Reduction) -> &'static str {
    match op {
        Reduction::Sum => "0.0f",
        Reduction::Max => "lowest()",
    }
}

/// Elementwise operations and additions.
fn flops(kernel: &RowKernel) -> u64 {
    let of = |span: Span| match span {
        Span::Scalar => 1,
        Span::Column => kernel.cols,
        Span::Row => kernel.rows,
        Span::Full => kernel.rows * kernel.cols,
    };
    let instrs = kernel.instrs.iter().enumerate().map(|(id, i)| match i {
        Instr::Unary(..) | Instr::Binary(..) => of(kernel.spans[id]),
        Instr::Reduce(_, x) => of(kernel.spans[*x]),
        _ => 0,
    });
    let accumulated = kernel.accumulates.iter().map(|a| of(kernel.spans[a.value]));
    instrs.chain(accumulated).sum::<usize>() as u64
}
