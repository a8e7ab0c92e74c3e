//! Machine code: the handful of AVX-512 and integer instructions that row kernels need.
//!
//! Owns: bytes. Must not know: kernels, values, which register holds what.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, sections 2.1, 2.3
//! and 2.7 (ModRM, VEX and EVEX). Displacements are always 32 bits long: they need no scaling.

/// A general register by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpr(pub u8);

/// The accumulator: scratch.
pub const RAX: Gpr = Gpr(0);
/// Byte offset of the column that is worked on.
pub const RCX: Gpr = Gpr(1);
/// Third argument.
pub const RDX: Gpr = Gpr(2);
/// Second argument.
pub const RSI: Gpr = Gpr(6);
/// First argument.
pub const RDI: Gpr = Gpr(7);

/// A vector register by its number, 0 to 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zmm(pub u8);

/// A mask register by its number; 0 stands for "no mask".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask(pub u8);

/// No mask.
pub const ALL: Mask = Mask(0);

/// A place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Base register.
    pub base: Gpr,
    /// Index register, added as often as `scale` says.
    pub index: Option<Gpr>,
    /// The index is added once (0) or twice (1).
    pub scale: u8,
    /// Bytes added.
    pub displacement: i32,
}

/// Last operand of a vector instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A register.
    Register(Zmm),
    /// Sixteen numbers in memory.
    Vector(Address),
    /// One number in memory, for all lanes.
    Broadcast(Address),
}

/// An instruction: opcode map, mandatory prefix, opcode.
#[derive(Clone, Copy, Debug)]
pub struct Op(u8, u8, u8);

/// Vector instructions with two sources, `dst = a op b`.
pub mod ops {
    use super::Op;
    pub const ADD: Op = Op(1, 0, 0x58);
    pub const MUL: Op = Op(1, 0, 0x59);
    pub const SUB: Op = Op(1, 0, 0x5c);
    pub const MIN: Op = Op(1, 0, 0x5d);
    pub const DIV: Op = Op(1, 0, 0x5e);
    pub const MAX: Op = Op(1, 0, 0x5f);
    pub const SQRT: Op = Op(1, 0, 0x51);
    /// `a * 2^floor(b)`
    pub const SCALE: Op = Op(2, 1, 0x2c);
    pub const INT_ADD: Op = Op(1, 1, 0xfe);
    pub const INT_SUB: Op = Op(1, 1, 0xfa);
    pub const INT_AND: Op = Op(1, 1, 0xdb);
    pub const INT_TO_FLOAT: Op = Op(1, 0, 0x5b);
    /// `mask ? b : a`
    pub const BLEND: Op = Op(2, 1, 0x65);
    /// Lanes of 128 bits by an immediate.
    pub const SHUFFLE_LANES: Op = Op(3, 1, 0x23);
    pub const SHUFFLE: Op = Op(1, 0, 0xc6);
    pub(super) const LOAD: Op = Op(1, 0, 0x10);
    pub(super) const STORE: Op = Op(1, 0, 0x11);
    pub(super) const STORE_ONE: Op = Op(1, 2, 0x11);
    pub(super) const BROADCAST: Op = Op(2, 1, 0x18);
    pub(super) const COMPARE: Op = Op(1, 0, 0xc2);
    pub(super) const SHIFT: Op = Op(1, 1, 0x72);
    pub(super) const WIDEN: Op = Op(2, 1, 0x33);
    pub(super) const ROUND: Op = Op(2, 2, 0x72);
    /// The prefix with its bit W.
    pub(super) const STORE_HALF: Op = Op(1, 0x83, 0x7f);
}

/// Comparisons, as the immediate of `vcmpps`: all ordered and quiet, but for `UNORDERED`.
pub mod compare {
    pub const EQUAL: u8 = 0x00;
    pub const LESS: u8 = 0x11;
    pub const GREATER_EQUAL: u8 = 0x1d;
    pub const GREATER: u8 = 0x1e;
    pub const UNORDERED: u8 = 0x03;
}

/// A place in the code to jump to.
#[derive(Clone, Copy, Debug)]
pub struct Label(usize);

