//! The C functions of a stopping rule.

use ablate_abi::{decision, read_sized, split, Sink, StoppingApi, STOPPING_API};

use super::*;
use crate::{Decision, Event, Split, StoppingRule};

/// Marks the kind.
pub struct AStoppingRule;

impl<T: StoppingRule> Offered<AStoppingRule> for T {
    const NAME: &'static str = T::NAME;
    const DESCRIPTION: &'static str = T::DESCRIPTION;
    const ID: &'static str = STOPPING_API;
    type Config = T::Config;
    type Table = StoppingApi;
    const TABLE: StoppingApi = table::<T>();
}

const fn table<T: StoppingRule>() -> StoppingApi {
    // SAFETY of all functions below: as in `objective_api`.
    unsafe extern "C" fn make<T: StoppingRule>(
        h: *const Host,
        c: Str,
        out: *mut *mut c_void,
    ) -> Status {
        unsafe { create::<T::Config, T>(h, c, out, T::new) }
    }
    unsafe extern "C" fn observe<T: StoppingRule>(
        i: *mut c_void,
        event: *const ablate_abi::Event,
        out: *mut u32,
        reason: *mut Sink,
    ) -> Status {
        unsafe {
            with::<T>(i, |plugin, tables| {
                let event = read_sized(event)
                    .map_err(|e| Error::Other(format!("the event cannot be read: {e:?}")))?;
                let decided = plugin.observe(&Event {
                    step: event.step,
                    tokens: event.tokens,
                    flops: event.flops,
                    seconds: event.seconds,
                    split: match event.split {
                        split::TRAIN => Split::Train,
                        split::VALIDATION => Split::Validation,
                        // A newer host; rules of this version have no opinion on it.
                        _ => return put(out, decision::CONTINUE),
                    },
                    metrics: slice(event.metrics, event.metric_count),
                    history: slice(event.history, event.history_count),
                })?;
                let (code, text) = match decided {
                    Decision::Continue => (decision::CONTINUE, String::new()),
                    Decision::Stop(text) => (decision::STOP, text),
                    Decision::Abort(text) => (decision::ABORT, text),
                };
                if !text.is_empty() {
                    tables.write(reason, text.as_bytes())?;
                }
                put(out, code)
            })
        }
    }
    unsafe extern "C" fn save<T: StoppingRule>(i: *mut c_void, sink: *mut Sink) -> Status {
        unsafe {
            with::<T>(i, |plugin, tables| {
                let state = serde_json::json!({
                    "rule": T::NAME,
                    "version": T::STATE_VERSION,
                    "state": serde_json::to_value(plugin.save())
                        .map_err(|e| Error::State(e.to_string()))?,
                });
                tables.write(sink, state.to_string().as_bytes())
            })
        }
    }
    unsafe extern "C" fn load<T: StoppingRule>(
        i: *mut c_void,
        bytes: *const u8,
        n: usize,
    ) -> Status {
        unsafe {
            with::<T>(i, |plugin, _| {
                let state = read_state::<T>(slice(bytes, n))?;
                plugin.load(state)
            })
        }
    }
    unsafe extern "C" fn history_length<T: StoppingRule>(i: *mut c_void, out: *mut u64) -> Status {
        unsafe { with::<T>(i, |plugin, _| put(out, plugin.history_length() as u64)) }
    }
    StoppingApi {
        struct_size: size_of::<StoppingApi>() as u32,
        reserved: 0,
        create: Some(make::<T>),
        destroy: Some(destroy::<T>),
        observe: Some(observe::<T>),
        save: Some(save::<T>),
        load: Some(load::<T>),
        history_length: Some(history_length::<T>),
    }
}

fn read_state<T: StoppingRule>(bytes: &[u8]) -> Result<T::State> {
    #[derive(serde::Deserialize)]
    struct Envelope {
        rule: String,
        version: u32,
        state: Value,
    }
    let unreadable =
        |e: serde_json::Error| Error::State(format!("state of `{}` cannot be read: {e}", T::NAME));
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(unreadable)?;
    if envelope.rule != T::NAME {
        return Err(Error::State(format!(
            "this is state of `{}`, not of `{}`",
            envelope.rule,
            T::NAME
        )));
    }
    if envelope.version == T::STATE_VERSION {
        serde_json::from_value(envelope.state).map_err(unreadable)
    } else {
        T::migrate(envelope.version, envelope.state)
    }
}
