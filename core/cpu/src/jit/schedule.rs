//! How a row kernel becomes loops over the columns.
//!
//! Owns: the loop that each value is computed in, what is kept from one loop to the next, and which
//! pointers the code needs. Must not know: instructions of a processor.
//!
//! A value's level is the number of reductions, one after the other, that it waits for. Loop `l`
//! computes the vectors of level `l` that a reduction, a store or a later loop needs; numbers that are
//! the same in the whole row are computed between the loops.

use crate::bf16;
use crate::plan::RowPlan;
use ablate_compiler::access::Axis;
use ablate_compiler::ir::{Binary, Reduction, Unary};
use ablate_compiler::program::{Instr, RowKernel, Span, TileAccess, ValueId};

/// Index into [`Schedule::pointers`].
pub type PointerId = usize;

/// What a pointer of the code points to when a row begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Pointer {
    /// An operand, read where it lies.
    Direct {
        buffer: usize,
        /// The numbers are bfloat16.
        half: bool,
        /// Element that row zero starts at.
        offset: isize,
        /// Elements from row to row.
        stride: usize,
    },
    /// An operand whose rows start anywhere.
    Rows {
        buffer: usize,
        half: bool,
        access: TileAccess,
    },
    /// An operand whose columns are no neighbours: copied first.
    Copied {
        buffer: usize,
        half: bool,
        access: TileAccess,
    },
    /// Uniform numbers, drawn first.
    Uniform { stream: String },
    /// A row of scratch memory that carries a value from one loop to a later one.
    Kept,
    /// A result of rows and columns.
    Store { buffer: usize, half: bool },
    /// The chunk's partial results of this accumulation.
    Partial { accumulate: usize },
}

impl Pointer {
    /// Whether the code finds bfloat16 numbers there; what is copied is widened by that.
    pub fn is_half(&self) -> bool {
        matches!(
            self,
            Pointer::Direct { half: true, .. }
                | Pointer::Rows { half: true, .. }
                | Pointer::Store { half: true, .. }
        )
    }
}

/// What a loop leaves behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Root {
    /// Reduces a vector value into the number of this instruction.
    Reduce(ValueId),
    /// Writes a value through a pointer.
    Store(ValueId, PointerId),
    /// Adds a value to the partial results of its column, or takes the maximum.
    Accumulate(ValueId, PointerId, Reduction),
}

/// One loop over the columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loop {
    /// Numbers to compute before it, in order.
    pub before: Vec<ValueId>,
    /// Vectors to compute in it, in order.
    pub body: Vec<ValueId>,
    /// What to do with them.
    pub roots: Vec<Root>,
}

/// The loops of a kernel.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// In order; numbers that come after the last one are in a loop without a body.
    pub loops: Vec<Loop>,
    /// Pointers that the code reads and writes through.
    pub pointers: Vec<Pointer>,
    /// The pointer that a value is read through, where it is in memory.
    pub memory: Vec<Option<PointerId>>,
    /// Level of each value's memory copy: it can be read from loops above this.
    pub kept_at: Vec<Option<usize>>,
    /// True for values that are one number for the whole row.
    pub number: Vec<bool>,
    /// Numbers that are read from memory when a row begins.
    pub loads: Vec<ValueId>,
    /// Rows are one long row that can be cut anywhere.
    pub flat: bool,
}

/// More operations than this are cheaper to keep in memory than to repeat.
const REPEAT: usize = 2;

