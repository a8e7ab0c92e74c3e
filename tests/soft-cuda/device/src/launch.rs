//! Launching a kernel: what is checked before, and how it runs.

use crate::context::Context;
use crate::counts::Sort;
use crate::emulator::{self, Dim, Launch, Region, LIVE, MESSAGE_BYTES};
use crate::memory::{refine, Turn};
use crate::module::Function;
use crate::refuse;
use crate::settings::{Checks, Order};
use crate::status::{Fault, Refusal, Status};
use crate::stream::{mix, Work};
use std::ffi::{c_void, CStr, CString};

/// Shared memory of a block that every kernel may have, and that it may ask for (compute capability
/// 8.0 and 9.0; CUDA C++ Programming Guide, technical specifications).
pub const SHARED_BYTES: u32 = 48 << 10;

/// What a device of a compute capability offers.
pub fn opt_in_shared(arch: u32) -> u32 {
    match arch {
        90.. => 227 << 10,
        86 | 89 => 99 << 10,
        80.. => 163 << 10,
        75 => 64 << 10,
        _ => 96 << 10,
    }
}

/// The shape of a launch.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Shape {
    pub grid: Dim,
    pub block: Dim,
    pub shared: u32,
}

/// Arguments as bytes, each on an address of its own.
#[derive(Clone, Debug)]
struct Arguments(Vec<Vec<u128>>);

impl Arguments {
    /// # Safety
    /// `params` holds an address for each size, with as many bytes behind it.
    unsafe fn copy(params: *const *mut c_void, sizes: &[usize]) -> Self {
        let copy = |(i, size): (usize, &usize)| {
            let mut value = vec![0u128; size.div_ceil(16).max(1)];
            // SAFETY: the caller's promise; the copy is at least as long.
            unsafe {
                let from: *const u8 = (*params.add(i)).cast();
                from.copy_to(value.as_mut_ptr().cast(), *size);
            }
            value
        };
        Arguments(sizes.iter().enumerate().map(copy).collect())
    }
}

impl Context {
    /// Queues a launch.
    ///
    /// # Errors
    /// The function or stream are unknown, the shape is beyond a limit, or arguments are missing.
    ///
    /// # Safety
    /// `params` holds an address for each parameter of the kernel, with its value behind it.
    pub unsafe fn launch(
        &mut self,
        function: u64,
        shape: Shape,
        stream: u64,
        params: *const *mut c_void,
    ) -> Result<(), Refusal> {
        let found = self.functions.get(function)?.clone();
        self.check_shape(&found, shape)?;
        if params.is_null() && !found.sizes.is_empty() {
            return Err(refuse!(
                INVALID_VALUE,
                "kernel `{}` takes {} arguments, none were given",
                found.name,
                found.sizes.len()
            ));
        }
        for i in 0..found.sizes.len() {
            // SAFETY: the caller's promise.
            if unsafe { (*params.add(i)).is_null() } {
                return Err(refuse!(
                    INVALID_VALUE,
                    "argument {i} of kernel `{}` is null",
                    found.name
                ));
            }
        }
        // SAFETY: the caller's promise.
        let arguments = unsafe { Arguments::copy(params, &found.sizes) };
        let Shape {
            grid,
            block,
            shared,
        } = shape;
        let label = format!(
            "kernel `{}` <<<({},{},{}), ({},{},{}), {shared}>>>",
            found.name, grid.x, grid.y, grid.z, block.x, block.y, block.z
        );
        let work = Work::new(Sort::Kernel, label, move |cx, ready| {
            let serials = u32::try_from(grid.count()).unwrap_or(u32::MAX);
            let turn = cx.turn(ready, serials);
            run(cx, &found, shape, &arguments, &turn)
        });
        self.submit(stream, work)
    }

    fn check_shape(&self, function: &Function, shape: Shape) -> Result<(), Refusal> {
        let Shape {
            grid,
            block,
            shared,
        } = shape;
        let name = &function.name;
        let bad = |what: String| Err(refuse!(INVALID_VALUE, "launch of kernel `{name}`: {what}"));
        if grid.count() == 0 || block.count() == 0 {
            return bad(format!("a dimension of {grid:?} or {block:?} is 0"));
        }
        if grid.x > 0x7fff_ffff || grid.y > 65535 || grid.z > 65535 {
            return bad(format!("{grid:?} is beyond (2147483647, 65535, 65535)"));
        }
        if block.x > 1024 || block.y > 1024 || block.z > 64 {
            return bad(format!("{block:?} is beyond (1024, 1024, 64)"));
        }
        if block.count() > u64::from(function.max_threads) {
            return bad(format!(
                "{} threads, at most {} are possible (its __launch_bounds__, or the device's limit)",
                block.count(),
                function.max_threads
            ));
        }
        if grid.count() > u64::from(u32::MAX / 2) {
            return bad(format!("{} blocks are too many to emulate", grid.count()));
        }
        if shared > function.max_dynamic_shared {
            return bad(format!(
                "{shared} bytes of dynamic shared memory, but \
                 CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES is {}",
                function.max_dynamic_shared
            ));
        }
        Ok(())
    }
}

