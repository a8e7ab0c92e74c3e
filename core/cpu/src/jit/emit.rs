//! Code for the loops of a schedule.
//!
//! Owns: registers, and the instructions that each operation becomes. Must not know: buffers, rows.
//!
//! The function gets the pointers of the row, the numbers (one for each instruction of the kernel, then
//! constants of the mathematical functions) and the bytes of the row. A loop handles 64 columns at a
//! time, as four vectors, each with its own partial result of every reduction: the 64 lanes that the
//! interpreter sums in. The instructions of the four, or of two and two, alternate as far as there are
//! registers.

mod functions;

use super::assembler::{
    compare, ops, Address, Assembler, Gpr, Mask, Op, Operand, Zmm, ALL, RAX, RCX, RDI, RDX, RSI,
};
use super::schedule::{Loop, PointerId, Root, Schedule};
use crate::math::coefficients;
use ablate_compiler::ir::{Binary, Reduction};
use ablate_compiler::program::{Instr, RowKernel, ValueId};

/// Two for each column of a vector, and of the 64 columns that a turn of a loop handles: what the column
/// register counts, so that it is added once for bfloat16 numbers and twice for single precision.
const VECTOR: i32 = 32;
const TURN: i32 = 4 * VECTOR;
/// Registers that hold the first pointers of a loop; others are loaded when needed.
const HOLD: [Gpr; 3] = [Gpr(8), Gpr(9), Gpr(10)];
/// Lanes that exist in the last vector of a row.
const TAIL: Mask = Mask(1);

/// Constants of the mathematical functions, after the numbers of the kernel.
pub const CONSTANTS: [f32; 30] = {
    let e = coefficients::EXP2;
    let l = coefficients::LOG2;
    [
        0.0,
        1.0,
        128.0,
        -151.0,
        MAGIC,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MIN_POSITIVE,
        8_388_608.0,
        23.0,
        f32::from_bits(ROOT_HALF),
        f32::from_bits(0x007f_ffff),
        e[0],
        e[1],
        e[2],
        e[3],
        e[4],
        e[5],
        l[0],
        l[1],
        l[2],
        l[3],
        l[4],
        l[5],
        l[6],
        l[7],
        l[8],
        l[9],
        0.0,
    ]
};
const MAGIC: f32 = crate::math::MAGIC;
const ROOT_HALF: u32 = crate::math::ROOT_HALF;
const ZERO: usize = 0;
const ONE: usize = 1;
const EXP2: usize = 13;
const LOG2: usize = 19;
/// Where the number of columns is put, as a float.
pub const COLUMNS: usize = 29;

/// Appends the function of a kernel; `None` if it needs more registers than there are.
pub fn function(kernel: &RowKernel, schedule: &Schedule, asm: &mut Assembler) -> Option<()> {
    let mut emitter = Emitter {
        kernel,
        schedule,
        asm,
        free: vec![],
        held: vec![],
        place: vec![None; kernel.instrs.len()],
        tail: ALL,
        displacement: 0,
        lane: 0,
        woven: 1,
    };
    for part in &schedule.loops {
        emitter.free = (0..32).rev().map(Zmm).collect();
        emitter.numbers(part)?;
        emitter.columns(part)?;
    }
    emitter.asm.finish_function();
    Some(())
}

struct Emitter<'a> {
    kernel: &'a RowKernel,
    schedule: &'a Schedule,
    asm: &'a mut Assembler,
    free: Vec<Zmm>,
    /// Pointers in registers.
    held: Vec<(PointerId, Gpr)>,
    /// Register of each vector value.
    place: Vec<Option<Zmm>>,
    /// Mask of the vector that is worked on.
    tail: Mask,
    /// The vector within the turn, in the unit of the column register.
    displacement: i32,
    /// Number of the vector among those that alternate, and how many do.
    lane: u8,
    woven: u8,
}

