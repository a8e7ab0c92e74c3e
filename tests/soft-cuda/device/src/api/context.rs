//! `cuDevicePrimaryCtx*`, `cuCtx*`.
#![allow(missing_docs, clippy::missing_safety_doc)]

use crate::context::CONTEXT;
use crate::driver::{
    check_context, check_device, initialised, is_current, out, set_current, with_context,
    with_driver,
};
use crate::refuse;

#[no_mangle]
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut u64, device: i32) -> i32 {
    with_driver("cuDevicePrimaryCtxRetain", |driver| unsafe {
        check_device(device)?;
        *out(context, "pctx")? = driver.retain()?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuDevicePrimaryCtxRelease_v2(device: i32) -> i32 {
    with_driver("cuDevicePrimaryCtxRelease_v2", |driver| {
        check_device(device)?;
        driver.release()
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuDevicePrimaryCtxReset_v2(device: i32) -> i32 {
    with_driver("cuDevicePrimaryCtxReset_v2", |driver| {
        check_device(device)?;
        driver.destroy();
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuDevicePrimaryCtxGetState(
    device: i32,
    flags: *mut u32,
    active: *mut i32,
) -> i32 {
    with_driver("cuDevicePrimaryCtxGetState", |driver| unsafe {
        check_device(device)?;
        *out(flags, "flags")? = 0;
        *out(active, "active")? = i32::from(driver.is_active());
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuCtxSetCurrent(context: u64) -> i32 {
    initialised("cuCtxSetCurrent", |_| {
        if context != 0 {
            check_context(context)?;
        }
        set_current(context != 0);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuCtxGetCurrent(context: *mut u64) -> i32 {
    initialised("cuCtxGetCurrent", |_| unsafe {
        *out(context, "pctx")? = if is_current() { CONTEXT } else { 0 };
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuCtxGetDevice(device: *mut i32) -> i32 {
    with_context("cuCtxGetDevice", |_| unsafe {
        *out(device, "device")? = 0;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuCtxSynchronize() -> i32 {
    with_context("cuCtxSynchronize", |cx| {
        cx.refuse_during_capture("cuCtxSynchronize")?;
        cx.wait_for_all()
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuCtxSetFlags(_flags: u32) -> i32 {
    with_context("cuCtxSetFlags", |_| Ok(()))
}

#[no_mangle]
pub unsafe extern "C" fn cuCtxGetStreamPriorityRange(least: *mut i32, greatest: *mut i32) -> i32 {
    with_context("cuCtxGetStreamPriorityRange", |_| unsafe {
        if !least.is_null() {
            *least = 0;
        }
        if !greatest.is_null() {
            *greatest = -5;
        }
        Ok(())
    })
}

/// Limits are taken and not kept: nothing here depends on one.
#[no_mangle]
pub unsafe extern "C" fn cuCtxSetLimit(limit: u32, _value: usize) -> i32 {
    with_context("cuCtxSetLimit", |_| match limit {
        0..=6 => Ok(()),
        _ => Err(refuse!(INVALID_VALUE, "there is no limit {limit}")),
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuCtxGetLimit(value: *mut usize, limit: u32) -> i32 {
    with_context("cuCtxGetLimit", |_| unsafe {
        *out(value, "pvalue")? = match limit {
            0 => crate::emulator::STACK_BYTES,
            1..=6 => 0,
            _ => return Err(refuse!(INVALID_VALUE, "there is no limit {limit}")),
        };
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuProfilerStart() -> i32 {
    with_context("cuProfilerStart", |_| Ok(()))
}

#[no_mangle]
pub unsafe extern "C" fn cuProfilerStop() -> i32 {
    with_context("cuProfilerStop", |_| Ok(()))
}

/// Not a function of the driver: what the device has done, for tests. See [`crate::counts::Counts`].
#[no_mangle]
pub unsafe extern "C" fn soft_cuda_counts(counts: *mut crate::counts::Counts) -> i32 {
    with_driver("soft_cuda_counts", |driver| unsafe {
        *out(counts, "counts")? = driver.counts();
        Ok(())
    })
}
