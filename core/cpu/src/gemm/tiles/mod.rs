//! Products of packed operands on a unit of tile registers (Intel AMX).
//!
//! Owns: which tiles are loaded, multiplied and stored for a block of the result, and what a unit is. Must
//! not know: how a unit does it ([`amx`], [`emulated`]), how operands are packed ([`super::planes`]).
//!
//! A block of 32 x 32 elements is four tiles of sums; two tiles of either operand are loaded for
//! sixteen pairs of summed positions. With split operands the small products (`low * high`, then `high *
//! low`) are summed first and set aside, then the large ones; both are added as in
//! [`super::triple::total`]. All blocks go through a buffer in the first-level cache, from which the result
//! is written or added to, so that an element's bits do not depend on the block it falls into.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod amx;
pub mod emulated;
#[cfg(test)]
mod tests;
mod write;

use super::planes::{Planes, GROUP, PANEL};
use super::triple::Area;
use crate::bf16::element;
use crate::vector::Isa;
use write::write;

/// Words of a tile: sixteen rows of 64 bytes.
const WORDS: usize = GROUP * GROUP;
/// Rows of a block.
const ROWS: usize = 2 * GROUP;
/// Bytes from row to row of a tile of the left operand.
const LEFT: usize = 4 * GROUP;
/// The same of the right operand and of a block of sums.
const RIGHT: usize = 4 * PANEL;

/// The shapes of the tile registers, as `ldtilecfg` reads them (Intel SDM, volume 1, "Tile configuration").
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Shapes {
    /// 1 for rows of numbers in up to eight registers.
    pub palette: u8,
    /// Where an interrupted load goes on; 0.
    pub start_row: u8,
    /// Must be zero.
    pub reserved: [u8; 14],
    /// Bytes of a row, by register; the last eight must be zero.
    pub row_bytes: [u16; 16],
    /// Rows, by register; the last eight must be zero.
    pub rows: [u8; 16],
}

impl Shapes {
    /// Eight registers of the greatest shape.
    pub const FULL: Shapes = {
        let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
        let mut i = 0;
        while i < 8 {
            (row_bytes[i], rows[i]) = (64, 16);
            i += 1;
        }
        Shapes {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes,
            rows,
        }
    };
}

/// A unit of eight tile registers: the instructions of AMX that a product needs.
pub trait TileUnit {
    /// `ldtilecfg`: sets the shapes and clears the registers.
    ///
    /// # Safety
    /// The processor has the unit, and its system lets the process use it.
    unsafe fn configure(&mut self, shapes: &Shapes);

    /// `tilezero`: clears a register.
    ///
    /// # Safety
    /// The unit is configured.
    unsafe fn zero<const TILE: usize>(&mut self);

    /// `tileloadd`: loads rows that start `stride` bytes apart.
    ///
    /// # Safety
    /// The unit is configured; every row is valid for reads.
    unsafe fn load<const TILE: usize>(&mut self, from: *const u32, stride: usize);

    /// `tdpbf16ps`: adds the product of two registers of bfloat16 pairs to one of sums.
    ///
    /// # Safety
    /// The unit is configured, with shapes that fit each other; the registers are three different ones.
    unsafe fn multiply<const SUM: usize, const LEFT: usize, const RIGHT: usize>(&mut self);

    /// `tilestored`: stores rows that start `stride` bytes apart.
    ///
    /// # Safety
    /// The unit is configured; every row is valid for writes.
    unsafe fn store<const TILE: usize>(&mut self, to: *mut f32, stride: usize);

    /// `tilerelease`: gives the registers up.
    ///
    /// # Safety
    /// As [`TileUnit::configure`].
    unsafe fn release(&mut self);
}

/// Which unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The processor's, where [`detect`] found it.
    Amx,
    /// The one in software, for tests.
    Emulated,
}

/// The processor's unit, if it has one and the system lets this process use it.
pub fn detect() -> Option<Unit> {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if amx::available() {
        return Some(Unit::Amx);
    }
    None
}

/// Computes an area; its left operand starts with a group's first row.
///
/// # Safety
/// The pointers are valid for everything that the area reaches; [`Unit::Amx`] was detected.
pub unsafe fn run(unit: Unit, isa: Isa, planes: Planes, area: &Area) {
    // SAFETY: the caller's promise.
    unsafe {
        match unit {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Unit::Amx => blocks(&mut amx::Amx, isa, planes, area),
            _ => blocks(&mut emulated::Emulated::new(), isa, planes, area),
        }
    }
}

