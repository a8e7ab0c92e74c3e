//! Row kernels of one grid as one.
//!
//! Owns: which kernels of a group can be joined, and joining them: instructions that both have are made once, and
//! what the first stores and the second loads stays in a register. Must not know: how groups are found.

use super::blocks::{same_position, Found};
use crate::program::{BufferId, Instr, Kernel, Program, RowKernel, Span, ValueId};
use std::collections::BTreeSet;

/// Joins row kernels of one grid, where no other step comes between them.
pub fn join_rows(program: &mut Program, group: &mut Found, needs: &mut [Vec<usize>]) {
    loop {
        let pair = pairs(program, group)
            .into_iter()
            .find(|(first, second)| joinable(needs, *first, *second));
        let Some((first, second)) = pair else { return };
        let Kernel::Row(mut earlier) = std::mem::replace(
            &mut program.steps[first].kernel,
            // Nothing, until the steps are put in order.
            Kernel::Row(RowKernel::default()),
        ) else {
            return;
        };
        if let Kernel::Row(later) = &program.steps[second].kernel {
            merge(&mut earlier, later);
        }
        program.steps[second].kernel = Kernel::Row(earlier);
        group.steps.remove(&first);
        // Who waited for the first waits for both.
        let of_first = std::mem::take(&mut needs[first]);
        needs[second].extend(of_first);
        for list in needs.iter_mut() {
            list.iter_mut()
                .filter(|n| **n == first)
                .for_each(|n| *n = second);
        }
        needs[second].retain(|n| *n != second);
        // What only the joined kernel itself read is no longer stored.
        let steps = &program.steps;
        let read: BTreeSet<BufferId> = steps.iter().flat_map(|s| s.kernel.reads()).collect();
        group.locals.retain(|b| read.contains(b));
        let unread = |b: BufferId| !read.contains(&b) && program.outputs.iter().all(|o| o.1 != b);
        if let Kernel::Row(kernel) = &mut program.steps[second].kernel {
            kernel.stores.retain(|s| !unread(s.buffer));
        }
    }
}

/// Row kernels of the group with the same grid, earlier one first.
fn pairs(program: &Program, group: &Found) -> Vec<(usize, usize)> {
    let grid = |s: usize| match &program.steps[s].kernel {
        Kernel::Row(kernel) => Some((kernel.rows, kernel.cols)),
        _ => None,
    };
    let steps: Vec<usize> = group.steps.iter().copied().collect();
    let mut pairs = vec![];
    for (i, first) in steps.iter().enumerate() {
        for second in &steps[i + 1..] {
            if grid(*first).is_some() && grid(*first) == grid(*second) {
                pairs.push((*first, *second));
            }
        }
    }
    pairs
}

/// Whether the second may run at once with the first: no third step waits for the first while the second
/// waits for it, nor does the first wait for the second.
fn joinable(needs: &[Vec<usize>], first: usize, second: usize) -> bool {
    let indirect = needs[second]
        .iter()
        .any(|n| *n != first && waits(needs, *n, first));
    !indirect && !waits(needs, first, second)
}

/// Whether one step comes after another, or is it.
fn waits(needs: &[Vec<usize>], step: usize, before: usize) -> bool {
    let mut open = vec![step];
    let mut seen = BTreeSet::new();
    while let Some(next) = open.pop() {
        if next == before {
            return true;
        }
        if seen.insert(next) {
            open.extend(&needs[next]);
        }
    }
    false
}

/// Appends `later` to `earlier`; no third kernel may lie between them.
fn merge(earlier: &mut RowKernel, later: &RowKernel) {
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
