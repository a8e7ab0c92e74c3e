//! The structs that cross to the C++ emulator, as `emulator/abi.h` lays them out, and its sources.
//!
//! A unit test has the C++ compiler check every size and offset.

use std::ffi::{c_char, c_void};

/// `SOFT_ABI`.
pub const ABI: u32 = 1;
/// `SOFT_MAX_THREADS`.
pub const MAX_THREADS: usize = 1024;
/// `SOFT_STACK_BYTES`.
pub const STACK_BYTES: usize = 65536;
/// `SOFT_MESSAGE_BYTES`.
pub const MESSAGE_BYTES: usize = 1024;

/// `SoftDim`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Dim {
    pub x: u32,
    pub y: u32,
    pub z: u32,
}

impl Dim {
    /// All positions.
    pub fn count(self) -> u64 {
        u64::from(self.x) * u64::from(self.y) * u64::from(self.z)
    }
}

/// `SoftAccess`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Access {
    pub serial: u32,
    pub epoch: u32,
    pub lanes: u32,
    pub warp: u16,
    pub clock: u16,
}

/// `SoftCell`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Cell {
    pub write: Access,
    pub read: Access,
}

/// `SoftRegion`.
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Region {
    pub base: u64,
    pub bytes: u64,
    pub cells: *mut Cell,
    pub shift: u32,
    pub state: u32,
    pub id: u64,
}

/// `SoftRange`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Range {
    pub first: u32,
    pub last: u32,
}

/// `SOFT_LIVE` and `SOFT_FREED`.
pub const LIVE: u32 = 0;
/// See [`LIVE`].
pub const FREED: u32 = 1;

/// `SoftLaunch`.
#[repr(C)]
#[allow(missing_docs)]
pub struct Launch {
    pub grid: Dim,
    pub block: Dim,
    pub kernel: *const c_char,
    pub params: *const *mut c_void,
    pub order: u32,
    pub check: u32,
    pub seed: u64,
    pub regions: *const *mut Region,
    pub region_count: usize,
    pub shared: [Region; 3],
    pub first_serial: u32,
    pub released: *mut u32,
    pub unordered: *const Range,
    pub unordered_count: usize,
    pub image_low: u64,
    pub image_high: u64,
    pub stacks: *mut c_char,
    pub refine: unsafe extern "C" fn(*mut Region, u32),
    pub barriers: u64,
    pub collectives: u64,
    pub accesses: u64,
    pub fault: i32,
    pub line: u32,
    pub address: u64,
    pub message: [c_char; MESSAGE_BYTES],
}

/// `SoftKernel`.
#[repr(C)]
#[allow(missing_docs)]
pub struct Kernel {
    pub name: *const c_char,
    pub entry: *const c_void,
    pub sizes: *const u32,
    pub param_count: u32,
    pub max_threads: u32,
}

/// `SoftModule`.
#[repr(C)]
#[allow(missing_docs)]
pub struct Module {
    pub abi: u32,
    pub arch: u32,
    pub kernels: *const Kernel,
    pub kernel_count: u64,
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../emulator/", $name)))),*]
    };
}

/// The emulator's headers and sources by name.
pub const FILES: &[(&str, &str)] = files![
    "abi.h",
    "access.cpp",
    "block.cpp",
    "calls.h",
    "cooperation.h",
    "fiber.cpp",
    "fiber.h",
    "intrinsics.h",
    "ptx.h",
    "runtime.h",
    "soft_cuda.h",
    "types.h",
    "undefined.cpp",
    "warp.cpp",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;
    use std::mem::offset_of;

    macro_rules! layout {
        ($out:ident, $rust:ident = $c:literal { $($field:ident),* $(,)? }) => {
            writeln!($out, "static_assert(sizeof({}) == {}, \"size\");", $c, size_of::<$rust>()).unwrap();
            $(writeln!($out, "static_assert(offsetof({}, {}) == {}, \"{1}\");", $c,
                stringify!($field), offset_of!($rust, $field)).unwrap();)*
        };
    }

    #[test]
    fn rust_and_cxx_agree_on_every_struct() {
        let mut out = String::from("#include \"abi.h\"\n");
        layout!(out, Dim = "SoftDim" { x, y, z });
        layout!(out, Access = "SoftAccess" { serial, epoch, lanes, warp, clock });
        layout!(out, Cell = "SoftCell" { write, read });
        layout!(out, Region = "SoftRegion" { base, bytes, cells, shift, state, id });
        layout!(out, Launch = "SoftLaunch" {
            grid, block, kernel, params, order, check, seed, regions, region_count, shared,
            first_serial, released, unordered, unordered_count, image_low, image_high, stacks,
            refine, barriers, collectives, accesses, fault, line, address, message,
        });
        layout!(out, Kernel = "SoftKernel" { name, entry, sizes, param_count, max_threads });
        layout!(out, Module = "SoftModule" { abi, arch, kernels, kernel_count });
        layout!(out, Range = "SoftRange" { first, last });
        writeln!(out, "static_assert(SOFT_ABI == {ABI} && SOFT_MAX_THREADS == {MAX_THREADS} && SOFT_STACK_BYTES == {STACK_BYTES} && SOFT_MESSAGE_BYTES == {MESSAGE_BYTES}, \"constants\");").unwrap();
        writeln!(
            out,
            "static_assert(SOFT_LIVE == {LIVE} && SOFT_FREED == {FREED}, \"states\");"
        )
        .unwrap();
        let folder = std::env::temp_dir().join(format!("soft-cuda-abi-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("check.cpp"), out).unwrap();
        let run = std::process::Command::new("c++")
            .args(["-std=c++17", "-fsyntax-only", "-I"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/emulator"))
            .arg(folder.join("check.cpp"))
            .output();
        std::fs::remove_dir_all(&folder).unwrap();
        match run {
            Err(e) => println!("SKIPPED: there is no C++ compiler here ({e})"),
            Ok(run) => assert!(
                run.status.success(),
                "{}",
                String::from_utf8_lossy(&run.stderr)
            ),
        }
    }
}
