//! Two row kernels of one grid as one.
//!
//! Owns: instructions that both have are made once, and what the first stores and the second loads stays
//! in a register. Must not know: which kernels are worth joining.

use super::blocks::same_position;
use crate::program::{Instr, RowKernel, Span, ValueId};

/// Appends `later` to `earlier`; no third kernel may lie between them.
pub fn merge(earlier: &mut RowKernel, later: &RowKernel) {
    // Values of the first kernel by what they are, for look-up.
    let mut renamed: Vec<ValueId> = Vec::with_capacity(later.instrs.len());
    for (instr, span) in later.instrs.iter().zip(&later.spans) {
        let mut instr = instr.clone();
        match &mut instr {
            Instr::Unary(_, x) | Instr::Reduce(_, x) => *x = renamed[*x],
            Instr::Binary(_, x, y) => (*x, *y) = (renamed[*x], renamed[*y]),
            _ => {}
        }
        let known = stored(earlier, &instr).or_else(|| {
            earlier
                .instrs
                .iter()
                .zip(&earlier.spans)
                .position(|(i, s)| same(i, &instr) && s == span)
        });
        renamed.push(known.unwrap_or(earlier.instrs.len()));
        if known.is_none() {
            earlier.instrs.push(instr);
            earlier.spans.push(*span);
        }
    }
    let stores = later.stores.iter().map(|s| crate::program::Store {
        value: renamed[s.value],
        ..*s
    });
    earlier.stores.extend(stores);
    let accumulates = later
        .accumulates
        .iter()
        .map(|a| crate::program::Accumulate {
            value: renamed[a.value],
            ..*a
        });
    earlier.accumulates.extend(accumulates);
}

/// Whether two instructions make the same bits.
fn same(a: &Instr, b: &Instr) -> bool {
    match (a, b) {
        (Instr::Constant(x), Instr::Constant(y)) => x.to_bits() == y.to_bits(),
        _ => a == b,
    }
}

/// The value that an instruction would load because the kernel stored it there.
fn stored(kernel: &RowKernel, instr: &Instr) -> Option<ValueId> {
    let Instr::Load { buffer, access } = instr else {
        return None;
    };
    let store = kernel.stores.iter().find(|s| s.buffer == *buffer)?;
    let span = kernel.spans[store.value];
    // With one column, one number a row is all there is.
    let whole = match store.full {
        true => span == Span::Full,
        false => span == Span::Row,
    };
    (whole && same_position(kernel, access, store.full)).then_some(store.value)
}