impl Schedule {
    /// The loops of a kernel, or `None` where it cannot be expressed.
    pub fn new(plan: &RowPlan) -> Option<Schedule> {
        let kernel = &plan.kernel;
        if kernel.stores.iter().any(|s| plan.is_half(s.buffer)) && !bf16::available() {
            return None;
        }
        let flat = is_flat(kernel);
        if kernel.cols == 1 && !flat {
            return None;
        }
        let unknown = |i: &Instr| {
            matches!(
                i,
                Instr::Unary(Unary::Sin, _) | Instr::Binary(Binary::Mod, ..)
            )
        };
        if kernel.instrs.iter().any(unknown) {
            return None;
        }
        let number: Vec<bool> = kernel
            .spans
            .iter()
            .map(|s| match s {
                Span::Scalar => true,
                Span::Row => !flat,
                Span::Column | Span::Full => false,
            })
            .collect();
        let mut planner = Planner {
            plan,
            kernel,
            level: levels(kernel, &number),
            work: work(kernel, &number),
            schedule: Schedule {
                loops: vec![],
                pointers: vec![],
                memory: vec![None; number.len()],
                kept_at: vec![None; number.len()],
                loads: vec![],
                number,
                flat,
            },
        };
        planner.sources();
        planner.loops();
        Some(planner.schedule)
    }
}

/// All work is on one long vector.
fn is_flat(kernel: &RowKernel) -> bool {
    let dense = |access: &TileAccess| {
        access.offset >= 0
            && access.cols.iter().all(|a| a.size == 1)
            && matches!(access.rows[..], [Axis { stride: 1, lo: 0, .. }] if !access.rows[0].is_guarded())
    };
    kernel.cols == 1
        && kernel.accumulates.is_empty()
        && kernel
            .instrs
            .iter()
            .zip(&kernel.spans)
            .all(|(i, span)| match i {
                Instr::Load { access, .. } => match span {
                    Span::Scalar => true,
                    Span::Row => dense(access),
                    Span::Column | Span::Full => false,
                },
                Instr::Reduce(..) => false,
                _ => true,
            })
}

fn levels(kernel: &RowKernel, number: &[bool]) -> Vec<usize> {
    let mut level: Vec<usize> = Vec::with_capacity(number.len());
    for instr in &kernel.instrs {
        level.push(match instr {
            Instr::Unary(_, x) => level[*x],
            Instr::Binary(_, x, y) => level[*x].max(level[*y]),
            // Of a number, no loop is needed.
            Instr::Reduce(_, x) => level[*x] + usize::from(!number[*x]),
            _ => 0,
        });
    }
    level
}

/// Vector operations that computing a value takes, from memory on.
fn work(kernel: &RowKernel, number: &[bool]) -> Vec<usize> {
    let mut work: Vec<usize> = Vec::with_capacity(number.len());
    for (id, instr) in kernel.instrs.iter().enumerate() {
        let own = match instr {
            _ if number[id] => 0,
            Instr::Unary(Unary::Exp2 | Unary::Log2, x) => 20 + work[*x],
            Instr::Unary(_, x) => 4 + work[*x],
            Instr::Binary(_, x, y) => 1 + work[*x] + work[*y],
            _ => 0,
        };
        work.push(own.min(1000));
    }
    work
}

struct Planner<'a> {
    plan: &'a RowPlan,
    kernel: &'a RowKernel,
    level: Vec<usize>,
    work: Vec<usize>,
    schedule: Schedule,
}

