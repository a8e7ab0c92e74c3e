//! The processor's tile unit: AMX-TILE and AMX-BF16.
//!
//! Owns: whether the processor and the system offer it, and its six instructions. Must not know: products.
//!
//! Stable Rust has no intrinsics for AMX, so each instruction is one line of assembly. The compiler
//! assigns nothing to tile registers: between [`TileUnit::configure`] and [`TileUnit::release`] they
//! hold what these lines put there, as they hold it over a switch of threads, which the system saves.

use super::{Shapes, TileUnit};
use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use std::sync::OnceLock;

/// Asks the system for a state component of the processor (Linux, `Documentation/arch/x86/xstate.rst`).
const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
/// The state component of the tile registers.
const XTILEDATA: libc::c_long = 18;

/// Whether the processor has the unit and this process may use it. Asks the system the first time.
pub fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| processor() && permitted())
}

/// Whether the processor has AMX-TILE and AMX-BF16, with the registers that we count on, and the system
/// saves them.
fn processor() -> bool {
    let bit = |register: u32, bit: u32| register >> bit & 1 == 1;
    if __cpuid(0).eax < 0x1d {
        return false;
    }
    // OSXSAVE: the next question may be asked.
    if !bit(__cpuid(1).ecx, 27) {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    if !(bit(features, 24) && bit(features, 22)) {
        return false;
    }
    /// # Safety
    /// The processor has XGETBV.
    #[target_feature(enable = "xsave")]
    unsafe fn saved() -> u64 {
        // SAFETY: register 0 exists wherever the instruction does.
        unsafe { _xgetbv(0) }
    }
    // SAFETY: OSXSAVE was seen. Bits 17 and 18: shapes and contents of the tile registers.
    if unsafe { saved() } >> 17 & 3 != 3 {
        return false;
    }
    // Palette 1: bytes of a tile and of all, of a row, registers, rows.
    let palette = __cpuid_count(0x1d, 1);
    palette.eax == 8192 | 1024 << 16 && palette.ebx == 64 | 8 << 16 && palette.ecx & 0xffff == 16
}

/// Whether the system lets the process use the tile registers.
fn permitted() -> bool {
    // SAFETY: the call reads and writes no memory of ours; a system that does not know it refuses.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0 }
}

/// The unit of the core that the calling thread runs on.
pub struct Amx;

impl TileUnit for Amx {
    #[inline(always)]
    unsafe fn configure(&mut self, shapes: &Shapes) {
        // SAFETY: the caller's promise.
        unsafe {
            asm!("ldtilecfg [{shapes}]", shapes = in(reg) shapes,
                options(nostack, readonly, preserves_flags));
        }
    }

    #[inline(always)]
    unsafe fn zero<const TILE: usize>(&mut self) {
        // SAFETY: the caller's promise.
        unsafe {
            asm!("tilezero tmm{tile}", tile = const TILE,
                options(nostack, nomem, preserves_flags));
        }
    }

    #[inline(always)]
    unsafe fn load<const TILE: usize>(&mut self, from: *const u32, stride: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            asm!("tileloadd tmm{tile}, [{from} + {stride}*1]", tile = const TILE,
                from = in(reg) from, stride = in(reg) stride,
                options(nostack, readonly, preserves_flags));
        }
    }

    #[inline(always)]
    unsafe fn multiply<const SUM: usize, const LEFT: usize, const RIGHT: usize>(&mut self) {
        // SAFETY: the caller's promise.
        unsafe {
            asm!("tdpbf16ps tmm{sum}, tmm{left}, tmm{right}",
                sum = const SUM, left = const LEFT, right = const RIGHT,
                options(nostack, nomem, preserves_flags));
        }
    }

    #[inline(always)]
    unsafe fn store<const TILE: usize>(&mut self, to: *mut f32, stride: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            asm!("tilestored [{to} + {stride}*1], tmm{tile}", tile = const TILE,
                to = in(reg) to, stride = in(reg) stride,
                options(nostack, preserves_flags));
        }
    }

    #[inline(always)]
    unsafe fn release(&mut self) {
        // SAFETY: the caller's promise.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The machine code of what stable Rust has no intrinsics for, against the manual's opcodes.
    #[test]
    fn instructions_are_encoded_as_in_the_manual() {
        extern "C" fn configure(shapes: &Shapes) {
            // SAFETY: never called, as all of these.
            unsafe { Amx.configure(shapes) }
        }
        extern "C" fn zero() {
            // SAFETY: as above.
            unsafe { Amx.zero::<3>() }
        }
        extern "C" fn load(from: *const u32, stride: usize) {
            // SAFETY: as above.
            unsafe { Amx.load::<6>(from, stride) }
        }
        extern "C" fn multiply() {
            // SAFETY: as above.
            unsafe { Amx.multiply::<2, 5, 7>() }
        }
        extern "C" fn store(to: *mut f32, stride: usize) {
            // SAFETY: as above.
            unsafe { Amx.store::<1>(to, stride) }
        }
        extern "C" fn release() {
            // SAFETY: as above.
            unsafe { Amx.release() }
        }
        // VEX.128.pp.0F38.W0: C4, then the inverted upper bits of registers and map 2, then vvvv (inverted), L
        // and pp; opcode; ModRM. Registers of addresses are the compiler's choice: their bits are masked.
        let all = 0xff;
        for (name, code, expected) in [
            (
                "ldtilecfg m512",
                configure as *const u8,
                // ModRM.reg 0, any base.
                [
                    (0xc4, all),
                    (0x42, 0x5f),
                    (0x78, all),
                    (0x49, all),
                    (0, 0x38),
                ],
            ),
            (
                "tilezero tmm3",
                zero as *const u8,
                [
                    (0xc4, all),
                    (0xe2, all),
                    (0x7b, all),
                    (0x49, all),
                    (0xc0 | 3 << 3, all),
                ],
            ),
            (
                "tileloadd tmm6",
                load as *const u8,
                // ModRM.rm 4: base and index follow.
                [
                    (0xc4, all),
                    (0x82, 0x9f),
                    (0x7b, all),
                    (0x4b, all),
                    (6 << 3 | 4, 0x3f),
                ],
            ),
            (
                "tdpbf16ps tmm2, tmm5, tmm7",
                multiply as *const u8,
                // vvvv holds the second source, inverted: !7 & 15 = 8.
                [
                    (0xc4, all),
                    (0xe2, all),
                    (8 << 3 | 2, all),
                    (0x5c, all),
                    (0xc0 | 2 << 3 | 5, all),
                ],
            ),
            (
                "tilestored tmm1",
                store as *const u8,
                [
                    (0xc4, all),
                    (0x82, 0x9f),
                    (0x7a, all),
                    (0x4b, all),
                    (1 << 3 | 4, 0x3f),
                ],
            ),
            (
                "tilerelease",
                release as *const u8,
                [
                    (0xc4, all),
                    (0xe2, all),
                    (0x78, all),
                    (0x49, all),
                    (0xc0, all),
                ],
            ),
        ] {
            // SAFETY: code of this process, which may be read.
            let code = unsafe { std::slice::from_raw_parts(code, 64) };
            let found = code.windows(5).any(|bytes| {
                let pairs = bytes.iter().zip(expected);
                pairs
                    .into_iter()
                    .all(|(byte, (bits, mask)): (_, (u8, u8))| byte & mask == bits & mask)
            });
            assert!(found, "{name}: {code:02x?}");
        }
    }
}
