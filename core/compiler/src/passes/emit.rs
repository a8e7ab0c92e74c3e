//! Pass `emit`: groups become kernels.
//!
//! Works from the last kernel to the first, so that each knows which of its values later kernels
//! read. A value that only its own kernel reads never reaches memory. A forward value that the
//! backward reads is computed again there when that takes at most one full-size read: a GELU, a
//! softmax or a dropout mask costs less to repeat than to store and load.

use super::domain::{joins, members, reduced_first, rows_only, split, Domain, Member, Role};
use super::fusion::{self, Groups};
use super::recompute::{self, Again};
use super::spread;
use crate::access::Access;
use crate::ir::{Ir, Kind, NodeId};
use crate::program::{
    Accumulate, Buffer, BufferId, Instr, Kernel, Place, Program, RowKernel, Span, Step, Store,
    TileAccess, ValueId,
};
use crate::CompileError;
use ablate_graph::ir::{LoadKind, Phase};
use std::collections::HashMap;

/// Runs the pass: the program, and for each assigned state the buffer of its new value. Every buffer
/// has a length; arena buffers are placed by the next pass.
///
/// # Errors
/// [`CompileError::Invariant`] if a value fits no grid: a defect of an earlier pass.
pub fn run(ir: &Ir) -> Result<(Program, Vec<(String, BufferId)>), CompileError> {
    let members = members(ir);
    let groups = fusion::run(ir, &members);
    let repeat = Repeatable::new(ir, &members, &groups);
    let again = recompute::run(ir, &members, &groups, &repeat);
    let mut emitter = Emitter {
        ir,
        members: &members,
        groups: &groups,
        repeat: &repeat,
        again: &again,
        twin: HashMap::new(),
        program: Program::default(),
        buffer: vec![None; ir.nodes.len()],
        stored: vec![false; ir.nodes.len()],
    };
    for root in ir.roots() {
        emitter.stored[root] = true;
    }
    emitter.all()
}

/// Which values are computed again by kernels other than their own (forward values by the backward,
/// free ones by all), and the full-size values that this reads from memory.
pub struct Repeatable(pub Vec<bool>, pub Vec<Vec<NodeId>>);

impl Repeatable {
    fn new(ir: &Ir, members: &[Option<Member>], groups: &Groups) -> Self {
        let count = ir.nodes.len();
        let free = spread::free(ir);
        let mut live = vec![false; count];
        ir.roots().for_each(|r| live[r] = true);
        for (id, node) in ir.nodes.iter().enumerate() {
            for (input, access) in &node.inputs {
                let register = joins(ir, members, *input, access, id);
                let same = groups.of[*input] == groups.of[id];
                let once = node.phase != Phase::Backward && !free[*input];
                if !node.is_fusible() || !same && (once || !register) {
                    live[*input] = true;
                }
            }
        }
        // Full-size buffers that computing the value again would read; a stored value reads itself.
        let mut all = Repeatable(vec![false; count], vec![vec![]; count]);
        for (id, node) in ir.nodes.iter().enumerate() {
            if node.is_elementwise() && node.phase != Phase::Backward && !live[id] {
                let mine = all.operands(ir, members, id);
                if mine.len() <= 1 {
                    (all.0[id], all.1[id]) = (true, mine);
                    continue;
                }
            }
            all.1[id] = vec![id];
        }
        all
    }

    /// Full-size buffers that computing an elementwise value again reads.
    pub fn operands(&self, ir: &Ir, members: &[Option<Member>], id: NodeId) -> Vec<NodeId> {
        let node = &ir.nodes[id];
        let mut mine: Vec<NodeId> = vec![];
        for (input, access) in &node.inputs {
            let source = &ir.nodes[*input];
            if source.len() < node.len() {
                continue;
            }
            if matches!(source.kind, Kind::Load(LoadKind::Uniform { .. })) && access.is_dense() {
                continue;
            }
            if self.0[*input] && joins(ir, members, *input, access, id) {
                mine.extend_from_slice(&self.1[*input]);
            } else {
                mine.push(*input);
            }
        }
        mine.sort_unstable();
        mine.dedup();
        mine
    }
}