fn shared_region(base: u64, bytes: u64, id: u64, tracked: bool) -> Region {
    let mut region = Region {
        base,
        bytes,
        cells: std::ptr::null_mut(),
        shift: 2,
        state: LIVE,
        id,
    };
    if tracked && bytes > 0 {
        crate::memory::attach(&mut region);
    }
    region
}

fn run(
    cx: &mut Context,
    function: &Function,
    shape: Shape,
    arguments: &Arguments,
    turn: &Turn,
) -> Result<(), Fault> {
    let tracked = cx.settings.checks == Checks::Access;
    let (order, seed) = match cx.settings.order {
        Order::Forward => (0, 0),
        Order::Reverse => (1, 0),
        Order::Shuffled(seed) => (2, mix(seed ^ u64::from(turn.serial))),
    };
    let lost = |refusal: Refusal| Fault {
        status: refusal.status,
        message: refusal.message,
    };
    let stacks = cx.stacks().cast();
    let module = cx.modules.get(function.module).map_err(lost)?;
    let (path, image, at, entry) = (module.path.clone(), module.image, module.shared, module.run);
    let name = CString::new(function.name.clone()).unwrap_or_default();
    let mut params: Vec<*mut c_void> = arguments
        .0
        .iter()
        .map(|value| value.as_ptr().cast_mut().cast())
        .collect();
    // 16-byte words, so that a kernel may put vectors at its start; a few bytes even if it asked for
    // none, for the address to be valid.
    let mut dynamic = vec![0u128; (shape.shared as usize).div_ceil(16) + 1];
    let mut released = vec![0u32; shape.grid.count() as usize];
    let regions = cx.memory.regions();
    let mut launch = Launch {
        grid: shape.grid,
        block: shape.block,
        kernel: name.as_ptr(),
        params: params.as_mut_ptr(),
        order,
        check: u32::from(tracked),
        seed,
        regions: regions.as_ptr(),
        region_count: regions.len(),
        shared: [
            shared_region(
                dynamic.as_mut_ptr() as u64,
                u64::from(shape.shared),
                0,
                tracked,
            ),
            shared_region(at[0], at[1] - at[0], 1, tracked),
            shared_region(at[2], at[3] - at[2], 2, tracked),
        ],
        first_serial: turn.serial,
        released: released.as_mut_ptr(),
        unordered: turn.unordered.as_ptr(),
        unordered_count: turn.unordered.len(),
        image_low: image.0,
        image_high: image.1,
        stacks,
        refine,
        barriers: 0,
        collectives: 0,
        accesses: 0,
        fault: 0,
        line: 0,
        address: 0,
        message: [0; MESSAGE_BYTES],
    };
    // SAFETY: the entry belongs to the module that the kernel comes from; everything that the launch
    // points to outlives the call, and the device's lock keeps it from being used elsewhere.
    unsafe { entry(function.kernel, &mut launch) };
    for region in &mut launch.shared {
        crate::memory::detach(region);
    }
    cx.counts.accesses += launch.accesses;
    cx.counts.barriers += launch.barriers;
    cx.counts.collectives += launch.collectives;
    if launch.fault == 0 {
        return Ok(());
    }
    // SAFETY: the emulator ends the message with a 0 byte.
    let text = unsafe { CStr::from_ptr(launch.message.as_ptr()) };
    let text = text.to_string_lossy();
    let place = match (launch.line, launch.address) {
        (0, 0) => String::new(),
        (0, address) => source_line(&path, address - image.0).unwrap_or_default(),
        (line, _) => format!(" (line {line})"),
    };
    Err(Fault {
        status: Status(launch.fault),
        message: format!("{text}{place}"),
    })
}

/// The source line of an address in a module, by `addr2line` if the machine has it.
fn source_line(module: &std::path::Path, offset: u64) -> Option<String> {
    // The address is where the call returns to; the call itself is before.
    let run = std::process::Command::new("addr2line")
        .arg("-e")
        .arg(module)
        .arg(format!("{:#x}", offset.saturating_sub(1)))
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&run.stdout);
    let (_, line) = text.trim().rsplit_once(':')?;
    let line = line.split(' ').next()?;
    (line != "?" && line != "0").then(|| format!(" (line {line})"))
}

/// What kernels are said to use: the software device has no registers.
pub const NOMINAL_REGISTERS: u32 = 32;

/// Blocks of a kernel that fit on a multiprocessor, by threads and shared memory.
pub fn blocks_per_multiprocessor(arch: u32, threads: u32, shared: u64) -> u32 {
    if threads == 0 || threads as usize > emulator::MAX_THREADS {
        return 0;
    }
    let warps = threads.div_ceil(32);
    let per_multiprocessor = if arch == 86 || arch == 89 { 48 } else { 64 };
    let by_threads = (per_multiprocessor / warps).min(32);
    // 1 KiB of each block's shared memory is the system's.
    let by_shared = u64::from(opt_in_shared(arch) + 1024) / (shared + 1024);
    by_threads.min(by_shared as u32)
}