impl Planner<'_> {
    fn pointer(&mut self, pointer: Pointer) -> PointerId {
        self.schedule.pointers.push(pointer);
        self.schedule.pointers.len() - 1
    }

    /// Pointers and numbers that are there when a row begins.
    fn sources(&mut self) {
        for (id, instr) in self.kernel.instrs.iter().enumerate() {
            let source = match instr {
                Instr::Load { .. } if self.schedule.number[id] => {
                    self.schedule.loads.push(id);
                    continue;
                }
                Instr::Load { buffer, access } => {
                    let from = (*buffer, self.plan.is_half(*buffer));
                    operand(from, access, self.kernel.cols, self.schedule.flat)
                }
                Instr::Uniform { stream } => Pointer::Uniform {
                    stream: stream.clone(),
                },
                _ => continue,
            };
            self.schedule.memory[id] = Some(self.pointer(source));
        }
    }

    /// The loops, from the last to the first, so that each knows what later ones want kept.
    fn loops(&mut self) {
        let last = self.level.iter().copied().max().unwrap_or(0);
        let mut loops = vec![Loop::default(); last + 1];
        for (id, instr) in self.kernel.instrs.iter().enumerate() {
            match instr {
                Instr::Reduce(_, x) if !self.schedule.number[*x] => {
                    loops[self.level[*x]].roots.push(Root::Reduce(id));
                }
                // The numbers that no instruction makes are loaded.
                Instr::Load { .. } | Instr::Constant(_) => {}
                _ if self.schedule.number[id] => loops[self.level[id]].before.push(id),
                _ => {}
            }
        }
        let kernel = self.kernel;
        let flat = self.schedule.flat;
        for store in kernel.stores.iter().filter(|s| s.full || flat) {
            let pointer = self.pointer(Pointer::Store {
                buffer: store.buffer,
                half: self.plan.is_half(store.buffer),
            });
            // What lies in the place of an operand is written when nothing reads the operand any more.
            let at = if store.in_place {
                last
            } else {
                self.level[store.value]
            };
            loops[at].roots.push(Root::Store(store.value, pointer));
        }
        for (number, acc) in kernel.accumulates.iter().enumerate() {
            if acc.full {
                let pointer = self.pointer(Pointer::Partial { accumulate: number });
                let root = Root::Accumulate(acc.value, pointer, acc.op);
                loops[self.level[acc.value]].roots.push(root);
            }
        }
        for at in (0..=last).rev() {
            let mut wanted: Vec<ValueId> = vec![];
            let roots = loops[at].roots.clone();
            let values = roots.iter().map(|root| match *root {
                Root::Reduce(id) => match self.kernel.instrs[id] {
                    Instr::Reduce(_, x) => x,
                    _ => id,
                },
                Root::Store(value, _) | Root::Accumulate(value, ..) => value,
            });
            let mut open: Vec<ValueId> = values.collect();
            while let Some(id) = open.pop() {
                if self.schedule.number[id] || wanted.contains(&id) {
                    continue;
                }
                if self.level[id] < at
                    && self.work[id] > REPEAT
                    && self.schedule.memory[id].is_none()
                {
                    let pointer = self.pointer(Pointer::Kept);
                    self.schedule.memory[id] = Some(pointer);
                    self.schedule.kept_at[id] = Some(self.level[id]);
                    let root = Root::Store(id, pointer);
                    loops[self.level[id]].roots.push(root);
                }
                wanted.push(id);
                if self.in_memory(id, at) {
                    continue;
                }
                match self.kernel.instrs[id] {
                    Instr::Unary(_, x) => open.push(x),
                    Instr::Binary(_, x, y) => open.extend([x, y]),
                    _ => {}
                }
            }
            wanted.retain(|id| !self.in_memory(*id, at));
            wanted.sort_unstable();
            loops[at].body = wanted;
        }
        self.schedule.loops = loops;
    }

    /// Whether a value can be read from memory in a loop.
    fn in_memory(&self, id: ValueId, at: usize) -> bool {
        self.schedule.memory[id].is_some() && self.schedule.kept_at[id].is_none_or(|l| at > l)
    }
}

/// How an operand of rows and columns is read.
fn operand((buffer, half): (usize, bool), access: &TileAccess, cols: usize, flat: bool) -> Pointer {
    if flat {
        return Pointer::Direct {
            buffer,
            half,
            offset: access.offset,
            stride: 1,
        };
    }
    let neighbours = match &access.cols[..] {
        [axis] => axis.stride == 1 && axis.size == cols && !axis.is_guarded(),
        _ => false,
    };
    if !neighbours {
        return Pointer::Copied {
            buffer,
            half,
            access: access.clone(),
        };
    }
    let stride = match &access.rows[..] {
        [] => Some(0),
        [axis] if !axis.is_guarded() && axis.stride >= 0 => Some(axis.stride as usize),
        _ => None,
    };
    match stride {
        Some(stride) => Pointer::Direct {
            buffer,
            half,
            offset: access.offset,
            stride,
        },
        None if access.rows.iter().any(Axis::is_guarded) => Pointer::Copied {
            buffer,
            half,
            access: access.clone(),
        },
        None => Pointer::Rows {
            buffer,
            half,
            access: access.clone(),
        },
    }
}
