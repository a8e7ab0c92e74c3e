//! In which loop over the columns each value of a row kernel is made.
//!
//! A reduction is known only when its loop has ended, so what depends on it belongs to a later loop.
//! Owns: levels, liveness, and which values wait from one loop for another. Must not know: CUDA.

use ablate_compiler::program::{Instr, RowKernel, Span, ValueId};

/// What is decided about the values of a kernel.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// The number of reductions that must have ended before the value can be made.
    pub level: Vec<usize>,
    /// The loop that makes a value of one number a column.
    pub at: Vec<usize>,
    /// Loops that read such a value, its own among them.
    pub uses: Vec<Vec<usize>>,
    /// Whether anything needs the value.
    pub live: Vec<bool>,
    /// Loops over the columns.
    pub loops: usize,
}

/// True for values of one number a column, true too for one a row and column.
pub fn is_element(kernel: &RowKernel, id: ValueId) -> bool {
    matches!(kernel.spans[id], Span::Column | Span::Full)
}

/// The operands of an instruction.
pub fn operands(instr: &Instr) -> Vec<ValueId> {
    match instr {
        Instr::Unary(_, x) | Instr::Reduce(_, x) => vec![*x],
        Instr::Binary(_, x, y) => vec![*x, *y],
        _ => vec![],
    }
}

impl Analysis {
    /// Analyses a kernel. `only_reductions`: stores and accumulations are left to another kernel.
    pub fn new(kernel: &RowKernel, only_reductions: bool) -> Self {
        let count = kernel.instrs.len();
        let mut level = vec![0; count];
        for (id, instr) in kernel.instrs.iter().enumerate() {
            let of_operands = operands(instr).into_iter().map(|x| level[x]).max();
            level[id] = match instr {
                Instr::Reduce(_, x) if is_element(kernel, *x) => level[*x] + 1,
                _ => of_operands.unwrap_or(0),
            };
        }
        let mut live = vec![false; count];
        let mut uses: Vec<Vec<usize>> = vec![vec![]; count];
        let reduced = kernel.instrs.iter().filter_map(|i| match i {
            Instr::Reduce(_, x) if is_element(kernel, *x) => Some(*x),
            _ => None,
        });
        let stored = kernel.stores.iter().map(|s| (s.value, s.full, s.in_place));
        let accumulated = kernel.accumulates.iter().map(|a| (a.value, a.full, false));
        let written: Vec<(ValueId, bool, bool)> = stored.chain(accumulated).collect();
        let full = written.iter().filter(|w| w.1).map(|w| w.0);
        let loops = reduced.chain(full).map(|x| level[x] + 1).max().unwrap_or(0);
        if only_reductions {
            let reductions = kernel.instrs.iter().map(|i| matches!(i, Instr::Reduce(..)));
            live = reductions.collect();
        } else {
            for (value, full, in_place) in written {
                live[value] = true;
                if full {
                    // What lies where an operand did is written when the last loop has read it.
                    uses[value].push(if in_place { loops - 1 } else { level[value] });
                }
            }
        }
        let mut at = vec![0; count];
        for id in (0..count).rev() {
            if !live[id] {
                continue;
            }
            let element = is_element(kernel, id);
            if element {
                at[id] = uses[id].iter().copied().min().unwrap_or(level[id]);
                if uses[id].is_empty() {
                    uses[id].push(at[id]);
                }
            }
            let reduced = matches!(kernel.instrs[id], Instr::Reduce(..));
            for x in operands(&kernel.instrs[id]) {
                live[x] = true;
                if is_element(kernel, x) {
                    let reader = if reduced { level[x] } else { at[id] };
                    uses[x].push(reader);
                }
            }
        }
        Analysis {
            level,
            at,
            uses,
            live,
            loops,
        }
    }

    /// Values that a later loop than their own reads.
    pub fn waits(&self, id: ValueId) -> bool {
        self.live[id] && self.uses[id].iter().any(|l| *l > self.at[id])
    }
}