struct Emitter<'a> {
    ir: &'a Ir,
    members: &'a [Option<Member>],
    groups: &'a Groups,
    repeat: &'a Repeatable,
    again: &'a Again,
    /// Buffers of values that are made again, once a kernel reads them.
    twin: HashMap<NodeId, BufferId>,
    program: Program,
    buffer: Vec<Option<usize>>,
    /// Values that some kernel reads from memory, or that are roots.
    stored: Vec<bool>,
}

impl Emitter<'_> {
    fn all(mut self) -> Result<(Program, Vec<(String, BufferId)>), CompileError> {
        let count = self.groups.nodes.len();
        let mut kernels: Vec<Option<Kernel>> = vec![None; count];
        let mut needs: Vec<Vec<usize>> = vec![vec![]; count];
        // Groups from last to first: by level, edges go up; any topological order of groups will do.
        for group in self.reverse_topological() {
            let nodes = self.groups.nodes[group].clone();
            let mut hosted = self.again.hosted.get(&group).into_iter().flatten();
            let wanted = nodes.iter().any(|id| self.stored[*id]);
            if !wanted && !hosted.any(|id| self.twin.contains_key(id)) {
                continue;
            }
            kernels[group] = Some(self.kernel(group, &nodes)?);
        }
        // Uniform numbers that could not be drawn where they are used are made by kernels of their own.
        let mut steps_before = vec![];
        for (id, node) in self.ir.nodes.iter().enumerate() {
            if let (Kind::Load(LoadKind::Uniform { stream }), Some(out)) =
                (&node.kind, self.buffer[id])
            {
                steps_before.push(Step {
                    kernel: Kernel::Uniform {
                        stream: stream.clone(),
                        out,
                    },
                    scope: node.scope.clone(),
                    phase: node.phase,
                });
            }
        }
        let mut writer = vec![None; self.program.buffers.len()];
        for (group, kernel) in kernels.iter().enumerate() {
            for buffer in kernel.iter().flat_map(Kernel::writes) {
                writer[buffer] = Some(group);
            }
        }
        for (group, kernel) in kernels.iter().enumerate() {
            let mut list: Vec<usize> = kernel
                .iter()
                .flat_map(Kernel::reads)
                .filter_map(|buffer| writer[buffer])
                .filter(|g| *g != group)
                .collect();
            list.sort_unstable();
            list.dedup();
            needs[group] = list;
        }
        let used: Vec<bool> = kernels.iter().map(Option::is_some).collect();
        self.program.steps = steps_before;
        for group in fusion::order(self.groups, &needs, &used) {
            let Some(kernel) = kernels[group].take() else {
                continue;
            };
            // The label of what is stored last: what the kernel is for.
            let nodes = &self.groups.nodes[group];
            let id = nodes
                .iter()
                .rev()
                .find(|n| self.stored[**n])
                .or(nodes.last());
            let Some(node) = id.map(|i| &self.ir.nodes[*i]) else {
                continue;
            };
            self.program.steps.push(Step {
                kernel,
                scope: node.scope.clone(),
                phase: node.phase,
            });
        }
        for (name, id) in &self.ir.outputs {
            let buffer = self.buffer_of(*id);
            self.program.outputs.push((name.clone(), buffer));
        }
        let assigns = &self.ir.assigns;
        let assigned = assigns
            .iter()
            .map(|(name, id)| (name.clone(), self.buffer_of(*id)))
            .collect();
        Ok((self.program, assigned))
    }

    fn reverse_topological(&self) -> Vec<usize> {
        let count = self.groups.nodes.len();
        let mut needs: Vec<Vec<usize>> = vec![vec![]; count];
        for (id, node) in self.ir.nodes.iter().enumerate() {
            let Some(group) = self.groups.of[id] else {
                continue;
            };
            for (input, _) in &node.inputs {
                if let Some(source) = self.groups.of[*input] {
                    if source != group && !needs[group].contains(&source) {
                        needs[group].push(source);
                    }
                }
            }
        }
        for (reader, host) in &self.again.after {
            if !needs[*reader].contains(host) {
                needs[*reader].push(*host);
            }
        }
        let mut order = fusion::order(self.groups, &needs, &vec![true; count]);
        order.reverse();
        order
    }

    fn buffer_of(&mut self, id: NodeId) -> usize {
        if let Some(buffer) = self.buffer[id] {
            return buffer;
        }
        let node = &self.ir.nodes[id];
        let place = match &node.kind {
            Kind::Load(LoadKind::State { name, .. }) => Place::State(name.clone()),
            Kind::Load(LoadKind::Input { name, index_bound }) => Place::Input {
                name: name.clone(),
                index_bound: *index_bound,
            },
            Kind::Load(LoadKind::Iota) => Place::Iota,
            _ => Place::Arena { offset: 0 },
        };
        let buffer = Buffer::single(node.len(), place);
        self.program.buffers.push(buffer);
        let buffer = self.program.buffers.len() - 1;
        self.buffer[id] = Some(buffer);
        buffer
    }

    /// The buffer of a value that a kernel of a group reads from memory.
    fn demand(&mut self, group: usize, id: NodeId) -> usize {
        if self.again.readers.contains(&(group, id)) {
            let (len, next) = (self.ir.nodes[id].len(), self.program.buffers.len());
            let buffer = *self.twin.entry(id).or_insert(next);
            if buffer == next {
                let place = Place::Arena { offset: 0 };
                self.program.buffers.push(Buffer::single(len, place));
            }
            return buffer;
        }
        self.stored[id] = true;
        self.buffer_of(id)
    }

    fn invariant(&self, id: NodeId, reason: &str) -> CompileError {
        CompileError::Invariant {
            pass: "emit",
            node: id,
            scope: self.ir.nodes[id].scope.to_string(),
            reason: reason.into(),
        }
    }

    fn kernel(&mut self, group: usize, nodes: &[NodeId]) -> Result<Kernel, CompileError> {
        let id = nodes[0];
        let node = self.ir.nodes[id].clone();
        let tile = |access: &Access, inner: usize| {
            let at = access.axes.len() - inner;
            let part = |axes: &[crate::access::Axis]| {
                Access {
                    axes: axes.to_vec(),
                    offset: 0,
                }
                .merged()
                .axes
            };
            TileAccess {
                rows: part(&access.axes[..at]),
                cols: part(&access.axes[at..]),
                offset: access.offset,
            }
        };
        match node.kind {
            Kind::Gemm(gemm) => Ok(Kernel::Gemm {
                gemm,
                a: self.demand(group, node.inputs[0].0),
                b: self.demand(group, node.inputs[1].0),
                c: self.buffer_of(id),
                bias: None,
                sums: None,
            }),
            Kind::Gather {
                inner,
                classes,
                class_stride,
            } => Ok(Kernel::Gather {
                table: self.demand(group, node.inputs[0].0),
                table_access: tile(&node.inputs[0].1, inner),
                class_stride,
                classes,
                index: self.demand(group, node.inputs[1].0),
                index_access: tile(&node.inputs[1].1, 0),
                out: self.buffer_of(id),
            }),
            Kind::ScatterAdd { inner, classes } => Ok(Kernel::ScatterAdd {
                value: self.demand(group, node.inputs[0].0),
                value_access: tile(&node.inputs[0].1, inner),
                index: self.demand(group, node.inputs[1].0),
                index_access: tile(&node.inputs[1].1, 0),
                classes,
                out: self.buffer_of(id),
            }),
            _ => self.row_kernel(group, nodes).map(Kernel::Row),
        }
    }

    fn row_kernel(&mut self, group: usize, nodes: &[NodeId]) -> Result<RowKernel, CompileError> {
        let Some(domain) = self.members[nodes[0]].map(|m| m.domain) else {
            return Err(self.invariant(nodes[0], "not a fusible node"));
        };
        let mut builder = Builder {
            group,
            domain,
            kernel: RowKernel {
                rows: domain.rows,
                cols: domain.cols,
                ..Default::default()
            },
            values: HashMap::new(),
            loads: HashMap::new(),
        };
        // What is made again comes first: others of the kernel then take it from a register.
        for &id in self.again.hosted.get(&group).into_iter().flatten() {
            if let Some(&buffer) = self.twin.get(&id) {
                let value = self.value(&mut builder, nodes, id)?;
                builder.kernel.stores.push(Store {
                    value,
                    buffer,
                    full: true,
                    in_place: false,
                });
            }
        }
        for &id in nodes {
            if !self.stored[id] {
                continue;
            }
            let Some(member) = self.members[id] else {
                continue;
            };
            let value = self.value(&mut builder, nodes, id)?;
            let buffer = self.buffer_of(id);
            match member.role {
                Role::Full | Role::Row => builder.kernel.stores.push(Store {
                    value,
                    buffer,
                    full: member.role == Role::Full,
                    in_place: false,
                }),
                Role::Accumulate => {
                    let Kind::Reduce { op, .. } = self.ir.nodes[id].kind else {
                        return Err(self.invariant(id, "an accumulation that is no reduction"));
                    };
                    let full = self.ir.nodes[id].len() == domain.cols
                        && !matches!(self.members[self.ir.nodes[id].inputs[0].0],
                            Some(Member { role: Role::Row, domain: d }) if d == domain);
                    builder.kernel.accumulates.push(Accumulate {
                        value,
                        op,
                        buffer,
                        full,
                    });
                }
            }
        }
        let mut kernel = builder.kernel;
        flatten(&mut kernel);
        Ok(kernel)
    }

    /// The value of node `id` in the kernel: for an accumulation, that of its operand.
    fn value(
        &mut self,
        b: &mut Builder,
        nodes: &[NodeId],
        id: NodeId,
    ) -> Result<ValueId, CompileError> {
        if let Some(value) = b.values.get(&id) {
            return Ok(*value);
        }
        let node = self.ir.nodes[id].clone();
        let Some(member) = self.members[id] else {
            return Err(self.invariant(id, "not a fusible node"));
        };
        let mut operands = Vec::with_capacity(2);
        for (input, access) in &node.inputs {
            operands.push(self.operand(b, nodes, id, member, *input, access)?);
        }
        let value = match node.kind {
            Kind::Unary(op) => b.push(Instr::Unary(op, operands[0])),
            Kind::Binary(op) => b.push(Instr::Binary(op, operands[0], operands[1])),
            Kind::Copy => operands[0],
            Kind::Reduce { op, .. } if member.role == Role::Row => {
                b.push(Instr::Reduce(op, operands[0]))
            }
            Kind::Reduce { .. } => operands[0],
            _ => return Err(self.invariant(id, "not a fusible node")),
        };
        b.values.insert(id, value);
        Ok(value)
    }

    fn operand(
        &mut self,
        b: &mut Builder,
        nodes: &[NodeId],
        user: NodeId,
        member: Member,
        input: NodeId,
        access: &Access,
    ) -> Result<ValueId, CompileError> {
        let source = &self.ir.nodes[input];
        if let Kind::Constant(value) = source.kind {
            if !access.is_guarded() {
                return Ok(b.push(Instr::Constant(value)));
            }
        }
        if joins(self.ir, self.members, input, access, user) {
            let here = self.groups.of[input] == self.groups.of[user] && nodes.contains(&input);
            if here || self.repeat.0[input] || b.values.contains_key(&input) {
                return self.value(b, nodes, input);
            }
        }
        let tile = match (&self.ir.nodes[user].kind, member.role) {
            (Kind::Reduce { reduced, .. }, role) => {
                let kept = access.axes.len() - reduced;
                let full = access.len() == b.domain.rows * b.domain.cols;
                match role {
                    Role::Accumulate if full => split(&reduced_first(access, kept), b.domain),
                    Role::Accumulate => Some(rows_only(access)),
                    _ => split(access, b.domain),
                }
            }
            (_, Role::Row) => Some(rows_only(access)),
            _ => split(access, b.domain),
        };
        let Some(tile) = tile else {
            return Err(self.invariant(
                user,
                "an operand does not fit the kernel's rows and columns",
            ));
        };
        if let Kind::Load(LoadKind::Uniform { stream }) = &source.kind {
            let whole = access.len() == source.len() && member.role == Role::Full;
            if whole && access.is_dense() {
                let stream = stream.clone();
                return Ok(b.push(Instr::Uniform { stream }));
            }
        }
        if matches!(source.kind, Kind::Constant(_)) {
            return Err(self.invariant(user, "a padded constant was not copied"));
        }
        let buffer = self.demand(b.group, input);
        Ok(b.load(buffer, tile))
    }
}

