//! Functions that pass a call on to the plugin under test: structs in another size, arrays in guarded memory.

use std::ffi::c_void;

use ablate_abi::{
    read_sized, status, ArrowArray, ArrowSchema, BatchContext, BatchView, Declarations, Event,
    GraphContext, Host, Metric, ParameterInfo, ScheduleInput, Series, Sink, Status, Str, Tensor,
    UpdateInput, UpdateOutput,
};

use super::{look, REAL};
use crate::border::guarded::{Access, Guarded};
use crate::border::{hosts, releases, resized};

/// A function of the plugin, or "unsupported"; null ones are never handed out, so it is there.
macro_rules! real {
    ($table:ident . $field:ident) => {
        match REAL.get().and_then(|real| real.$table.$field) {
            Some(function) => function,
            None => return status::UNSUPPORTED,
        }
    };
}

// SAFETY of all functions below: the host keeps the ABI, so that structs and arrays have the sizes that they
// say, and the plugin gets the same promises for its copies, which live for the call.

macro_rules! creates {
    ($($name:ident = $table:ident;)*) => {$(
        pub(super) unsafe extern "C" fn $name(
            host: *const Host,
            config: Str,
            instance: *mut *mut c_void,
        ) -> Status {
            let create = real!($table.create);
            let text = unsafe { array(config.ptr, config.len, Access::Read) };
            let config = Str { ptr: text.as_ptr(), len: config.len };
            unsafe { create(hosts::in_place_of(host), config, instance) }
        }
    )*};
}

creates! {
    create_objective = objective;
    create_optimizer = optimizer;
    create_schedule = schedule;
    create_stopping = stopping;
    create_operator = operator;
}

/// A guarded copy of the host's array; empty where the pointer is null.
unsafe fn array<T: Copy>(pointer: *const T, length: usize, access: Access) -> Guarded<T> {
    if pointer.is_null() || length == 0 {
        return Guarded::new(&[], access);
    }
    Guarded::new(
        unsafe { std::slice::from_raw_parts(pointer, length) },
        access,
    )
}

/// The copy's address, but null where the original is null.
fn address<T: Copy>(copy: &Guarded<T>, original: *const T) -> *const T {
    if original.is_null() {
        original
    } else {
        copy.as_ptr()
    }
}

pub(super) unsafe extern "C" fn prepare(
    instance: *mut c_void,
    cx: *mut BatchContext,
    view: *const BatchView,
    units: *mut f64,
) -> Status {
    let prepare = real!(objective.prepare);
    unsafe {
        let Ok(own) = read_sized(view) else {
            return status::INVALID;
        };
        let (rows, cells) = (own.batch as usize, (own.batch * own.seq) as usize);
        let read = Access::Read;
        let mut input_ids = array(own.input_ids.cast_const(), cells, Access::Write);
        let token_type_ids = array(own.token_type_ids, cells, read);
        let attention_mask = array(own.attention_mask, cells, read);
        let special_tokens_mask = array(own.special_tokens_mask, cells, read);
        let next_sentence_label = array(own.next_sentence_label, rows, read);
        let example_ids = array(own.example_ids, rows, read);
        let row_keys = array(own.row_keys, rows, read);
        let special_ids = array(own.special_ids, own.special_count, read);
        let continues_word = array(own.continues_word, own.vocab_size as usize, read);
        let shown = resized(
            &BatchView {
                input_ids: input_ids.as_mut_ptr(),
                token_type_ids: token_type_ids.as_ptr(),
                attention_mask: attention_mask.as_ptr(),
                special_tokens_mask: special_tokens_mask.as_ptr(),
                next_sentence_label: address(&next_sentence_label, own.next_sentence_label),
                example_ids: example_ids.as_ptr(),
                row_keys: row_keys.as_ptr(),
                special_ids: special_ids.as_ptr(),
                continues_word: address(&continues_word, own.continues_word),
                ..own
            },
            read,
        );
        let code = prepare(instance, cx, shown.as_ptr().cast(), units);
        if !own.input_ids.is_null() {
            std::ptr::copy_nonoverlapping(input_ids.as_ptr(), own.input_ids, cells);
        }
        look(&input_ids, "prepare", "input_ids");
        code
    }
}

/// A parameter's info in guarded memory, with its array.
unsafe fn info(own: *const ParameterInfo) -> Option<(Guarded<u8>, Guarded<u64>)> {
    let own = unsafe { read_sized(own) }.ok()?;
    let dims = unsafe { array(own.dims, own.rank as usize, Access::Read) };
    let shown = ParameterInfo {
        dims: dims.as_ptr(),
        ..own
    };
    Some((resized(&shown, Access::Read), dims))
}

