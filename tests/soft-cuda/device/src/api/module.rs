//! `cuModule*`, `cuFunc*`.
#![allow(missing_docs, clippy::missing_safety_doc)]

use crate::context::Context;
use crate::driver::{out, tidying, with_context};
use crate::image;
use crate::launch::{opt_in_shared, NOMINAL_REGISTERS};
use crate::refuse;
use crate::status::Refusal;
use std::ffi::{c_char, c_void, CStr};

fn load(cx: &mut Context, bytes: &[u8], is_ptx: bool) -> Result<u64, Refusal> {
    cx.load_module(bytes, is_ptx)
}

unsafe fn load_data(cx: &mut Context, image: *const c_void) -> Result<u64, Refusal> {
    if image.is_null() {
        return Err(refuse!(INVALID_VALUE, "the image is null"));
    }
    // SAFETY: not null; the caller's promise.
    let (is_ptx, bytes) = unsafe { (*image.cast::<u8>() != 0x7f, image::read(image.cast())) };
    let bytes = bytes.map_err(|e| match is_ptx {
        true => refuse!(INVALID_PTX, "{e}"),
        false => refuse!(INVALID_IMAGE, "{e}"),
    })?;
    load(cx, &bytes, is_ptx)
}

#[no_mangle]
pub unsafe extern "C" fn cuModuleLoadData(module: *mut u64, image: *const c_void) -> i32 {
    with_context("cuModuleLoadData", |cx| unsafe {
        let to = out(module, "module")?;
        *to = load_data(cx, image)?;
        Ok(())
    })
}

/// Options are not read.
#[no_mangle]
pub unsafe extern "C" fn cuModuleLoadDataEx(
    module: *mut u64,
    image: *const c_void,
    _count: u32,
    _options: *mut u32,
    _values: *mut *mut c_void,
) -> i32 {
    with_context("cuModuleLoadDataEx", |cx| unsafe {
        let to = out(module, "module")?;
        *to = load_data(cx, image)?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuModuleLoad(module: *mut u64, path: *const c_char) -> i32 {
    with_context("cuModuleLoad", |cx| unsafe {
        let to = out(module, "module")?;
        if path.is_null() {
            return Err(refuse!(INVALID_VALUE, "the file's name is null"));
        }
        let path = CStr::from_ptr(path).to_string_lossy();
        let mut bytes =
            std::fs::read(&*path).map_err(|e| refuse!(FILE_NOT_FOUND, "{path}: {e}"))?;
        let is_ptx = bytes.first() != Some(&0x7f);
        if is_ptx {
            let text = String::from_utf8_lossy(&bytes);
            bytes = image::from_ptx(&text).map_err(|e| refuse!(INVALID_PTX, "{path}: {e}"))?;
        }
        *to = load(cx, &bytes, is_ptx)?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuModuleUnload(module: u64) -> i32 {
    tidying("cuModuleUnload", |cx| cx.unload_module(module))
}

#[no_mangle]
pub unsafe extern "C" fn cuModuleGetFunction(
    function: *mut u64,
    module: u64,
    name: *const c_char,
) -> i32 {
    with_context("cuModuleGetFunction", |cx| unsafe {
        let to = out(function, "hfunc")?;
        if name.is_null() {
            return Err(refuse!(INVALID_VALUE, "the name is null"));
        }
        *to = cx.function(module, CStr::from_ptr(name))?;
        Ok(())
    })
}

/// Modules have no global variables here.
#[no_mangle]
pub unsafe extern "C" fn cuModuleGetGlobal_v2(
    _address: *mut u64,
    _bytes: *mut usize,
    module: u64,
    name: *const c_char,
) -> i32 {
    with_context("cuModuleGetGlobal_v2", |cx| unsafe {
        cx.modules.get(module)?;
        if name.is_null() {
            return Err(refuse!(INVALID_VALUE, "the name is null"));
        }
        Err(refuse!(
            NOT_FOUND,
            "{:?}: modules of the software device have no global variables",
            CStr::from_ptr(name)
        ))
    })
}

/// Registers, local and constant memory are nominal: there are none.
#[no_mangle]
pub unsafe extern "C" fn cuFuncGetAttribute(value: *mut i32, attribute: u32, function: u64) -> i32 {
    with_context("cuFuncGetAttribute", |cx| unsafe {
        let found = cx.functions.get(function)?;
        let fixed = cx.modules.get(found.module)?.static_shared();
        *out(value, "pi")? = match attribute {
            0 => found.max_threads as i32,
            1 => fixed as i32,
            2 | 3 | 7 => 0,
            4 => NOMINAL_REGISTERS as i32,
            5 | 6 => cx.settings.arch as i32,
            8 => found.max_dynamic_shared as i32,
            9 => -1,
            _ => return Err(refuse!(INVALID_VALUE, "there is no attribute {attribute}")),
        };
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuFuncSetAttribute(function: u64, attribute: u32, value: i32) -> i32 {
    with_context("cuFuncSetAttribute", |cx| {
        let fixed = {
            let found = cx.functions.get(function)?;
            cx.modules.get(found.module)?.static_shared()
        };
        let most = i64::from(opt_in_shared(cx.settings.arch)) - fixed as i64;
        let found = cx.functions.get_mut(function)?;
        match attribute {
            8 if (0..=most).contains(&i64::from(value)) => {
                found.max_dynamic_shared = value as u32;
                Ok(())
            }
            8 => Err(refuse!(
                INVALID_VALUE,
                "kernel `{}` asks for {value} bytes of dynamic shared memory, {most} are possible",
                found.name
            )),
            9 if (-1..=100).contains(&value) => Ok(()),
            _ => Err(refuse!(
                INVALID_VALUE,
                "attribute {attribute} cannot be set to {value}"
            )),
        }
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuFuncSetCacheConfig(function: u64, config: u32) -> i32 {
    with_context("cuFuncSetCacheConfig", |cx| {
        cx.functions.get(function)?;
        match config {
            0..=3 => Ok(()),
            _ => Err(refuse!(INVALID_VALUE, "there is no configuration {config}")),
        }
    })
}
