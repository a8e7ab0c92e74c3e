//! `cuEvent*`.
#![allow(missing_docs, clippy::missing_safety_doc)]

use crate::driver::{out, tidying, with_context};
use crate::event::Event;
use crate::refuse;

#[no_mangle]
pub unsafe extern "C" fn cuEventCreate(event: *mut u64, flags: u32) -> i32 {
    with_context("cuEventCreate", |cx| unsafe {
        let to = out(event, "phEvent")?;
        if flags > 7 {
            return Err(refuse!(INVALID_VALUE, "there are no flags {flags:#x}"));
        }
        *to = cx.events.insert(Event::new(flags));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuEventDestroy_v2(event: u64) -> i32 {
    tidying("cuEventDestroy_v2", |cx| cx.events.remove(event).map(drop))
}

#[no_mangle]
pub unsafe extern "C" fn cuEventRecord(event: u64, stream: u64) -> i32 {
    with_context("cuEventRecord", |cx| cx.record_event(event, stream))
}

#[no_mangle]
pub unsafe extern "C" fn cuEventRecordWithFlags(event: u64, stream: u64, flags: u32) -> i32 {
    with_context("cuEventRecordWithFlags", |cx| match flags {
        0 => cx.record_event(event, stream),
        _ => Err(refuse!(NOT_SUPPORTED, "flags {flags:#x}")),
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuEventQuery(event: u64) -> i32 {
    with_context("cuEventQuery", |cx| cx.query_event(event))
}

#[no_mangle]
pub unsafe extern "C" fn cuEventSynchronize(event: u64) -> i32 {
    with_context("cuEventSynchronize", |cx| cx.synchronise_event(event))
}

#[no_mangle]
pub unsafe extern "C" fn cuEventElapsedTime(milliseconds: *mut f32, start: u64, end: u64) -> i32 {
    with_context("cuEventElapsedTime", |cx| unsafe {
        *out(milliseconds, "pMilliseconds")? = cx.elapsed(start, end)?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuEventElapsedTime_v2(
    milliseconds: *mut f32,
    start: u64,
    end: u64,
) -> i32 {
    unsafe { cuEventElapsedTime(milliseconds, start, end) }
}