pub(super) unsafe extern "C" fn slots(
    instance: *mut c_void,
    parameter: *const ParameterInfo,
    into: *mut Declarations,
) -> Status {
    let slots = real!(optimizer.slots);
    let Some((shown, _dims)) = (unsafe { info(parameter) }) else {
        return status::INVALID;
    };
    unsafe { slots(instance, shown.as_ptr().cast(), into) }
}

pub(super) unsafe extern "C" fn update(
    instance: *mut c_void,
    cx: *mut GraphContext,
    input: *const UpdateInput,
    output: *mut UpdateOutput,
) -> Status {
    let update = real!(optimizer.update);
    unsafe {
        let (Ok(own), Ok(room)) = (read_sized(input), read_sized(output.cast_const())) else {
            return status::INVALID;
        };
        let Some((shown_info, _dims)) = info(own.info) else {
            return status::INVALID;
        };
        let slots: Guarded<Tensor> = array(own.slots, own.slot_count, Access::Read);
        let scalars: Guarded<Tensor> = array(own.scalars, own.scalar_count, Access::Read);
        let shown = resized(
            &UpdateInput {
                info: shown_info.as_ptr().cast(),
                slots: slots.as_ptr(),
                scalars: scalars.as_ptr(),
                ..own
            },
            Access::Read,
        );
        let mut new_slots = array(room.slots.cast_const(), own.slot_count, Access::Write);
        let mut shown_output = resized(
            &UpdateOutput {
                slots: new_slots.as_mut_ptr(),
                ..room
            },
            Access::Write,
        );
        let result: *mut UpdateOutput = shown_output.as_mut_ptr().cast();
        let code = update(instance, cx, shown.as_ptr().cast(), result);
        (&raw mut (*output).parameter).write((&raw const (*result).parameter).read());
        if own.slot_count > 0 && !room.slots.is_null() {
            std::ptr::copy_nonoverlapping(new_slots.as_ptr(), room.slots, own.slot_count);
        }
        look(&new_slots, "update", "slots");
        look(&shown_output, "update", "output");
        code
    }
}

pub(super) unsafe extern "C" fn factor(
    instance: *mut c_void,
    input: *const ScheduleInput,
    factor: *mut f64,
) -> Status {
    let function = real!(schedule.factor);
    let Ok(own) = (unsafe { read_sized(input) }) else {
        return status::INVALID;
    };
    let shown = resized(&own, Access::Read);
    unsafe { function(instance, shown.as_ptr().cast(), factor) }
}

pub(super) unsafe extern "C" fn observe(
    instance: *mut c_void,
    event: *const Event,
    decision: *mut u32,
    reason: *mut Sink,
) -> Status {
    let observe = real!(stopping.observe);
    unsafe {
        let Ok(own) = read_sized(event) else {
            return status::INVALID;
        };
        let metrics: Guarded<Metric> = array(own.metrics, own.metric_count, Access::Read);
        let history: Guarded<Series> = array(own.history, own.history_count, Access::Read);
        let shown = resized(
            &Event {
                metrics: metrics.as_ptr(),
                history: history.as_ptr(),
                ..own
            },
            Access::Read,
        );
        observe(instance, shown.as_ptr().cast(), decision, reason)
    }
}

pub(super) unsafe extern "C" fn load(
    instance: *mut c_void,
    state: *const u8,
    length: usize,
) -> Status {
    let load = real!(stopping.load);
    let copy = unsafe { array(state, length, Access::Read) };
    unsafe { load(instance, copy.as_ptr(), length) }
}

pub(super) unsafe extern "C" fn filter(
    instance: *mut c_void,
    schema: *mut ArrowSchema,
    batch: *mut ArrowArray,
    keep: *mut u8,
) -> Status {
    let filter = real!(operator.filter);
    unsafe {
        let rows = usize::try_from((*batch).length).unwrap_or(0);
        let mut answers = array(keep.cast_const(), rows, Access::Write);
        releases::watch_input(schema, batch);
        let code = filter(instance, schema, batch, answers.as_mut_ptr());
        std::ptr::copy_nonoverlapping(answers.as_ptr(), keep, rows);
        look(&answers, "filter", "keep");
        code
    }
}

pub(super) unsafe extern "C" fn map(
    instance: *mut c_void,
    schema: *mut ArrowSchema,
    batch: *mut ArrowArray,
    out_schema: *mut ArrowSchema,
    out_batch: *mut ArrowArray,
) -> Status {
    let map = real!(operator.map);
    unsafe {
        releases::watch_input(schema, batch);
        let code = map(instance, schema, batch, out_schema, out_batch);
        releases::watch_output(out_schema, out_batch);
        code
    }
}
