//! Pass `operands`: rounded copies, for libraries whose products read both operands in one format.
//!
//! A product with a rounded operand or result reads bfloat16 only. What else it reads gets a copy that is
//! rounded once, whoever reads it: by the row kernel that makes the value, beside the value itself, or, for
//! parameters and what no row kernel makes, by a kernel before the first product that reads it. The copy
//! of a parameter waits for the last of its readers, in the backward. A backend that rounds operands itself
//! computes the same numbers without this pass.
//!
//! Owns: which copies there are, who makes them, who reads them. Must not know: which buffers are rounded
//! ([`super::storage`] says so before), any library.

use crate::access::Axis;
use crate::program::{
    Buffer, BufferId, Instr, Kernel, Place, Program, RowKernel, Span, Step, Storage, Store,
    TileAccess,
};
use std::collections::BTreeMap;

/// Runs the pass.
pub fn run(program: &mut Program) {
    let copies = copies(program);
    let mut first_reader: BTreeMap<BufferId, usize> = BTreeMap::new();
    for (number, step) in program.steps.iter_mut().enumerate() {
        let Kernel::Gemm { a, b, .. } = &mut step.kernel else {
            continue;
        };
        let rounded = |x: &BufferId| {
            let stored = program.buffers[*x].storage == Storage::Bf16;
            copies.get(x).copied().or(stored.then_some(*x))
        };
        // A product of values that all are single precision is left alone, unless both have a copy.
        if let (Some(left), Some(right)) = (rounded(a), rounded(b)) {
            for operand in [*a, *b].into_iter().filter(|x| copies.contains_key(x)) {
                first_reader.entry(operand).or_insert(number);
            }
            (*a, *b) = (left, right);
        }
    }
    let mut added: Vec<(usize, Step)> = vec![];
    for (original, first) in first_reader {
        let copy = copies[&original];
        if !beside(&mut program.steps[..first], original, copy) {
            let len = program.buffers[original].len;
            let step = Step {
                kernel: rounding(original, copy, len),
                scope: program.steps[first].scope.clone(),
                phase: program.steps[first].phase,
            };
            added.push((before_group(program, original, first), step));
        }
    }
    insert(program, added);
}

/// Adds buffers for the rounded copies of those operands that some product does not do without.
fn copies(program: &mut Program) -> BTreeMap<BufferId, BufferId> {
    let is_rounded = |id: BufferId| program.buffers[id].storage == Storage::Bf16;
    let mut wanted: Vec<BufferId> = vec![];
    for step in &program.steps {
        if let Kernel::Gemm { a, b, c, .. } = step.kernel {
            if [a, b, c].into_iter().any(is_rounded) {
                wanted.extend([a, b].into_iter().filter(|x| !is_rounded(*x)));
            }
        }
    }
    let mut copies = BTreeMap::new();
    for original in wanted {
        let len = program.buffers[original].len;
        copies.entry(original).or_insert_with(|| {
            program.buffers.push(Buffer {
                storage: Storage::Bf16,
                ..Buffer::single(len, Place::Arena { offset: 0 })
            });
            program.buffers.len() - 1
        });
    }
    copies
}

/// Where a kernel that rounds a whole buffer goes: before the reader, or the group that the reader is in. A
/// group that makes the buffer itself is none any more.
fn before_group(program: &mut Program, original: BufferId, reader: usize) -> usize {
    let inside = program
        .groups
        .iter()
        .position(|g| g.steps.contains(&reader));
    let Some(group) = inside else {
        return reader;
    };
    let steps = program.groups[group].steps.clone();
    let makes = |step: &Step| step.kernel.writes().contains(&original);
    if program.steps[steps.clone()].iter().any(makes) {
        program.groups.remove(group);
        return reader;
    }
    steps.start
}

/// Inserts steps before those with these numbers.
fn insert(program: &mut Program, mut added: Vec<(usize, Step)>) {
    added.sort_by_key(|(before, _)| *before);
    for group in &mut program.groups {
        let moved = added
            .iter()
            .filter(|(b, _)| *b <= group.steps.start)
            .count();
        group.steps = group.steps.start + moved..group.steps.end + moved;
    }
    let mut added = added.into_iter().peekable();
    let mut steps = Vec::with_capacity(program.steps.len() + added.len());
    for (number, step) in std::mem::take(&mut program.steps).into_iter().enumerate() {
        while let Some((_, step)) = added.next_if(|(before, _)| *before == number) {
            steps.push(step);
        }
        steps.push(step);
    }
    program.steps = steps;
}

/// Lets the row kernel that makes a value write the copy too; false where none of these steps is one.
fn beside(steps: &mut [Step], original: BufferId, copy: BufferId) -> bool {
    for step in steps {
        let Kernel::Row(kernel) = &mut step.kernel else {
            continue;
        };
        if let Some(store) = kernel.stores.iter().find(|s| s.buffer == original) {
            let store = Store {
                buffer: copy,
                in_place: false,
                ..*store
            };
            kernel.stores.push(store);
            return true;
        }
    }
    false
}

