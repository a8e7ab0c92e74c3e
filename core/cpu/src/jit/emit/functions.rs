//! Instructions of the mathematical functions and of the reductions.
//!
//! Owns: what each becomes, step for step as the interpreter computes it, so that the bits are the same.
//! Must not know: loops, where values lie.

use super::{Emitter, EXP2, LOG2, ONE, ZERO};
use crate::jit::assembler::{compare, ops, Operand, Zmm, ALL};
use ablate_compiler::ir::{Reduction, Unary};

impl Emitter<'_> {
    /// The function of a register that may be overwritten.
    pub(super) fn unary(&mut self, op: Unary, x: Zmm) -> Option<Zmm> {
        match op {
            Unary::Sqrt => self.asm.unary(ops::SQRT, x, Operand::Register(x)),
            Unary::Recip => {
                let one = self.constant_register(ONE)?;
                self.asm.binary(ops::DIV, x, one, Operand::Register(x));
                self.give(one);
            }
            Unary::Exp2 => self.exp2(x)?,
            Unary::Log2 => self.log2(x)?,
            Unary::Sin => return None,
        }
        Some(x)
    }

    /// [`crate::math::exp2`], step for step; `vscalefps` is the multiplication by its two powers.
    fn exp2(&mut self, x: Zmm) -> Option<()> {
        let r = Operand::Register;
        // The second operand is the result where one is NaN.
        for (op, bound) in [(ops::MIN, 2), (ops::MAX, 3)] {
            let bound = self.constant_register(bound)?;
            self.asm.binary(op, x, bound, r(x));
            self.give(bound);
        }
        let (whole, p) = (self.take()?, self.constant_register(EXP2)?);
        let magic = self.constant(4);
        self.asm.binary(ops::ADD, whole, x, magic);
        let magic = self.constant(4);
        self.asm.binary(ops::SUB, whole, whole, magic);
        self.asm.binary(ops::SUB, x, x, r(whole));
        for c in 1..6 {
            self.asm.binary(ops::MUL, p, p, r(x));
            let c = self.constant(EXP2 + c);
            self.asm.binary(ops::ADD, p, p, c);
        }
        self.asm.binary(ops::MUL, p, p, r(x));
        let one = self.constant(ONE);
        self.asm.binary(ops::ADD, p, p, one);
        self.asm.binary(ops::SCALE, x, p, r(whole));
        self.give(whole);
        self.give(p);
        Some(())
    }

    /// [`crate::math::log2`], step for step.
    fn log2(&mut self, x: Zmm) -> Option<()> {
        let r = Operand::Register;
        let (small, any) = (self.mask(), self.second_mask()?);
        let (y, bias, f) = (self.take()?, self.take()?, self.take()?);
        // Subnormals are scaled up first.
        let least = self.constant(8);
        self.asm.compare(small, compare::LESS, x, least);
        self.asm.load(y, r(x), ALL);
        let factor = self.constant(9);
        self.asm.binary_masked(ops::MUL, y, small, x, factor);
        let twenty_three = self.constant_register(10)?;
        self.asm.select(bias, small, twenty_three);
        self.give(twenty_three);
        // Exponent and mantissa.
        let root = self.constant(11);
        self.asm.binary(ops::INT_SUB, y, y, root);
        let low = self.constant(12);
        self.asm.binary(ops::INT_AND, f, y, low);
        let root = self.constant(11);
        self.asm.binary(ops::INT_ADD, f, f, root);
        let one = self.constant(ONE);
        self.asm.binary(ops::SUB, f, f, one);
        self.asm.shift_right(y, y, 23);
        self.asm.unary(ops::INT_TO_FLOAT, y, r(y));
        self.asm.binary(ops::SUB, y, y, r(bias));
        let p = self.constant_register(LOG2)?;
        for c in 1..10 {
            self.asm.binary(ops::MUL, p, p, r(f));
            let c = self.constant(LOG2 + c);
            self.asm.binary(ops::ADD, p, p, c);
        }
        self.asm.binary(ops::MUL, p, p, r(f));
        self.asm.binary(ops::ADD, p, p, r(y));
        // Infinity, zero, negatives and NaN.
        let infinity = self.constant(5);
        self.asm.compare(any, compare::EQUAL, x, infinity);
        self.asm.binary_masked(ops::BLEND, p, any, p, r(x));
        let zero = self.constant(ZERO);
        self.asm.compare(any, compare::EQUAL, x, zero);
        let negative = self.constant(6);
        self.asm.binary_masked(ops::BLEND, p, any, p, negative);
        let zero = self.constant(ZERO);
        self.asm.compare(any, compare::GREATER_EQUAL, x, zero);
        let nan = self.constant_register(7)?;
        self.asm.binary_masked(ops::BLEND, x, any, nan, r(p));
        for register in [y, bias, f, p, nan] {
            self.give(register);
        }
        Some(())
    }

    /// `sum = sum op x` in the lanes of the current vector.
    pub(super) fn accumulate(&mut self, op: Reduction, sum: Zmm, x: Zmm) -> Option<()> {
        let mask = self.tail;
        match op {
            Reduction::Sum => {
                self.asm
                    .binary_masked(ops::ADD, sum, mask, sum, Operand::Register(x));
            }
            Reduction::Max => {
                let rival = self.take()?;
                if mask == ALL {
                    self.asm.load(rival, Operand::Register(x), ALL);
                } else {
                    // Lanes that do not exist lose.
                    self.asm.load(rival, Operand::Register(sum), ALL);
                    self.asm
                        .binary_masked(ops::BLEND, rival, mask, sum, Operand::Register(x));
                }
                self.greater(sum, rival)?;
                self.give(rival);
            }
        }
        Some(())
    }

    /// `a = the greater of a and b`; a NaN stays, as in [`crate::vector::greater`].
    fn greater(&mut self, a: Zmm, b: Zmm) -> Option<()> {
        let (above, nan) = (self.mask(), self.second_mask()?);
        self.asm
            .compare(above, compare::GREATER, a, Operand::Register(b));
        self.asm
            .compare(nan, compare::UNORDERED, a, Operand::Register(a));
        self.asm.mask_or(above, above, nan);
        self.asm
            .binary_masked(ops::BLEND, a, above, b, Operand::Register(a));
        Some(())
    }

    /// The 64 lanes of a reduction to the first: halves added to halves, as the interpreter does.
    pub(super) fn fold(&mut self, op: Reduction, [a, b, c, d]: [Zmm; 4]) -> Option<()> {
        let join = |e: &mut Self, x: Zmm, y: Zmm| {
            match op {
                Reduction::Sum => e.asm.binary(ops::ADD, x, x, Operand::Register(y)),
                Reduction::Max => e.greater(x, y)?,
            }
            Some(())
        };
        join(self, a, c)?;
        join(self, b, d)?;
        join(self, a, b)?;
        for (op, lanes) in [
            (ops::SHUFFLE_LANES, 0x4e),
            (ops::SHUFFLE_LANES, 0xb1),
            (ops::SHUFFLE, 0x4e),
            (ops::SHUFFLE, 0xb1),
        ] {
            self.asm.immediate(op, b, a, Operand::Register(a), lanes);
            join(self, a, b)?;
        }
        Some(())
    }
}
