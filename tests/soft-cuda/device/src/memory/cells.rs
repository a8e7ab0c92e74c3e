//! Records of accesses: one cell for each 4 bytes of an allocation, or finer once something touches
//! less.

use super::Turn;
use crate::emulator::{Access, Cell, Region};
use std::alloc::Layout;

/// `SOFT_WARP`: lane and warp of work that is no kernel.
const NO_WARP: u16 = 0;

fn layout(bytes: u64, shift: u32) -> Layout {
    let count = (bytes as usize).div_ceil(1 << shift).max(1);
    // A region's cells are at most 32 times its bytes, which exist: this cannot overflow 63 bits.
    Layout::array::<Cell>(count).unwrap_or(Layout::new::<Cell>())
}

/// Gives a region cells; without memory for them it stays without.
pub fn attach(region: &mut Region) {
    // SAFETY: the layout has at least one cell; all-zero bytes are an empty cell.
    region.cells = unsafe { std::alloc::alloc_zeroed(layout(region.bytes, region.shift)) }.cast();
}

/// Takes a region's cells away.
pub fn detach(region: &mut Region) {
    if !region.cells.is_null() {
        // SAFETY: attached with this layout, which `refine` keeps in step.
        unsafe { std::alloc::dealloc(region.cells.cast(), layout(region.bytes, region.shift)) };
        region.cells = std::ptr::null_mut();
    }
}

/// Splits every cell of a region so that each stands for `1 << shift` bytes.
///
/// # Safety
/// The region is alive and no one else uses it meanwhile.
pub unsafe extern "C" fn refine(region: *mut Region, shift: u32) {
    // SAFETY: the caller's promise.
    let region = unsafe { &mut *region };
    if region.cells.is_null() || shift >= region.shift {
        return;
    }
    let parts = 1usize << (region.shift - shift);
    let old = (region.bytes as usize).div_ceil(1 << region.shift);
    let new = (region.bytes as usize).div_ceil(1 << shift);
    let mut fine = Region { shift, ..*region };
    attach(&mut fine);
    if !fine.cells.is_null() {
        for i in 0..old {
            // SAFETY: `i` is below the number of old cells, the others below the number of new ones.
            unsafe {
                let cell = *region.cells.add(i);
                if cell != Cell::default() {
                    for part in (0..parts).map(|p| i * parts + p).filter(|p| *p < new) {
                        *fine.cells.add(part) = cell;
                    }
                }
            }
        }
    }
    detach(region);
    region.cells = fine.cells;
    region.shift = shift;
}

/// What the comparison with earlier accesses says.
pub enum Verdict {
    /// All come before.
    Ordered,
    /// One does not.
    Race {
        /// Byte of the allocation.
        offset: u64,
        /// Whether that one was a write.
        written: bool,
    },
}

/// Compares and records an access of work that is no kernel.
pub fn touch(region: &mut Region, turn: &Turn, offset: u64, bytes: u64, write: bool) -> Verdict {
    if region.cells.is_null() {
        return Verdict::Ordered;
    }
    let mask = (1u64 << region.shift) - 1;
    if offset & mask != 0 || (offset + bytes) & mask != 0 {
        // SAFETY: a region that is borrowed for this alone.
        unsafe { refine(region, if (offset | bytes) & 1 == 0 { 1 } else { 0 }) };
    }
    if region.cells.is_null() {
        return Verdict::Ordered;
    }
    let unordered = |access: &Access| {
        let serial = access.serial;
        turn.unordered
            .iter()
            .any(|range| (range.first..=range.last).contains(&serial))
    };
    let mine = Access {
        serial: turn.serial,
        epoch: 0,
        lanes: 1,
        warp: NO_WARP,
        clock: 1,
    };
    for i in offset >> region.shift..=(offset + bytes - 1) >> region.shift {
        // SAFETY: the span lies inside the region, so the cell exists.
        let cell = unsafe { &mut *region.cells.add(i as usize) };
        let at = i << region.shift;
        if unordered(&cell.write) {
            return Verdict::Race {
                offset: at,
                written: true,
            };
        }
        if !write {
            // A reader that nothing orders before this is kept: see emulator/access.cpp.
            if !unordered(&cell.read) {
                cell.read = mine;
            }
            continue;
        }
        if unordered(&cell.read) {
            return Verdict::Race {
                offset: at,
                written: false,
            };
        }
        cell.write = mine;
    }
    Verdict::Ordered
}
