//! `cuMemcpy*`, `cuMemset*`.
#![allow(missing_docs, clippy::missing_safety_doc)]

use crate::driver::with_context;
use crate::transfer::{Copy, Side};
use std::ffi::c_void;

/// A copy between given sides, waited for on the default stream or queued on one.
macro_rules! copies {
    ($($waiting:ident, $queued:ident: $to:ty [$to_side:ident] <- $from:ty [$from_side:ident];)*) => {$(
        #[no_mangle]
        pub unsafe extern "C" fn $waiting(to: $to, from: $from, bytes: usize) -> i32 {
            with_context(stringify!($waiting), |cx| unsafe {
                cx.copy(Copy {
                    to: to as u64, to_side: Side::$to_side,
                    from: from as u64, from_side: Side::$from_side,
                    bytes: bytes as u64,
                }, 0, true)
            })
        }

        #[no_mangle]
        pub unsafe extern "C" fn $queued(to: $to, from: $from, bytes: usize, stream: u64) -> i32 {
            with_context(stringify!($queued), |cx| unsafe {
                cx.copy(Copy {
                    to: to as u64, to_side: Side::$to_side,
                    from: from as u64, from_side: Side::$from_side,
                    bytes: bytes as u64,
                }, stream, false)
            })
        }
    )*};
}

copies! {
    cuMemcpyHtoD_v2, cuMemcpyHtoDAsync_v2: u64 [Device] <- *const c_void [Host];
    cuMemcpyDtoH_v2, cuMemcpyDtoHAsync_v2: *mut c_void [Host] <- u64 [Device];
    cuMemcpyDtoD_v2, cuMemcpyDtoDAsync_v2: u64 [Device] <- u64 [Device];
}

#[no_mangle]
pub unsafe extern "C" fn cuMemcpy(to: u64, from: u64, bytes: usize) -> i32 {
    with_context("cuMemcpy", |cx| unsafe {
        let (to_side, from_side) = (cx.side(to), cx.side(from));
        let bytes = bytes as u64;
        cx.copy(
            Copy {
                to,
                to_side,
                from,
                from_side,
                bytes,
            },
            0,
            true,
        )
    })
}

#[no_mangle]
pub unsafe extern "C" fn cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: u64) -> i32 {
    with_context("cuMemcpyAsync", |cx| unsafe {
        let (to_side, from_side) = (cx.side(to), cx.side(from));
        let bytes = bytes as u64;
        cx.copy(
            Copy {
                to,
                to_side,
                from,
                from_side,
                bytes,
            },
            stream,
            false,
        )
    })
}

macro_rules! fills {
    ($($waiting:ident, $queued:ident: $element:ty;)*) => {$(
        #[no_mangle]
        pub unsafe extern "C" fn $waiting(to: u64, value: $element, count: usize) -> i32 {
            with_context(stringify!($waiting), |cx| {
                cx.fill(to, &value.to_ne_bytes(), count as u64, 0, true)
            })
        }

        #[no_mangle]
        pub unsafe extern "C" fn $queued(to: u64, value: $element, count: usize, stream: u64) -> i32 {
            with_context(stringify!($queued), |cx| {
                cx.fill(to, &value.to_ne_bytes(), count as u64, stream, false)
            })
        }
    )*};
}

fills! {
    cuMemsetD8_v2, cuMemsetD8Async: u8;
    cuMemsetD16_v2, cuMemsetD16Async: u16;
    cuMemsetD32_v2, cuMemsetD32Async: u32;
}
