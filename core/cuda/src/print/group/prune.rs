//! What of a group each of its kernels does.
//!
//! The first kernel has whole rows: it does everything but the sums along columns. The second has whole columns: it
//! makes again what those sums read. Reductions of rows it cannot make, so the first leaves them in scratch memory.
//! Owns: that division. Must not know: CUDA.

use super::super::analysis::{is_element, Analysis};
use super::plan::{loads, Part, Plan};
use ablate_compiler::access::Axis;
use ablate_compiler::program::{BufferId, Instr, RowKernel, Span, Store, TileAccess, ValueId};
use std::collections::BTreeSet;

/// The parts of both kernels.
pub struct Divided {
    /// Of the kernel that has whole rows.
    pub by_rows: Vec<Part>,
    /// Of the kernel that has whole columns; empty if nothing is summed along columns.
    pub by_columns: Vec<Part>,
    /// Elements of scratch memory between them.
    pub scratch: usize,
}

/// One number a row, in scratch memory.
struct Scratch {
    /// The id that stands for its start.
    first: BufferId,
    /// Rows of all blocks.
    rows: usize,
    /// Elements so far.
    used: usize,
}

impl Scratch {
    /// Room for one number a row.
    fn take(&mut self) -> BufferId {
        let id = self.first + self.used;
        self.used += self.rows.next_multiple_of(32);
        id
    }

    fn load(&self, buffer: BufferId) -> Instr {
        let access = TileAccess {
            rows: vec![Axis::new(self.rows, 1)],
            cols: vec![],
            offset: 0,
        };
        Instr::Load { buffer, access }
    }
}

/// A value of a part that is left for the other kernel.
struct Export {
    part: usize,
    value: ValueId,
    buffer: BufferId,
}

/// Divides a group. Ids from `buffers` on stand for elements of scratch memory.
pub fn divide(plan: &Plan, buffers: usize) -> Divided {
    let mut scratch = Scratch {
        first: buffers,
        rows: plan.blocks * plan.rows,
        used: 0,
    };
    let parts = with_numbers(plan, &mut scratch);
    let (by_columns, exports) = by_columns(plan, &parts, &mut scratch);
    Divided {
        by_rows: by_rows(plan, &parts, &exports),
        by_columns,
        scratch: scratch.used,
    }
}

/// The parts with local buffers of one number a row in scratch memory.
fn with_numbers(plan: &Plan, scratch: &mut Scratch) -> Vec<Part> {
    let mut parts = plan.parts.clone();
    for local in &plan.numbers {
        let id = scratch.take();
        for part in &mut parts {
            let Part::Rows(kernel) = part else { continue };
            for instr in &mut kernel.instrs {
                match instr {
                    Instr::Load { buffer, .. } if buffer == local => *buffer = id,
                    _ => {}
                }
            }
            let stores = kernel.stores.iter_mut();
            stores
                .filter(|s| s.buffer == *local)
                .for_each(|s| s.buffer = id);
        }
    }
    parts
}

fn by_columns(plan: &Plan, parts: &[Part], scratch: &mut Scratch) -> (Vec<Part>, Vec<Export>) {
    let mut wanted: BTreeSet<BufferId> = BTreeSet::new();
    let (mut kept, mut exports) = (vec![], vec![]);
    for (number, part) in parts.iter().enumerate().rev() {
        let part = match part {
            Part::AlongColumns(sum) => {
                wanted.insert(sum.tile);
                part.clone()
            }
            Part::Make(make) if wanted.contains(&make.tile) => part.clone(),
            Part::Rows(kernel) => {
                let mut kernel = kernel.clone();
                kernel.stores.retain(|s| wanted.contains(&s.buffer));
                if kernel.stores.is_empty() {
                    continue;
                }
                exports.extend(unreduced(&mut kernel, number, scratch));
                want(plan, &kernel, &mut wanted);
                Part::Rows(kernel)
            }
            _ => continue,
        };
        kept.push(part);
    }
    kept.reverse();
    (kept, exports)
}

/// Has a kernel load its reductions instead of making them; which are now to be left for it.
fn unreduced(kernel: &mut RowKernel, part: usize, scratch: &mut Scratch) -> Vec<Export> {
    let reductions: Vec<ValueId> = kernel
        .instrs
        .iter()
        .enumerate()
        .filter(|(_, i)| matches!(i, Instr::Reduce(_, x) if is_element(kernel, *x)))
        .map(|(id, _)| id)
        .collect();
    for value in &reductions {
        kernel.instrs[*value] = scratch.load(scratch.first);
        kernel.spans[*value] = Span::Row;
    }
    let live = Analysis::new(kernel, false).live;
    let mut exports = vec![];
    for value in reductions.into_iter().filter(|v| live[*v]) {
        let buffer = scratch.take();
        kernel.instrs[value] = scratch.load(buffer);
        exports.push(Export {
            part,
            value,
            buffer,
        });
    }
    exports
}

fn by_rows(plan: &Plan, parts: &[Part], exports: &[Export]) -> Vec<Part> {
    let mut wanted: BTreeSet<BufferId> = BTreeSet::new();
    let mut kept = vec![];
    for (number, part) in parts.iter().enumerate().rev() {
        let part = match part {
            Part::AlongRows(sum) => {
                wanted.insert(sum.tile);
                part.clone()
            }
            Part::Make(make) if wanted.contains(&make.tile) => part.clone(),
            Part::Rows(kernel) => {
                let mut kernel = kernel.clone();
                let needed =
                    |s: &Store| !plan.tiles.contains_key(&s.buffer) || wanted.contains(&s.buffer);
                kernel.stores.retain(needed);
                let exports = exports.iter().filter(|e| e.part == number);
                kernel.stores.extend(exports.map(|e| Store {
                    value: e.value,
                    buffer: e.buffer,
                    full: false,
                    in_place: false,
                }));
                if kernel.stores.is_empty() {
                    continue;
                }
                want(plan, &kernel, &mut wanted);
                Part::Rows(kernel)
            }
            _ => continue,
        };
        kept.push(part);
    }
    kept.reverse();
    kept
}

/// Tiles that a kernel reads.
fn want(plan: &Plan, kernel: &RowKernel, wanted: &mut BTreeSet<BufferId>) {
    let live = Analysis::new(kernel, false).live;
    wanted.extend(loads(kernel, &live).filter(|b| plan.tiles.contains_key(b)));
}
