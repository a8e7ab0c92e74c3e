//! `cuMemAlloc*`, `cuMemFree*`, `cuMemHost*`, `cuMemGetInfo`, `cuPointerGetAttribute`.
#![allow(missing_docs, clippy::missing_safety_doc)]

use crate::driver::{out, tidying, with_context};
use crate::memory::Kind;
use crate::refuse;
use crate::status::{Refusal, Status};
use std::ffi::c_void;

#[no_mangle]
pub unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> i32 {
    with_context("cuMemAlloc_v2", |cx| unsafe {
        let to = out(address, "dptr")?;
        cx.refuse_during_capture("cuMemAlloc")?;
        *to = cx.memory.allocate(bytes as u64, Kind::Device)?;
        cx.counts.allocations += 1;
        Ok(())
    })
}

/// Waits for all work, as the driver does.
#[no_mangle]
pub unsafe extern "C" fn cuMemFree_v2(address: u64) -> i32 {
    tidying("cuMemFree_v2", |cx| {
        if address == 0 {
            return Ok(());
        }
        cx.refuse_during_capture("cuMemFree")?;
        cx.wait_for_all()?;
        cx.memory.free(address, &[Kind::Device])
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: u64) -> i32 {
    with_context("cuMemAllocAsync", |cx| unsafe {
        let to = out(address, "dptr")?;
        *to = cx.allocate_in_order(bytes as u64, stream)?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuMemFreeAsync(address: u64, stream: u64) -> i32 {
    with_context("cuMemFreeAsync", |cx| cx.free_in_order(address, stream))
}

fn allocate_host(name: &str, address: *mut *mut c_void, bytes: usize) -> i32 {
    with_context(name, |cx| {
        // SAFETY: null, or the caller's promise.
        let to = unsafe { out(address, "pp")? };
        *to = cx.memory.allocate(bytes as u64, Kind::Pinned)? as *mut c_void;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuMemHostAlloc(
    address: *mut *mut c_void,
    bytes: usize,
    flags: u32,
) -> i32 {
    if flags > 7 {
        let refusal = refuse!(INVALID_VALUE, "there are no flags {flags:#x}");
        return with_context("cuMemHostAlloc", |_| Err(refusal));
    }
    allocate_host("cuMemHostAlloc", address, bytes)
}

#[no_mangle]
pub unsafe extern "C" fn cuMemAllocHost_v2(address: *mut *mut c_void, bytes: usize) -> i32 {
    allocate_host("cuMemAllocHost_v2", address, bytes)
}

/// Does not wait: work that is still to use the memory ends in a fault.
#[no_mangle]
pub unsafe extern "C" fn cuMemFreeHost(address: *mut c_void) -> i32 {
    tidying("cuMemFreeHost", |cx| {
        cx.memory.free(address as u64, &[Kind::Pinned])
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuMemHostRegister_v2(
    address: *mut c_void,
    bytes: usize,
    flags: u32,
) -> i32 {
    with_context("cuMemHostRegister_v2", |cx| {
        if address.is_null() || bytes == 0 || flags > 15 {
            return Err(refuse!(
                INVALID_VALUE,
                "{bytes} bytes at {address:?} with flags {flags:#x}"
            ));
        }
        cx.memory.register(address as u64, bytes as u64)
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuMemHostUnregister(address: *mut c_void) -> i32 {
    tidying("cuMemHostUnregister", |cx| {
        let freed = cx.memory.free(address as u64, &[Kind::Registered]);
        freed.map_err(|refusal| Refusal {
            status: Status::HOST_MEMORY_NOT_REGISTERED,
            ..refusal
        })
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuMemHostGetDevicePointer_v2(
    device: *mut u64,
    host: *mut c_void,
    flags: u32,
) -> i32 {
    with_context("cuMemHostGetDevicePointer_v2", |cx| unsafe {
        let to = out(device, "pdptr")?;
        if flags != 0 {
            return Err(refuse!(INVALID_VALUE, "flags must be 0"));
        }
        let found = cx.memory.span(host as u64, 1);
        found.map_err(|text| refuse!(INVALID_VALUE, "{text}"))?;
        *to = host as u64;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> i32 {
    with_context("cuMemGetInfo_v2", |cx| unsafe {
        let (unused, all) = cx.memory.info();
        *out(free, "free")? = unused as usize;
        *out(total, "total")? = all as usize;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuMemGetAddressRange_v2(
    base: *mut u64,
    bytes: *mut usize,
    address: u64,
) -> i32 {
    with_context("cuMemGetAddressRange_v2", |cx| unsafe {
        let found = cx.memory.span(address, 1);
        let region = &found.map_err(|text| refuse!(NOT_FOUND, "{text}"))?.region;
        if !base.is_null() {
            *base = region.base;
        }
        if !bytes.is_null() {
            *bytes = region.bytes as usize;
        }
        Ok(())
    })
}

/// Knows the context, the kind of memory, both pointers, the ordinal, and start and length.
#[no_mangle]
pub unsafe extern "C" fn cuPointerGetAttribute(
    value: *mut c_void,
    attribute: u32,
    address: u64,
) -> i32 {
    with_context("cuPointerGetAttribute", |cx| unsafe {
        out(value, "data")?;
        let found = cx.memory.span(address, 1);
        let found = found.map_err(|_| Refusal::quiet(Status::INVALID_VALUE))?;
        match attribute {
            1 => *value.cast() = crate::context::CONTEXT,
            // CU_MEMORYTYPE_DEVICE or CU_MEMORYTYPE_HOST
            2 => *value.cast::<u32>() = if found.kind == Kind::Device { 2 } else { 1 },
            3 | 4 => *value.cast() = address,
            8 => *value.cast::<u32>() = 0,
            9 => *value.cast::<i32>() = 0,
            11 => *value.cast() = found.region.base,
            12 => *value.cast() = found.region.bytes,
            _ => return Err(refuse!(NOT_SUPPORTED, "attribute {attribute}")),
        }
        Ok(())
    })
}
