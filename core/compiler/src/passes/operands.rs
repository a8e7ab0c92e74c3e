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
    let wanted = wanted(program);
    let mut copies: BTreeMap<BufferId, BufferId> = BTreeMap::new();
    let mut made_by: BTreeMap<BufferId, BufferId> = BTreeMap::new();
    for (original, first) in wanted {
        let len = program.buffers[original].len;
        let copy = program.buffers.len();
        program.buffers.push(Buffer {
            storage: Storage::Bf16,
            ..Buffer::single(len, Place::Arena { offset: 0 })
        });
        copies.insert(original, copy);
        if !beside(&mut program.steps[..first], original, copy) {
            made_by.insert(original, copy);
        }
    }
    let mut steps = Vec::with_capacity(program.steps.len() + made_by.len());
    for mut step in std::mem::take(&mut program.steps) {
        let (scope, phase) = (step.scope.clone(), step.phase);
        if let Kernel::Gemm { a, b, .. } = &mut step.kernel {
            let rounded = |x: &BufferId| {
                let stored = program.buffers[*x].storage == Storage::Bf16;
                copies.get(x).copied().or(stored.then_some(*x))
            };
            // A product of values that all are single precision is left alone, unless both have a copy.
            if let (Some(left), Some(right)) = (rounded(a), rounded(b)) {
                for operand in [*a, *b] {
                    if let Some(copy) = made_by.remove(&operand) {
                        steps.push(Step {
                            kernel: rounding(operand, copy, program.buffers[operand].len),
                            scope: scope.clone(),
                            phase,
                        });
                    }
                }
                (*a, *b) = (left, right);
            }
        }
        steps.push(step);
    }
    program.steps = steps;
}

/// Operands that need a copy, with the first product that does not do without.
fn wanted(program: &Program) -> BTreeMap<BufferId, usize> {
    let is_rounded = |id: BufferId| program.buffers[id].storage == Storage::Bf16;
    let mut wanted = BTreeMap::new();
    for (number, step) in program.steps.iter().enumerate() {
        let Kernel::Gemm { a, b, c, .. } = &step.kernel else {
            continue;
        };
        if [*a, *b, *c].into_iter().any(is_rounded) {
            for operand in [*a, *b].into_iter().filter(|x| !is_rounded(*x)) {
                wanted.entry(operand).or_insert(number);
            }
        }
    }
    wanted
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