/// A kernel that rounds a whole buffer.
fn rounding(from: BufferId, to: BufferId, len: usize) -> Kernel {
    let access = TileAccess {
        rows: vec![Axis::new(1, 0)],
        cols: vec![Axis::new(len, 1)],
        offset: 0,
    };
    Kernel::Row(RowKernel {
        rows: 1,
        cols: len,
        instrs: vec![Instr::Load {
            buffer: from,
            access,
        }],
        spans: vec![Span::Full],
        stores: vec![Store {
            value: 0,
            buffer: to,
            full: true,
            in_place: false,
        }],
        accumulates: vec![],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Formats;
    use ablate_graph::Graph;

    const ALIKE: Formats = Formats {
        activations: Storage::Bf16,
        operands_alike: true,
    };

    /// Two products of `x + x` with the same weight, one of them of a value that is rounded.
    fn program(formats: Formats) -> Program {
        let mut g = Graph::new();
        let x = g.input("x", &[64, 64]).expect("fits");
        let w = g.parameter("w", &[64, 64]).expect("fits");
        let x = g.add(&x, &x).expect("fits");
        let h = g.linear(&x, &w, None).expect("fits");
        let h = g.gelu(&h).expect("fits");
        let y = g.linear(&h, &w, None).expect("fits");
        let y = g.add(&y, &x).expect("fits");
        g.output("y", &y).expect("new");
        crate::compile_with(&g.lower().expect("lowers"), formats).expect("compiles")
    }

    #[test]
    fn a_copy_is_made_once_and_both_operands_are_rounded() {
        let program = program(ALIKE);
        let is_rounded = |id: BufferId| program.buffers[id].storage == Storage::Bf16;
        let kinds: Vec<&str> = program.steps.iter().map(|s| s.kernel.kind()).collect();
        // The sum with its copy, the weight's copy, and no other for the second product.
        let expected = [
            "elementwise",
            "elementwise",
            "gemm",
            "elementwise",
            "gemm",
            "elementwise",
        ];
        assert_eq!(kinds, expected, "{program}");
        let sum = program.steps.iter().find(|s| s.kernel.writes().len() == 2);
        let written = sum.expect("the sum").kernel.writes();
        assert!(
            !is_rounded(written[0]) && is_rounded(written[1]),
            "{program}"
        );
        let mut weights = vec![];
        for step in &program.steps {
            if let Kernel::Gemm { a, b, c, .. } = step.kernel {
                assert!(is_rounded(a) && is_rounded(b) && is_rounded(c), "{program}");
                weights.push(b);
            }
        }
        assert_eq!(weights[0], weights[1], "{program}");
    }

    /// Batched products of one number a step, and who may run block by block.
    fn grouped(weight_is_made_inside: bool) -> Program {
        use crate::ir::{Gemm, Level};
        use crate::program::{Group, Local};
        let level = |size, a, b, c| Level { size, a, b, c };
        let gemm = || Gemm {
            batch: vec![level(2, 1, 1, 1)],
            m: level(1, 0, 0, 0),
            n: level(1, 0, 0, 0),
            k: level(1, 0, 0, 0),
            offset: [0, 0],
        };
        let buffer = |storage| Buffer {
            storage,
            ..Buffer::single(2, Place::Arena { offset: 0 })
        };
        let product = |a, b, c| Step {
            kernel: Kernel::Gemm {
                gemm: gemm(),
                a,
                b,
                c,
            },
            scope: "test".into(),
            phase: ablate_graph::ir::Phase::Forward,
        };
        let singles = [0, 1, 2].map(|_| buffer(Storage::F32));
        let rounded = [3, 4].map(|_| buffer(Storage::Bf16));
        let local = Local {
            buffer: 2,
            len: 1,
            offset: 0,
        };
        Program {
            buffers: singles.into_iter().chain(rounded).collect(),
            // 2 is made of single precision only, in the group or before it.
            steps: vec![product(0, 1, 2), product(0, 1, 2), product(2, 3, 4)],
            groups: vec![Group {
                steps: if weight_is_made_inside { 1..3 } else { 2..3 },
                blocks: 2,
                locals: vec![local],
                local_len: 1,
            }],
            ..Program::default()
        }
    }

    #[test]
    fn groups_stay_where_no_copy_must_be_made_inside() {
        let mut outside = grouped(false);
        run(&mut outside);
        assert_eq!(outside.groups[0].steps, 3..4);
        assert_eq!(outside.steps[2].kernel.kind(), "elementwise");
        let mut inside = grouped(true);
        run(&mut inside);
        assert!(inside.groups.is_empty());
        assert_eq!(inside.steps[2].kernel.kind(), "elementwise");
    }

    #[test]
    fn what_the_products_read_alone_needs_no_copy() {
        let count = |formats| program(formats).steps.len();
        let plain = program(Storage::Bf16.into());
        assert_eq!(count(ALIKE), plain.steps.len() + 1, "{plain}");
        // Without rounded values there is nothing to copy.
        let single = Formats {
            activations: Storage::F32,
            operands_alike: true,
        };
        assert_eq!(count(single), count(Formats::default()));
    }
}
