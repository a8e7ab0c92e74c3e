//! `cuGetErrorName`, `cuGetErrorString`.
#![allow(missing_docs, clippy::missing_safety_doc)]

use crate::status::Status;
use std::ffi::c_char;

unsafe fn describe(error: i32, out: *mut *const c_char, name: bool) -> i32 {
    if out.is_null() {
        return Status::INVALID_VALUE.0;
    }
    let found = Status(error).describe();
    let text = found.map(|(a, b)| if name { a } else { b });
    // SAFETY: not null; the caller's promise otherwise.
    unsafe { out.write(text.map_or(std::ptr::null(), |text| text.as_ptr())) };
    match text {
        Some(_) => 0,
        None => Status::INVALID_VALUE.0,
    }
}

#[no_mangle]
pub unsafe extern "C" fn cuGetErrorName(error: i32, out: *mut *const c_char) -> i32 {
    unsafe { describe(error, out, true) }
}

#[no_mangle]
pub unsafe extern "C" fn cuGetErrorString(error: i32, out: *mut *const c_char) -> i32 {
    unsafe { describe(error, out, false) }
}