struct Builder {
    group: usize,
    domain: Domain,
    kernel: RowKernel,
    values: HashMap<NodeId, ValueId>,
    loads: HashMap<(usize, TileAccess), ValueId>,
}

impl Builder {
    fn push(&mut self, instr: Instr) -> ValueId {
        let span = match &instr {
            Instr::Load { access, .. } => span_of(access),
            Instr::Constant(_) => Span::Scalar,
            Instr::Uniform { .. } => Span::Full,
            Instr::Unary(_, x) => self.kernel.spans[*x],
            Instr::Binary(_, x, y) => self.kernel.spans[*x].join(self.kernel.spans[*y]),
            Instr::Reduce(..) => Span::Row,
        };
        if let Instr::Constant(value) = instr {
            let same = self.kernel.instrs.iter().position(
                |i| matches!(i, Instr::Constant(other) if other.to_bits() == value.to_bits()),
            );
            if let Some(known) = same {
                return known;
            }
        }
        self.kernel.instrs.push(instr);
        self.kernel.spans.push(span);
        self.kernel.instrs.len() - 1
    }

    fn load(&mut self, buffer: usize, access: TileAccess) -> ValueId {
        let key = (buffer, access);
        if let Some(value) = self.loads.get(&key) {
            return *value;
        }
        let value = self.push(Instr::Load {
            buffer,
            access: key.1.clone(),
        });
        self.loads.insert(key, value);
        value
    }
}

