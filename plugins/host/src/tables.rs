//! The host's base table, random numbers, and the look-up of further tables.
//!
//! SAFETY of every function here: as in [`graph_api`](crate::graph_api).

use std::ffi::c_void;
use std::ptr::from_ref;

use ablate_abi::{
    level, Host, RandomApi, Sink, Status, Str, ABI_MAJOR, ABI_MINOR, BATCH_API, DECLARE_API,
    GRAPH_API, MODEL_API, PRETRAINED_API, RANDOM_API,
};
use ablate_random::Stream;

use crate::context::{
    answer, array, context, host_error, set_plugin_error, text, ByteSink, Refusal, Tag,
};

unsafe extern "C" fn get_extension(id: Str) -> *const c_void {
    // SAFETY: see the module.
    match unsafe { id.get() } {
        Some(RANDOM_API) => from_ref(&RANDOM).cast(),
        Some(DECLARE_API) => from_ref(&crate::batch_api::DECLARE).cast(),
        Some(BATCH_API) => from_ref(&crate::batch_api::BATCH).cast(),
        Some(MODEL_API) => from_ref(&crate::model_api::TABLE).cast(),
        Some(PRETRAINED_API) => from_ref(&crate::pretrained::TABLE).cast(),
        Some(GRAPH_API) => from_ref(&crate::graph_api::TABLE).cast(),
        _ => std::ptr::null(),
    }
}

/// Text of a message, even where it is not UTF-8.
unsafe fn lossy(message: Str) -> String {
    if message.ptr.is_null() {
        return String::new();
    }
    // SAFETY: see the module; null was excluded.
    let bytes = unsafe { std::slice::from_raw_parts(message.ptr, message.len) };
    String::from_utf8_lossy(bytes).into_owned()
}

unsafe extern "C" fn set_error(message: Str) {
    // A refusal of `answer` has no meaning here: the message is simply not taken.
    answer(|| {
        // SAFETY: see the module.
        set_plugin_error(unsafe { lossy(message) });
        Ok(())
    });
}

unsafe extern "C" fn last_error() -> Str {
    host_error()
}

unsafe extern "C" fn log(importance: u32, message: Str) {
    answer(|| {
        // SAFETY: see the module.
        let message = unsafe { lossy(message) };
        match importance {
            level::ERROR => tracing::error!(target: "plugin", "{message}"),
            level::WARN => tracing::warn!(target: "plugin", "{message}"),
            level::INFO => tracing::info!(target: "plugin", "{message}"),
            _ => tracing::debug!(target: "plugin", "{message}"),
        }
        Ok(())
    });
}

unsafe extern "C" fn write(sink: *mut Sink, bytes: *const u8, length: usize) -> Status {
    answer(|| {
        // SAFETY: see the module.
        let sink: &mut ByteSink = unsafe { context(sink, Tag::Sink) }?;
        // SAFETY: see the module.
        sink.bytes
            .extend_from_slice(unsafe { array(bytes, length, "the bytes") }?);
        Ok(())
    })
}

/// The table that every instance gets.
pub(crate) static HOST: Host = Host {
    struct_size: size_of::<Host>() as u32,
    abi_major: ABI_MAJOR,
    abi_minor: ABI_MINOR,
    name: Str::new("ablate"),
    version: Str::new(env!("CARGO_PKG_VERSION")),
    get_extension: Some(get_extension),
    set_error: Some(set_error),
    last_error: Some(last_error),
    log: Some(log),
    write: Some(write),
};

unsafe extern "C" fn stream(seed: u64, name: Str) -> u64 {
    let mut key = 0;
    answer(|| {
        // SAFETY: see the module.
        key = Stream::new(seed, unsafe { text(name, "the stream's name") }?).key();
        Ok(())
    });
    key
}

unsafe extern "C" fn child(key: u64, index: u64) -> u64 {
    Stream::from_key(key).child(index).key()
}

unsafe extern "C" fn words(key: u64, step: u64, first: u64, out: *mut u32, count: usize) -> Status {
    answer(|| {
        if count == 0 {
            return Ok(());
        }
        if out.is_null() {
            return Err(Refusal::invalid("the pointer for the words is null"));
        }
        let stream = Stream::from_key(key);
        for i in 0..count {
            // SAFETY: the plugin gives room for `count` words, which need not hold values yet.
            unsafe {
                out.add(i)
                    .write(stream.u32_at(step, first.wrapping_add(i as u64)))
            };
        }
        Ok(())
    })
}

static RANDOM: RandomApi = RandomApi {
    struct_size: size_of::<RandomApi>() as u32,
    reserved: 0,
    stream: Some(stream),
    child: Some(child),
    words: Some(words),
};