/// Code in the making.
#[derive(Default)]
pub struct Assembler {
    code: Vec<u8>,
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
    /// Where instructions start, but for those that need the one before them to stay there.
    starts: Vec<usize>,
    /// The next instruction uses the pointer that was just loaded.
    glued: bool,
}

impl Assembler {
    /// The finished code.
    pub fn finish(mut self) -> Vec<u8> {
        for (at, label) in &self.jumps {
            // Every label is placed by whoever made it; a jump to nowhere falls through.
            let target = self.labels[label.0].unwrap_or(at + 4);
            let distance = target as i64 - (*at as i64 + 4);
            self.code[*at..at + 4].copy_from_slice(&(distance as i32).to_le_bytes());
        }
        self.code
    }

    /// A label to be placed later.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Places a label here.
    pub fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.code.len());
    }

    /// The end of the code so far.
    pub fn here(&self) -> usize {
        self.code.len()
    }

    /// Forgets what was appended from here on.
    pub fn forget(&mut self, from: usize) {
        self.code.truncate(from);
        self.starts.retain(|s| *s < from);
    }

    /// Takes away what was appended from here on, instruction by instruction. There must be neither
    /// jumps nor labels in it.
    pub fn cut(&mut self, from: usize) -> Vec<Vec<u8>> {
        let later = self.starts.iter().copied().filter(|s| *s > from);
        let starts: Vec<usize> = std::iter::once(from)
            .chain(later)
            .chain([self.code.len()])
            .collect();
        let parts = starts.windows(2).map(|w| self.code[w[0]..w[1]].to_vec());
        let parts = parts.collect();
        self.forget(from);
        parts
    }

    /// Appends several sequences, an instruction of each in turn: the processor starts instructions of a
    /// few dozen that wait, and one sequence alone is a chain in which each waits for the one before.
    pub fn weave(&mut self, sequences: &[Vec<Vec<u8>>]) {
        let longest = sequences.iter().map(Vec::len).max().unwrap_or(0);
        for i in 0..longest {
            for instruction in sequences.iter().filter_map(|s| s.get(i)) {
                self.starts.push(self.code.len());
                self.code.extend_from_slice(instruction);
            }
        }
    }

    fn start(&mut self) {
        if !std::mem::take(&mut self.glued) {
            self.starts.push(self.code.len());
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.code.extend_from_slice(bytes);
    }

    /// ModRM, SIB and displacement; `reg` is the field of the other operand.
    fn memory(&mut self, reg: u8, address: Address) {
        let (reg, base) = ((reg & 7) << 3, address.base.0 & 7);
        match address.index {
            Some(index) => {
                let sib = address.scale << 6 | (index.0 & 7) << 3 | base;
                self.bytes(&[0x84 | reg, sib]);
            }
            // A base of 4 means "SIB follows".
            None if base == 4 => self.bytes(&[0x84 | reg, 0x24]),
            None => self.bytes(&[0x80 | reg | base]),
        }
        self.bytes(&address.displacement.to_le_bytes());
    }

    /// An EVEX instruction. `length` 2 for 512 bits, 0 for a scalar.
    #[allow(clippy::too_many_arguments)] // the fields of one prefix
    fn evex(&mut self, op: Op, reg: u8, vvvv: u8, rm: Operand, mask: Mask, zero: bool, length: u8) {
        let (b, x, broadcast) = match rm {
            Operand::Register(r) => (r.0 >> 3 & 1, r.0 >> 4 & 1, 0),
            Operand::Vector(a) => (a.base.0 >> 3 & 1, a.index.map_or(0, |i| i.0 >> 3 & 1), 0),
            Operand::Broadcast(a) => (a.base.0 >> 3 & 1, a.index.map_or(0, |i| i.0 >> 3 & 1), 1),
        };
        let inverted = |bit: u8, at: u8| (bit & 1 ^ 1) << at;
        self.start();
        self.bytes(&[
            0x62,
            inverted(reg >> 3, 7) | inverted(x, 6) | inverted(b, 5) | inverted(reg >> 4, 4) | op.0,
            (!vvvv & 15) << 3 | 4 | op.1,
            u8::from(zero) << 7 | length << 5 | broadcast << 4 | inverted(vvvv >> 4, 3) | mask.0,
            op.2,
        ]);
        match rm {
            Operand::Register(r) => self.bytes(&[0xc0 | (reg & 7) << 3 | r.0 & 7]),
            Operand::Vector(a) | Operand::Broadcast(a) => self.memory(reg, a),
        }
    }

    /// `dst = a op b`
    pub fn binary(&mut self, op: Op, dst: Zmm, a: Zmm, b: Operand) {
        self.evex(op, dst.0, a.0, b, ALL, false, 2);
    }

    /// `dst = a op b` in the lanes of the mask; the others stay.
    pub fn binary_masked(&mut self, op: Op, dst: Zmm, mask: Mask, a: Zmm, b: Operand) {
        self.evex(op, dst.0, a.0, b, mask, false, 2);
    }

    /// `dst = op b`
    pub fn unary(&mut self, op: Op, dst: Zmm, b: Operand) {
        self.evex(op, dst.0, 0, b, ALL, false, 2);
    }

    /// `dst = a op b` with an immediate.
    pub fn immediate(&mut self, op: Op, dst: Zmm, a: Zmm, b: Operand, value: u8) {
        self.evex(op, dst.0, a.0, b, ALL, false, 2);
        self.bytes(&[value]);
    }

    /// Sixteen numbers, or one for all lanes; zero outside of the mask.
    pub fn load(&mut self, dst: Zmm, from: Operand, mask: Mask) {
        match from {
            Operand::Broadcast(a) => {
                // `vbroadcastss` takes a plain memory operand.
                self.evex(ops::BROADCAST, dst.0, 0, Operand::Vector(a), ALL, false, 2);
            }
            other => self.evex(ops::LOAD, dst.0, 0, other, mask, mask != ALL, 2),
        }
    }

    /// Writes the lanes of the mask.
    pub fn store(&mut self, to: Address, from: Zmm, mask: Mask) {
        self.evex(ops::STORE, from.0, 0, Operand::Vector(to), mask, false, 2);
    }

    /// Sixteen bfloat16 numbers as single precision; zero outside of the mask.
    pub fn load_half(&mut self, dst: Zmm, from: Address, mask: Mask) {
        let from = Operand::Vector(from);
        self.evex(ops::WIDEN, dst.0, 0, from, mask, mask != ALL, 2);
        // `vpslld`: the upper half.
        self.evex(ops::SHIFT, 6, dst.0, Operand::Register(dst), ALL, false, 2);
        self.bytes(&[16]);
    }

    /// Writes the lanes of the mask as bfloat16; `spare` is overwritten, and may be `from`.
    pub fn store_half(&mut self, to: Address, from: Zmm, spare: Zmm, mask: Mask) {
        let rounded = Operand::Register(from);
        self.evex(ops::ROUND, spare.0, 0, rounded, ALL, false, 2);
        self.evex(
            ops::STORE_HALF,
            spare.0,
            0,
            Operand::Vector(to),
            mask,
            false,
            1,
        );
    }

    /// Writes the first lane.
    pub fn store_one(&mut self, to: Address, from: Zmm) {
        self.evex(
            ops::STORE_ONE,
            from.0,
            0,
            Operand::Vector(to),
            ALL,
            false,
            0,
        );
    }

    /// `dst = a comparison b`, lane by lane.
    pub fn compare(&mut self, dst: Mask, comparison: u8, a: Zmm, b: Operand) {
        self.evex(ops::COMPARE, dst.0, a.0, b, ALL, false, 2);
        self.bytes(&[comparison]);
    }

    /// `dst = mask ? value : 0`
    pub fn select(&mut self, dst: Zmm, mask: Mask, value: Zmm) {
        self.evex(ops::LOAD, dst.0, 0, Operand::Register(value), mask, true, 2);
    }

    /// `dst = a >> bits`, with the sign.
    pub fn shift_right(&mut self, dst: Zmm, a: Zmm, bits: u8) {
        self.evex(ops::SHIFT, 4, dst.0, Operand::Register(a), ALL, false, 2);
        self.bytes(&[bits]);
    }

    /// `dst = a | b` of masks.
    pub fn mask_or(&mut self, dst: Mask, a: Mask, b: Mask) {
        // VEX.L1.0F.W0 45 /r
        self.start();
        self.bytes(&[
            0xc5,
            (!a.0 & 15) << 3 | 4 | 0x80,
            0x45,
            0xc0 | dst.0 << 3 | b.0,
        ]);
    }

    /// The mask of the low bits of a 32-bit register.
    pub fn mask_from(&mut self, dst: Mask, from: Gpr) {
        // VEX.L0.0F.W0 92 /r, registers below 8 only
        self.bytes(&[0xc5, 0xf8, 0x92, 0xc0 | dst.0 << 3 | from.0]);
    }

    /// Loads a pointer, for the next instruction.
    pub fn load_pointer(&mut self, dst: Gpr, from: Address) {
        self.start();
        self.bytes(&[0x48 | (dst.0 >> 3) << 2 | from.base.0 >> 3, 0x8b]);
        self.memory(dst.0, from);
        self.glued = true;
    }

    /// `dst = a` of 64-bit registers.
    pub fn copy(&mut self, dst: Gpr, a: Gpr) {
        self.bytes(&[
            0x48 | (a.0 >> 3) << 2 | dst.0 >> 3,
            0x89,
            0xc0 | (a.0 & 7) << 3 | dst.0 & 7,
        ]);
    }

    /// `dst = 0`
    pub fn clear(&mut self, dst: Gpr) {
        self.bytes(&[0x48 | ((dst.0 >> 3) * 5), 0x31, 0xc0 | ((dst.0 & 7) * 9)]);
    }

    /// `dst += value`
    pub fn add_value(&mut self, dst: Gpr, value: i32) {
        self.bytes(&[0x48 | dst.0 >> 3, 0x81, 0xc0 | dst.0 & 7]);
        self.bytes(&value.to_le_bytes());
    }

    /// `dst -= a`
    pub fn subtract(&mut self, dst: Gpr, a: Gpr) {
        self.bytes(&[
            0x48 | (a.0 >> 3) << 2 | dst.0 >> 3,
            0x29,
            0xc0 | (a.0 & 7) << 3 | dst.0 & 7,
        ]);
    }

    /// Compares for the next jump.
    pub fn compare_registers(&mut self, a: Gpr, b: Gpr) {
        self.bytes(&[
            0x48 | (b.0 >> 3) << 2 | a.0 >> 3,
            0x39,
            0xc0 | (b.0 & 7) << 3 | a.0 & 7,
        ]);
    }

    /// Jumps if the first of the compared was greater, signed.
    pub fn jump_greater(&mut self, label: Label) {
        self.jump(0x8f, label);
    }

    /// Jumps if the first of the compared was less or equal, signed.
    pub fn jump_less_equal(&mut self, label: Label) {
        self.jump(0x8e, label);
    }

    fn jump(&mut self, condition: u8, label: Label) {
        self.bytes(&[0x0f, condition, 0, 0, 0, 0]);
        self.jumps.push((self.code.len() - 4, label));
    }

    /// `eax = (1 << min(bytes / 2, 16)) - 1` for the bytes in `rax`; `rdx` survives, `r11` does not.
    pub fn lanes_of_bytes(&mut self) {
        // shr rax, 1; mov r11d, 16; cmp rax, r11; cmovg rax, r11
        self.bytes(&[0x48, 0xc1, 0xe8, 0x01, 0x41, 0xbb, 16, 0, 0, 0]);
        self.bytes(&[0x4c, 0x39, 0xd8, 0x49, 0x0f, 0x4f, 0xc3]);
        // mov r11d, -1; bzhi eax, r11d, eax
        self.bytes(&[
            0x41, 0xbb, 0xff, 0xff, 0xff, 0xff, 0xc4, 0xc2, 0x78, 0xf5, 0xc3,
        ]);
    }

    /// Ends the function.
    pub fn finish_function(&mut self) {
        // vzeroupper; ret
        self.bytes(&[0xc5, 0xf8, 0x77, 0xc3]);
    }
}