/// Sums of a block, row by row.
#[repr(C, align(64))]
struct Sums([f32; ROWS * PANEL]);

/// # Safety
/// As [`run`], and as [`TileUnit::configure`].
unsafe fn blocks<U: TileUnit>(unit: &mut U, isa: Isa, planes: Planes, area: &Area) {
    let mut sums = [const { Sums([0.0; ROWS * PANEL]) }; 2];
    // SAFETY: the caller's promise; every tile has the greatest shape, and operands are packed for it.
    unsafe {
        unit.configure(&Shapes::FULL);
        for panel in (0..area.cols).step_by(PANEL) {
            for first in (0..area.rows).step_by(ROWS) {
                let left = area.left.add(planes.count() * first * area.depth);
                let right = area.right.add(planes.count() * panel * area.depth);
                let rows = (area.rows - first).min(ROWS);
                match rows > GROUP {
                    true => block::<U, true>(unit, planes, [left, right], area, &mut sums),
                    false => block::<U, false>(unit, planes, [left, right], area, &mut sums),
                }
                let at = first as isize * area.c_strides[0] + panel as isize * area.c_strides[1];
                let to = Area {
                    c: element(area.c, area.half, at),
                    rows,
                    cols: (area.cols - panel).min(PANEL),
                    ..*area
                };
                let [main, cross] = &sums;
                let cross = (planes == Planes::Split).then_some(&cross.0);
                write(isa, &main.0, cross, &to);
            }
        }
        unit.release();
    }
}

/// The sums of one block: one group of rows, or `TWO`.
///
/// # Safety
/// As [`blocks`]; the unit is configured.
#[inline(always)]
unsafe fn block<U: TileUnit, const TWO: bool>(
    unit: &mut U,
    planes: Planes,
    [left, right]: [*const u32; 2],
    area: &Area,
    [main, cross]: &mut [Sums; 2],
) {
    let tiles = area.pairs.div_ceil(GROUP);
    let next = planes.count() * GROUP * area.depth;
    // SAFETY: the caller's promise.
    unsafe {
        if planes == Planes::Split {
            let low = left.add(GROUP * area.depth);
            let right_low = right.add(PANEL * area.depth);
            zero::<U, TWO>(unit);
            sum::<U, TWO>(unit, [low, right], next, tiles);
            sum::<U, TWO>(unit, [left, right_low], next, tiles);
            store::<U, TWO>(unit, cross);
        }
        zero::<U, TWO>(unit);
        sum::<U, TWO>(unit, [left, right], next, tiles);
        store::<U, TWO>(unit, main);
    }
}

/// # Safety
/// As [`block`].
#[inline(always)]
unsafe fn zero<U: TileUnit, const TWO: bool>(unit: &mut U) {
    // SAFETY: the caller's promise.
    unsafe {
        unit.zero::<0>();
        unit.zero::<1>();
        if TWO {
            unit.zero::<2>();
            unit.zero::<3>();
        }
    }
}

/// Adds the products of one plane with one plane. `next` is the distance of groups in words.
///
/// # Safety
/// As [`block`].
#[inline(always)]
unsafe fn sum<U: TileUnit, const TWO: bool>(
    unit: &mut U,
    [left, right]: [*const u32; 2],
    next: usize,
    tiles: usize,
) {
    for tile in 0..tiles {
        // SAFETY: the caller's promise.
        unsafe {
            let (left, right) = (left.add(tile * WORDS), right.add(tile * 2 * WORDS));
            unit.load::<4>(left, LEFT);
            unit.load::<6>(right, RIGHT);
            unit.multiply::<0, 4, 6>();
            unit.load::<7>(right.add(GROUP), RIGHT);
            unit.multiply::<1, 4, 7>();
            if TWO {
                unit.load::<5>(left.add(next), LEFT);
                unit.multiply::<2, 5, 6>();
                unit.multiply::<3, 5, 7>();
            }
        }
    }
}

/// # Safety
/// As [`block`].
#[inline(always)]
unsafe fn store<U: TileUnit, const TWO: bool>(unit: &mut U, sums: &mut Sums) {
    let to = sums.0.as_mut_ptr();
    // SAFETY: the caller's promise; four tiles fill the block.
    unsafe {
        unit.store::<0>(to, RIGHT);
        unit.store::<1>(to.add(GROUP), RIGHT);
        if TWO {
            unit.store::<2>(to.add(GROUP * PANEL), RIGHT);
            unit.store::<3>(to.add(GROUP * PANEL + GROUP), RIGHT);
        }
    }
}
