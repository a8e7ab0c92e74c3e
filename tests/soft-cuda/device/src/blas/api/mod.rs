//! cuBLAS's functions, as a program calls them. What each does is told by NVIDIA's cuBLAS reference.
#![allow(missing_docs, clippy::missing_safety_doc)]

mod listed;
mod products;

use super::{with_blas, BlasRefusal, Handle};
use crate::blas_refuse;
use crate::context::Context;
use crate::memory::ALIGNMENT;
use std::ffi::c_void;

fn handle(cx: &mut Context, handle: u64) -> Result<&mut Handle, BlasRefusal> {
    let found = cx.blas.get_mut(handle);
    found.map_err(|refusal| blas_refuse!(NOT_INITIALIZED, "{}", refusal.message))
}

unsafe fn out<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T, BlasRefusal> {
    // SAFETY: null, or the caller's promise.
    unsafe { pointer.as_mut() }.ok_or_else(|| blas_refuse!(INVALID_VALUE, "`{name}` is null"))
}

#[no_mangle]
pub unsafe extern "C" fn cublasCreate_v2(to: *mut u64) -> i32 {
    with_blas("cublasCreate_v2", |cx| unsafe {
        *out(to, "handle")? = cx.blas.insert(Handle::default());
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cublasDestroy_v2(blas: u64) -> i32 {
    with_blas("cublasDestroy_v2", |cx| {
        handle(cx, blas)?;
        Ok(cx.blas.remove(blas).map(drop)?)
    })
}

#[no_mangle]
pub unsafe extern "C" fn cublasGetVersion_v2(_blas: u64, version: *mut i32) -> i32 {
    with_blas("cublasGetVersion_v2", |_| unsafe {
        *out(version, "version")? = 120_900;
        Ok(())
    })
}

/// Gives the workspace back to the library, as documented.
#[no_mangle]
pub unsafe extern "C" fn cublasSetStream_v2(blas: u64, stream: u64) -> i32 {
    with_blas("cublasSetStream_v2", |cx| {
        cx.stream_id(stream)
            .map_err(|refusal| blas_refuse!(INVALID_VALUE, "{}", refusal.message))?;
        let found = handle(cx, blas)?;
        found.stream = stream;
        found.workspace = None;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cublasGetStream_v2(blas: u64, stream: *mut u64) -> i32 {
    with_blas("cublasGetStream_v2", |cx| unsafe {
        *out(stream, "streamId")? = handle(cx, blas)?.stream;
        Ok(())
    })
}

/// Products write to its first 64 KiB, so that live data in it is noticed.
#[no_mangle]
pub unsafe extern "C" fn cublasSetWorkspace_v2(
    blas: u64,
    workspace: *mut c_void,
    bytes: usize,
) -> i32 {
    with_blas("cublasSetWorkspace_v2", |cx| {
        let (address, bytes) = (workspace as u64, bytes as u64);
        if address % ALIGNMENT != 0 {
            return Err(blas_refuse!(
                INVALID_VALUE,
                "the workspace at {address:#x} is not a multiple of {ALIGNMENT}"
            ));
        }
        if bytes > 0 {
            let found = cx.memory.span(address, bytes);
            found.map_err(|text| blas_refuse!(INVALID_VALUE, "workspace: {text}"))?;
        }
        handle(cx, blas)?.workspace = (bytes > 0).then_some((address, bytes));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cublasSetMathMode(blas: u64, mode: u32) -> i32 {
    with_blas("cublasSetMathMode", |cx| {
        if !matches!(mode & 15, 0..=3) || mode & !19 != 0 {
            return Err(blas_refuse!(INVALID_VALUE, "there is no math mode {mode}"));
        }
        handle(cx, blas)?.math = mode;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cublasGetMathMode(blas: u64, mode: *mut u32) -> i32 {
    with_blas("cublasGetMathMode", |cx| unsafe {
        *out(mode, "mode")? = handle(cx, blas)?.math;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cublasSetPointerMode_v2(blas: u64, mode: u32) -> i32 {
    with_blas("cublasSetPointerMode_v2", |cx| {
        if mode > 1 {
            return Err(blas_refuse!(
                INVALID_VALUE,
                "there is no pointer mode {mode}"
            ));
        }
        handle(cx, blas)?.device_pointers = mode == 1;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cublasGetPointerMode_v2(blas: u64, mode: *mut u32) -> i32 {
    with_blas("cublasGetPointerMode_v2", |cx| unsafe {
        *out(mode, "mode")? = u32::from(handle(cx, blas)?.device_pointers);
        Ok(())
    })
}

/// Whether atomics are allowed makes no difference here: products are the same bits always.
#[no_mangle]
pub unsafe extern "C" fn cublasSetAtomicsMode(blas: u64, _mode: u32) -> i32 {
    with_blas("cublasSetAtomicsMode", |cx| handle(cx, blas).map(|_| ()))
}
