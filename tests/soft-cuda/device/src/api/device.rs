//! `cuInit`, `cuDevice*`.
#![allow(missing_docs, clippy::missing_safety_doc)]

use crate::context::POOL;
use crate::driver::{check_device, initialised, out, with_driver};
use crate::launch::{opt_in_shared, SHARED_BYTES};
use crate::refuse;
use std::ffi::c_char;

/// What the driver says it can do: CUDA 12.8.
const VERSION: i32 = 12080;

#[no_mangle]
pub unsafe extern "C" fn cuInit(flags: u32) -> i32 {
    with_driver("cuInit", |driver| match flags {
        0 => driver.initialise(),
        _ => Err(refuse!(INVALID_VALUE, "flags must be 0")),
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut i32) -> i32 {
    with_driver("cuDriverGetVersion", |_| unsafe {
        *out(version, "driverVersion")? = VERSION;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut i32) -> i32 {
    initialised("cuDeviceGetCount", |_| unsafe {
        *out(count, "count")? = 1;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuDeviceGet(device: *mut i32, ordinal: i32) -> i32 {
    initialised("cuDeviceGet", |_| unsafe {
        check_device(ordinal)?;
        *out(device, "device")? = 0;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, bytes: i32, device: i32) -> i32 {
    initialised("cuDeviceGetName", |_| unsafe {
        check_device(device)?;
        out(name, "name")?;
        let text = b"Software CUDA device\0";
        let room = usize::try_from(bytes).unwrap_or(0);
        if room == 0 {
            return Err(refuse!(INVALID_VALUE, "no room for a name"));
        }
        let kept = (text.len() - 1).min(room - 1);
        text.as_ptr().copy_to(name.cast(), kept);
        *name.add(kept) = 0;
        Ok(())
    })
}

unsafe fn uuid(name: &str, uuid: *mut [u8; 16], device: i32) -> i32 {
    initialised(name, |_| unsafe {
        check_device(device)?;
        *out(uuid, "uuid")? = *b"soft-cuda-device";
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuDeviceGetUuid(to: *mut [u8; 16], device: i32) -> i32 {
    unsafe { uuid("cuDeviceGetUuid", to, device) }
}

#[no_mangle]
pub unsafe extern "C" fn cuDeviceGetUuid_v2(to: *mut [u8; 16], device: i32) -> i32 {
    unsafe { uuid("cuDeviceGetUuid_v2", to, device) }
}

#[no_mangle]
pub unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, device: i32) -> i32 {
    initialised("cuDeviceTotalMem_v2", |settings| unsafe {
        check_device(device)?;
        *out(bytes, "bytes")? = settings.memory_bytes as usize;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuDeviceGetAttribute(value: *mut i32, attribute: u32, device: i32) -> i32 {
    initialised("cuDeviceGetAttribute", |settings| unsafe {
        check_device(device)?;
        let arch = settings.arch;
        let known = match attribute {
            1 => 1024,                                  // MAX_THREADS_PER_BLOCK
            2 | 3 => 1024,                              // MAX_BLOCK_DIM_X, _Y
            4 => 64,                                    // MAX_BLOCK_DIM_Z
            5 => i32::MAX,                              // MAX_GRID_DIM_X
            6 | 7 => 65535,                             // MAX_GRID_DIM_Y, _Z
            8 => SHARED_BYTES as i32,                   // MAX_SHARED_MEMORY_PER_BLOCK
            9 => 64 << 10,                              // TOTAL_CONSTANT_MEMORY
            10 => 32,                                   // WARP_SIZE
            12 | 82 => 65536,                           // registers of a block, of a multiprocessor
            13 => 1_410_000,                            // CLOCK_RATE, kHz
            14 => 512,                                  // TEXTURE_ALIGNMENT
            15 | 19 | 31 | 41 | 78 | 79 | 80 => 1, // overlap, mapped host memory, concurrent kernels, ...
            16 => 4,                               // MULTIPROCESSOR_COUNT
            17 | 18 | 20 | 32 | 83 | 88 | 89 | 95 => 0, // what it does not do
            33..=35 | 50 => 0,                     // PCI
            36 => 1_215_000,                       // MEMORY_CLOCK_RATE, kHz
            37 => 5120,                            // GLOBAL_MEMORY_BUS_WIDTH, bits
            38 => 4 << 20,                         // L2_CACHE_SIZE
            39 => {
                if arch == 86 || arch == 89 {
                    1536
                } else {
                    2048
                }
            }
            40 => 2,                                 // ASYNC_ENGINE_COUNT
            75 => (arch / 10) as i32,                // COMPUTE_CAPABILITY_MAJOR
            76 => (arch % 10) as i32,                // COMPUTE_CAPABILITY_MINOR
            81 => opt_in_shared(arch) as i32 + 1024, // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
            90 | 91 | 99 => 1,                       // preemption, registered host memory
            97 => opt_in_shared(arch) as i32,        // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
            106 => 32,                               // MAX_BLOCKS_PER_MULTIPROCESSOR
            111 => 1024,                             // RESERVED_SHARED_MEMORY_PER_BLOCK
            115 => 1,                                // MEMORY_POOLS_SUPPORTED
            0 | 151.. => return Err(refuse!(INVALID_VALUE, "there is no attribute {attribute}")),
            _ => 0,
        };
        *out(value, "pi")? = known;
        Ok(())
    })
}

unsafe fn pool(name: &str, to: *mut u64, device: i32) -> i32 {
    initialised(name, |_| unsafe {
        check_device(device)?;
        *out(to, "pool_out")? = POOL;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuDeviceGetDefaultMemPool(to: *mut u64, device: i32) -> i32 {
    unsafe { pool("cuDeviceGetDefaultMemPool", to, device) }
}

#[no_mangle]
pub unsafe extern "C" fn cuDeviceGetMemPool(to: *mut u64, device: i32) -> i32 {
    unsafe { pool("cuDeviceGetMemPool", to, device) }
}
