//! `cuStream*`, `cuLaunchHostFunc`.
#![allow(missing_docs, clippy::missing_safety_doc)]

use crate::context::Context;
use crate::counts::Sort;
use crate::driver::{call_back, out, put, tidying, with_context};
use crate::refuse;
use crate::status::{Refusal, Status};
use crate::stream::{Stream, Work};
use std::ffi::c_void;

fn create(cx: &mut Context, flags: u32, priority: i32) -> Result<u64, Refusal> {
    if flags > 1 {
        return Err(refuse!(INVALID_VALUE, "there are no flags {flags:#x}"));
    }
    let handle = cx.stream_names.insert(());
    // Flag 1: CU_STREAM_NON_BLOCKING.
    cx.streams
        .insert(handle, Stream::new(flags == 0, priority.clamp(-5, 0)));
    Ok(handle)
}

#[no_mangle]
pub unsafe extern "C" fn cuStreamCreate(stream: *mut u64, flags: u32) -> i32 {
    with_context("cuStreamCreate", |cx| unsafe {
        *out(stream, "phStream")? = create(cx, flags, 0)?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuStreamCreateWithPriority(
    stream: *mut u64,
    flags: u32,
    priority: i32,
) -> i32 {
    with_context("cuStreamCreateWithPriority", |cx| unsafe {
        *out(stream, "phStream")? = create(cx, flags, priority)?;
        Ok(())
    })
}

/// What is queued still runs, when something waits for it or for everything.
#[no_mangle]
pub unsafe extern "C" fn cuStreamDestroy_v2(stream: u64) -> i32 {
    tidying("cuStreamDestroy_v2", |cx| {
        let id = cx.stream_id(stream)?;
        if id == 0 || id == 2 {
            return Err(refuse!(
                INVALID_HANDLE,
                "a default stream cannot be destroyed"
            ));
        }
        cx.stream_names.remove(id)?;
        if cx.stream(id)?.is_idle() {
            cx.streams.remove(&id);
        }
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuStreamSynchronize(stream: u64) -> i32 {
    with_context("cuStreamSynchronize", |cx| {
        let id = cx.stream_id(stream)?;
        cx.refuse_captured(id)?;
        cx.wait_for_stream(id)
    })
}

/// Asking lets the stream do one more piece of work.
#[no_mangle]
pub unsafe extern "C" fn cuStreamQuery(stream: u64) -> i32 {
    with_context("cuStreamQuery", |cx| {
        let id = cx.stream_id(stream)?;
        cx.refuse_captured(id)?;
        if cx.stream(id)?.is_idle() {
            return cx.wait_for_stream(id);
        }
        cx.step(id)?;
        Err(Refusal::quiet(Status::NOT_READY))
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuStreamWaitEvent(stream: u64, event: u64, flags: u32) -> i32 {
    with_context("cuStreamWaitEvent", |cx| match flags {
        0 | 1 => cx.wait_event(stream, event),
        _ => Err(refuse!(INVALID_VALUE, "there are no flags {flags:#x}")),
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuStreamGetFlags(stream: u64, flags: *mut u32) -> i32 {
    with_context("cuStreamGetFlags", |cx| unsafe {
        let id = cx.stream_id(stream)?;
        *out(flags, "flags")? = u32::from(!cx.stream(id)?.blocking);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuStreamGetPriority(stream: u64, priority: *mut i32) -> i32 {
    with_context("cuStreamGetPriority", |cx| unsafe {
        let id = cx.stream_id(stream)?;
        *out(priority, "priority")? = cx.stream(id)?.priority;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuStreamBeginCapture_v2(stream: u64, mode: u32) -> i32 {
    with_context("cuStreamBeginCapture_v2", |cx| {
        cx.begin_capture(stream, mode)
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuStreamEndCapture(stream: u64, graph: *mut u64) -> i32 {
    with_context("cuStreamEndCapture", |cx| unsafe {
        let to = out(graph, "phGraph")?;
        *to = 0;
        *to = cx.end_capture(stream)?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuStreamIsCapturing(stream: u64, status: *mut u32) -> i32 {
    with_context("cuStreamIsCapturing", |cx| unsafe {
        let id = cx.stream_id(stream)?;
        *out(status, "captureStatus")? = u32::from(cx.stream(id)?.capture.is_some());
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuStreamGetCaptureInfo(
    stream: u64,
    status: *mut u32,
    id_out: *mut u64,
) -> i32 {
    with_context("cuStreamGetCaptureInfo", |cx| unsafe {
        let id = cx.stream_id(stream)?;
        let capture = cx.stream(id)?.capture;
        *out(status, "captureStatus_out")? = u32::from(capture.is_some());
        put(id_out, capture.unwrap_or(0));
        Ok(())
    })
}

/// Modes are taken and given back, and not applied: a capture's own mode decides.
#[no_mangle]
pub unsafe extern "C" fn cuThreadExchangeStreamCaptureMode(mode: *mut u32) -> i32 {
    use std::cell::Cell;
    thread_local!(static MODE: Cell<u32> = const { Cell::new(0) });
    with_context("cuThreadExchangeStreamCaptureMode", |_| unsafe {
        let mode = out(mode, "mode")?;
        *mode = MODE.replace(*mode);
        Ok(())
    })
}

/// The function must not call the driver, as documented; a call from it is refused.
#[no_mangle]
pub unsafe extern "C" fn cuLaunchHostFunc(
    stream: u64,
    function: Option<unsafe extern "C" fn(*mut c_void)>,
    data: *mut c_void,
) -> i32 {
    with_context("cuLaunchHostFunc", |cx| {
        let Some(function) = function else {
            return Err(refuse!(INVALID_VALUE, "the function is null"));
        };
        let data = data as u64;
        let work = Work::new(Sort::Other, "host function", move |_, _| {
            // SAFETY: the program's own promise for its function and data.
            call_back(|| unsafe { function(data as *mut c_void) });
            Ok(())
        });
        cx.submit(stream, work)
    })
}