fn span_of(access: &TileAccess) -> Span {
    let moves = |axes: &[crate::access::Axis]| axes.iter().any(|a| a.stride != 0 || a.is_guarded());
    match (moves(&access.rows), moves(&access.cols)) {
        (false, false) => Span::Scalar,
        (false, true) => Span::Column,
        (true, false) => Span::Row,
        (true, true) => Span::Full,
    }
}

/// Work without any row structure becomes one column of many rows, so that it can be cut anywhere.
fn flatten(kernel: &mut RowKernel) {
    let flat = kernel.accumulates.is_empty()
        && kernel.stores.iter().all(|s| s.full)
        && kernel.cols > 1
        && kernel
            .instrs
            .iter()
            .zip(&kernel.spans)
            .all(|(instr, span)| match instr {
                Instr::Load { access, .. } => match span {
                    Span::Scalar => true,
                    Span::Full => {
                        let axes = access.rows.iter().chain(&access.cols).copied().collect();
                        Access {
                            axes,
                            offset: access.offset,
                        }
                        .is_dense()
                    }
                    // A single row has columns only.
                    Span::Column => {
                        kernel.rows == 1
                            && Access {
                                axes: access.cols.clone(),
                                offset: access.offset,
                            }
                            .is_dense()
                    }
                    Span::Row => false,
                },
                Instr::Reduce(..) => false,
                _ => true,
            });
    if !flat {
        return;
    }
    let rows = kernel.rows * kernel.cols;
    for (instr, span) in kernel.instrs.iter_mut().zip(&mut kernel.spans) {
        if let Instr::Load { access, .. } = instr {
            if *span != Span::Scalar {
                access.rows = vec![crate::access::Axis::new(rows, 1)];
                access.offset = 0;
            } else {
                access.rows = vec![crate::access::Axis::new(rows, 0)];
            }
            access.cols = vec![];
        }
        if *span == Span::Column {
            *span = Span::Full;
        }
        // With one column, one number a row is the whole tile.
        if matches!(instr, Instr::Load { .. }) && *span == Span::Full {
            *span = Span::Row;
        }
    }
    (kernel.rows, kernel.cols) = (rows, 1);
    for i in 0..kernel.instrs.len() {
        kernel.spans[i] = match &kernel.instrs[i] {
            Instr::Unary(_, x) => kernel.spans[*x],
            Instr::Binary(_, x, y) => kernel.spans[*x].join(kernel.spans[*y]),
            Instr::Uniform { .. } => Span::Row,
            _ => kernel.spans[i],
        };
    }
    for store in &mut kernel.stores {
        store.full = false;
    }
}