impl Emitter<'_> {
    fn take(&mut self) -> Option<Zmm> {
        self.free.pop()
    }

    fn give(&mut self, register: Zmm) {
        self.free.push(register);
    }

    /// A mask register for a comparison.
    fn mask(&self) -> Mask {
        Mask(2 + self.lane)
    }

    /// A second one; there are not enough for four vectors.
    fn second_mask(&self) -> Option<Mask> {
        (self.woven <= 2).then_some(Mask(6 + self.lane))
    }

    fn slot(&self, number: usize) -> Address {
        Address {
            base: RSI,
            index: None,
            scale: 0,
            displacement: 4 * number as i32,
        }
    }

    fn constant(&self, which: usize) -> Operand {
        Operand::Broadcast(self.slot(self.kernel.instrs.len() + which))
    }

    /// A register with a constant in every lane.
    fn constant_register(&mut self, which: usize) -> Option<Zmm> {
        let register = self.take()?;
        let from = self.constant(which);
        self.asm.load(register, from, ALL);
        Some(register)
    }

    /// The vector at the current column behind a pointer.
    fn vector(&mut self, pointer: PointerId) -> Address {
        let held = self.held.iter().find(|h| h.0 == pointer);
        let base = match held {
            Some((_, register)) => *register,
            None => {
                self.asm.load_pointer(RAX, pointer_address(pointer));
                RAX
            }
        };
        let scale = u8::from(!self.schedule.pointers[pointer].is_half());
        Address {
            base,
            index: Some(RCX),
            scale,
            displacement: self.displacement << scale,
        }
    }

    /// The numbers that a loop and those after it use.
    fn numbers(&mut self, part: &Loop) -> Option<()> {
        for &id in &part.before {
            let operand = |e: &Self, x: ValueId| Operand::Broadcast(e.slot(x));
            let result = match self.kernel.instrs[id] {
                Instr::Unary(op, x) => {
                    let register = self.take()?;
                    let from = operand(self, x);
                    self.asm.load(register, from, ALL);
                    self.unary(op, register)?
                }
                Instr::Binary(op, x, y) => {
                    let register = self.take()?;
                    let from = operand(self, x);
                    self.asm.load(register, from, ALL);
                    let other = operand(self, y);
                    self.binary(op, register, register, other)?;
                    register
                }
                // Of a number: the number itself, or as many of it as there are columns.
                Instr::Reduce(op, x) => {
                    let register = self.take()?;
                    let from = operand(self, x);
                    self.asm.load(register, from, ALL);
                    if op == Reduction::Sum {
                        let columns = self.constant(COLUMNS);
                        self.asm.binary(ops::MUL, register, register, columns);
                    }
                    register
                }
                _ => continue,
            };
            let to = self.slot(id);
            self.asm.store_one(to, result);
            self.give(result);
        }
        Some(())
    }

    /// A loop over the columns.
    fn columns(&mut self, part: &Loop) -> Option<()> {
        if part.roots.is_empty() {
            return Some(());
        }
        // Four partial results for each reduction.
        let mut sums: Vec<(ValueId, Reduction, [Zmm; 4])> = vec![];
        for root in &part.roots {
            let Root::Reduce(id) = root else { continue };
            let Instr::Reduce(op, _) = self.kernel.instrs[*id] else {
                continue;
            };
            let start = match op {
                Reduction::Sum => ZERO,
                Reduction::Max => 6,
            };
            let mut lanes = [Zmm(0); 4];
            for lane in &mut lanes {
                *lane = self.constant_register(start)?;
            }
            sums.push((*id, op, lanes));
        }
        self.hold(part);
        let asm = &mut *self.asm;
        let (turn, tail, end) = (asm.label(), asm.label(), asm.label());
        asm.clear(RCX);
        asm.place(turn);
        // Is a whole turn left?
        asm.copy(RAX, RDX);
        asm.subtract(RAX, RCX);
        asm.add_value(RAX, -(TURN - 1));
        let zero = Gpr(11);
        asm.clear(zero);
        asm.compare_registers(RAX, zero);
        asm.jump_less_equal(tail);
        self.turn(part, &sums)?;
        self.asm.add_value(RCX, TURN);
        self.asm.copy(RAX, RDX);
        self.asm.compare_registers(RAX, RCX);
        self.asm.jump_greater(turn);
        self.asm.place(tail);
        self.displacement = 0;
        let known = (!self.schedule.flat).then_some(self.kernel.cols % 64);
        for j in 0..4 {
            if known.is_some_and(|rest| rest <= 16 * j) {
                break;
            }
            // Columns that are left, as a mask of lanes.
            self.asm.copy(RAX, RDX);
            self.asm.subtract(RAX, RCX);
            self.asm.clear(zero);
            self.asm.compare_registers(RAX, zero);
            self.asm.jump_less_equal(end);
            self.asm.lanes_of_bytes();
            self.asm.mask_from(TAIL, RAX);
            self.body(part, &sums, j, TAIL)?;
            self.asm.add_value(RCX, VECTOR);
        }
        self.asm.place(end);
        for (id, op, lanes) in sums {
            self.fold(op, lanes)?;
            let to = self.slot(id);
            self.asm.store_one(to, lanes[0]);
            lanes.into_iter().for_each(|lane| self.give(lane));
        }
        Some(())
    }

    /// Four vectors, as many of them at once as there are registers for.
    fn turn(&mut self, part: &Loop, sums: &[(ValueId, Reduction, [Zmm; 4])]) -> Option<()> {
        let free = self.free.clone();
        let start = self.asm.here();
        let done = [4, 2, 1].into_iter().find(|woven| {
            self.asm.forget(start);
            self.vectors(part, sums, *woven, &free).is_some()
        });
        (self.free, self.lane, self.woven) = (free, 0, 1);
        done.map(|_| ())
    }

    /// Four vectors, `woven` at once.
    fn vectors(
        &mut self,
        part: &Loop,
        sums: &[(ValueId, Reduction, [Zmm; 4])],
        woven: u8,
        free: &[Zmm],
    ) -> Option<()> {
        self.woven = woven;
        for first in (0..4).step_by(usize::from(woven)) {
            let mut sequences = vec![];
            for lane in 0..woven {
                let start = self.asm.here();
                let vector = first + usize::from(lane);
                let own = free.iter().skip(lane.into()).step_by(woven.into());
                self.free = own.copied().collect();
                self.lane = lane;
                self.displacement = vector as i32 * VECTOR;
                self.body(part, sums, vector, ALL)?;
                sequences.push(self.asm.cut(start));
            }
            self.asm.weave(&sequences);
        }
        Some(())
    }

    /// Loads the pointers of the loop that there are registers for.
    fn hold(&mut self, part: &Loop) {
        self.held.clear();
        let mut used: Vec<PointerId> = vec![];
        let mut note = |pointer: Option<PointerId>| {
            if let Some(p) = pointer {
                if !used.contains(&p) {
                    used.push(p);
                }
            }
        };
        for root in &part.roots {
            match *root {
                Root::Reduce(_) => {}
                Root::Store(_, p) | Root::Accumulate(_, p, _) => note(Some(p)),
            }
        }
        for &id in &part.body {
            let operands = match self.kernel.instrs[id] {
                Instr::Unary(_, x) => [Some(x), None],
                Instr::Binary(_, x, y) => [Some(x), Some(y)],
                _ => [None; 2],
            };
            operands
                .into_iter()
                .flatten()
                .for_each(|x| note(self.schedule.memory[x]));
        }
        for (pointer, register) in used.into_iter().zip(HOLD) {
            self.asm.load_pointer(register, pointer_address(pointer));
            self.held.push((pointer, register));
        }
    }

    /// One vector of columns.
    fn body(
        &mut self,
        part: &Loop,
        sums: &[(ValueId, Reduction, [Zmm; 4])],
        turn: usize,
        mask: Mask,
    ) -> Option<()> {
        self.tail = mask;
        self.place.fill(None);
        let mut uses = vec![0usize; self.kernel.instrs.len()];
        let operands = |id: ValueId| match self.kernel.instrs[id] {
            Instr::Unary(_, x) => vec![x],
            Instr::Binary(_, x, y) => vec![x, y],
            _ => vec![],
        };
        let root_value = |root: &Root| match *root {
            Root::Reduce(id) => match self.kernel.instrs[id] {
                Instr::Reduce(_, x) => x,
                _ => id,
            },
            Root::Store(value, _) | Root::Accumulate(value, ..) => value,
        };
        for &id in &part.body {
            operands(id).into_iter().for_each(|x| uses[x] += 1);
        }
        let roots: Vec<ValueId> = part.roots.iter().map(root_value).collect();
        roots.iter().for_each(|x| uses[*x] += 1);
        for &id in &part.body {
            let result = match self.kernel.instrs[id] {
                Instr::Unary(op, x) => {
                    let own = self.own(x, &mut uses)?;
                    self.unary(op, own)?
                }
                Instr::Binary(op, x, y) => self.pair(op, x, y, &mut uses)?,
                _ => continue,
            };
            if uses[id] > 0 {
                self.place[id] = Some(result);
            } else {
                self.give(result);
            }
        }
        // Every result is in a register before the first is written: a result may lie where an operand
        // did.
        for &value in &roots {
            self.register(value)?;
        }
        for (root, &value) in part.roots.iter().zip(&roots) {
            let from = self.register(value)?;
            match *root {
                Root::Reduce(id) => {
                    let sum = sums.iter().find(|s| s.0 == id)?;
                    self.accumulate(sum.1, sum.2[turn], from)?;
                }
                Root::Store(_, pointer) => {
                    let to = self.vector(pointer);
                    if self.schedule.pointers[pointer].is_half() {
                        let spare = self.take()?;
                        self.asm.store_half(to, from, spare, mask);
                        self.give(spare);
                    } else {
                        self.asm.store(to, from, mask);
                    }
                }
                Root::Accumulate(_, pointer, op) => {
                    let at = self.vector(pointer);
                    let sum = self.take()?;
                    self.asm.load(sum, Operand::Vector(at), mask);
                    self.accumulate(op, sum, from)?;
                    let to = self.vector(pointer);
                    self.asm.store(to, sum, mask);
                    self.give(sum);
                }
            }
            uses[value] -= 1;
            if uses[value] == 0 {
                if let Some(register) = self.place[value].take() {
                    self.give(register);
                }
            }
        }
        Some(())
    }

    /// The register of a vector value; one that is a number or in memory gets one while it has users.
    fn register(&mut self, id: ValueId) -> Option<Zmm> {
        if let Some(register) = self.place[id] {
            return Some(register);
        }
        let register = self.take()?;
        let from = self.memory(id)?;
        let mask = self.tail;
        match from {
            Operand::Vector(from) if self.is_half(id) => self.asm.load_half(register, from, mask),
            from => self.asm.load(register, from, mask),
        }
        self.place[id] = Some(register);
        Some(register)
    }

    /// Whether a value lies in memory as bfloat16.
    fn is_half(&self, id: ValueId) -> bool {
        let pointer = self.schedule.memory[id].filter(|_| !self.schedule.number[id]);
        pointer.is_some_and(|p| self.schedule.pointers[p].is_half())
    }

    /// Where a value that no register holds lies.
    fn memory(&mut self, id: ValueId) -> Option<Operand> {
        if self.schedule.number[id] {
            return Some(Operand::Broadcast(self.slot(id)));
        }
        let pointer = self.schedule.memory[id]?;
        Some(Operand::Vector(self.vector(pointer)))
    }

    /// One use of a value as a register that may be overwritten.
    fn own(&mut self, id: ValueId, uses: &mut [usize]) -> Option<Zmm> {
        let register = self.register(id)?;
        uses[id] -= 1;
        if uses[id] == 0 {
            self.place[id] = None;
            return Some(register);
        }
        let copy = self.take()?;
        self.asm.load(copy, Operand::Register(register), ALL);
        Some(copy)
    }

    /// One use of a value as the last operand of an instruction, and the register to give back after.
    fn last(&mut self, id: ValueId, uses: &mut [usize]) -> Option<(Operand, Option<Zmm>)> {
        // Read from memory where the instruction can, and nobody else needs it.
        let alone = uses[id] == 1 && self.tail == ALL && !self.is_half(id);
        let folds = self.schedule.number[id] || alone;
        if self.place[id].is_none() && folds {
            uses[id] -= 1;
            return Some((self.memory(id)?, None));
        }
        let register = self.register(id)?;
        uses[id] -= 1;
        if uses[id] == 0 {
            self.place[id] = None;
            return Some((Operand::Register(register), Some(register)));
        }
        Some((Operand::Register(register), None))
    }

    fn pair(&mut self, op: Binary, x: ValueId, y: ValueId, uses: &mut [usize]) -> Option<Zmm> {
        if x == y {
            let a = self.register(x)?;
            uses[x] -= 2;
            let dst = if uses[x] == 0 {
                self.place[x] = None;
                a
            } else {
                self.take()?
            };
            self.binary(op, dst, a, Operand::Register(a))?;
            return Some(dst);
        }
        let commutes = matches!(op, Binary::Add | Binary::Mul | Binary::Equal);
        let (x, y) = match (self.place[x], self.place[y]) {
            (None, Some(_)) if commutes => (y, x),
            (None, None) if commutes && self.schedule.number[x] => (y, x),
            _ => (x, y),
        };
        let a = self.register(x)?;
        uses[x] -= 1;
        let last = uses[x] == 0;
        if last {
            self.place[x] = None;
        }
        let (b, spent) = self.last(y, uses)?;
        let dst = if last { a } else { self.take()? };
        self.binary(op, dst, a, b)?;
        if let Some(register) = spent {
            self.give(register);
        }
        Some(dst)
    }

    /// `dst = a op b`
    fn binary(&mut self, op: Binary, dst: Zmm, a: Zmm, b: Operand) -> Option<()> {
        let plain: Op = match op {
            Binary::Add => ops::ADD,
            Binary::Sub => ops::SUB,
            Binary::Mul => ops::MUL,
            Binary::LessThan | Binary::Equal => {
                let comparison = match op {
                    Binary::Equal => compare::EQUAL,
                    _ => compare::LESS,
                };
                let mask = self.mask();
                self.asm.compare(mask, comparison, a, b);
                let one = self.constant_register(ONE)?;
                self.asm.select(dst, mask, one);
                self.give(one);
                return Some(());
            }
            Binary::Mod => return None,
        };
        self.asm.binary(plain, dst, a, b);
        Some(())
    }
}

fn pointer_address(pointer: PointerId) -> Address {
    Address {
        base: RDI,
        index: None,
        scale: 0,
        displacement: 8 * pointer as i32,
    }
}
