//! `cuMemPool*`: the device has one pool, from which all memory comes.
#![allow(missing_docs, clippy::missing_safety_doc)]

use crate::context::POOL;
use crate::driver::{out, with_context};
use crate::refuse;
use crate::status::Refusal;
use std::ffi::c_void;

fn check(pool: u64) -> Result<(), Refusal> {
    if pool == POOL {
        return Ok(());
    }
    Err(refuse!(INVALID_VALUE, "{pool:#x} is no memory pool"))
}

#[no_mangle]
pub unsafe extern "C" fn cuMemPoolSetAttribute(
    pool: u64,
    attribute: u32,
    value: *mut c_void,
) -> i32 {
    with_context("cuMemPoolSetAttribute", |cx| unsafe {
        check(pool)?;
        out(value, "value")?;
        let value = match attribute {
            1..=3 => u64::from(*value.cast::<u32>()),
            4 | 6 | 8 => *value.cast::<u64>(),
            _ => {
                return Err(refuse!(
                    INVALID_VALUE,
                    "attribute {attribute} cannot be set"
                ))
            }
        };
        cx.pool_attributes.insert(attribute, value);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuMemPoolGetAttribute(
    pool: u64,
    attribute: u32,
    value: *mut c_void,
) -> i32 {
    with_context("cuMemPoolGetAttribute", |cx| unsafe {
        check(pool)?;
        out(value, "value")?;
        let kept = cx.pool_attributes.get(&attribute).copied();
        let (free, total) = cx.memory.info();
        match attribute {
            1..=3 => *value.cast::<u32>() = kept.unwrap_or(1) as u32,
            4 => *value.cast::<u64>() = kept.unwrap_or(0),
            5..=8 => *value.cast::<u64>() = total - free,
            _ => return Err(refuse!(INVALID_VALUE, "there is no attribute {attribute}")),
        }
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuMemPoolTrimTo(pool: u64, _keep: usize) -> i32 {
    with_context("cuMemPoolTrimTo", |_| check(pool))
}

#[no_mangle]
pub unsafe extern "C" fn cuMemAllocFromPoolAsync(
    address: *mut u64,
    bytes: usize,
    pool: u64,
    stream: u64,
) -> i32 {
    with_context("cuMemAllocFromPoolAsync", |cx| unsafe {
        check(pool)?;
        let to = out(address, "dptr")?;
        *to = cx.allocate_in_order(bytes as u64, stream)?;
        Ok(())
    })
}
