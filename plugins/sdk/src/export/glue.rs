//! C functions over the traits. Every one of them guards against panics.

use std::ffi::c_void;
use std::sync::OnceLock;

use ablate_abi::{
    decision, needs, read_sized, split, status, BatchContext, BatchView, Capability, Declarations,
    FeatureSpec, GraphContext, Host, ObjectiveApi, OptimizerApi, Sink, SlotSpec, Status,
    StoppingApi, Str, UpdateInput, UpdateOutput, OBJECTIVE_API, OPTIMIZER_API, STOPPING_API,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::graph::{widen, GraphBuilder, Tensor};
use crate::tables::{enable_log, guard, Tables};
use crate::{
    Batch, Decision, Error, Event, Objective, ObjectiveGraph, Optimizer, Parameter, Result, Split,
    StoppingRule,
};

/// What an instance pointer points to.
struct Instance<T> {
    tables: Tables,
    plugin: T,
}

/// Whether a view from the host is this text.
///
/// # Safety
/// The view is valid during the call.
pub unsafe fn is(view: Str, text: &str) -> bool {
    // SAFETY: the caller's promise.
    let found = unsafe { view.get() };
    found == Some(text)
}

/// JSON Schema of a configuration, made once.
pub fn schema<C: JsonSchema>(text: &'static OnceLock<String>) -> Str {
    let made = std::panic::catch_unwind(|| {
        text.get_or_init(|| {
            let schema = schemars::SchemaGenerator::default().into_root_schema_for::<C>();
            schema.as_value().to_string()
        })
    });
    made.map_or(Str::EMPTY, |text| Str::new(text))
}

const fn capability(
    kind: u32,
    name: &'static str,
    description: &'static str,
    schema: unsafe extern "C" fn() -> Str,
    extensions: &'static [Str],
) -> Capability {
    Capability {
        struct_size: size_of::<Capability>() as u32,
        kind,
        name: Str::new(name),
        description: Str::new(description),
        config_schema: Some(schema),
        extensions: extensions.as_ptr(),
        extension_count: extensions.len(),
    }
}

/// The capability of an objective.
pub const fn objective<T: Objective>(schema: unsafe extern "C" fn() -> Str) -> Capability {
    const IDS: &[Str] = &[Str::new(OBJECTIVE_API)];
    capability(
        ablate_abi::kind::OBJECTIVE,
        T::NAME,
        T::DESCRIPTION,
        schema,
        IDS,
    )
}

/// The capability of an optimizer.
pub const fn optimizer<T: Optimizer>(schema: unsafe extern "C" fn() -> Str) -> Capability {
    const IDS: &[Str] = &[Str::new(OPTIMIZER_API)];
    capability(
        ablate_abi::kind::OPTIMIZER,
        T::NAME,
        T::DESCRIPTION,
        schema,
        IDS,
    )
}

/// The capability of a stopping rule.
pub const fn stopping_rule<T: StoppingRule>(schema: unsafe extern "C" fn() -> Str) -> Capability {
    const IDS: &[Str] = &[Str::new(STOPPING_API)];
    capability(
        ablate_abi::kind::STOPPING_RULE,
        T::NAME,
        T::DESCRIPTION,
        schema,
        IDS,
    )
}

/// Makes an instance: reads the host's tables and the configuration.
///
/// # Safety
/// By the ABI: `host` lives on, `config` is valid during the call, `out` is writable.
unsafe fn create<C: DeserializeOwned, T>(
    host: *const Host,
    config: Str,
    out: *mut *mut c_void,
    new: fn(C) -> Result<T>,
) -> Status {
    // SAFETY: the caller's promise.
    let Ok(tables) = (unsafe { Tables::new(host) }) else {
        return status::INVALID;
    };
    enable_log(&tables.host);
    guard(&tables.host, || {
        // SAFETY: the caller's promise.
        let text = unsafe { config.get() }
            .ok_or_else(|| Error::Config("the configuration is not UTF-8".into()))?;
        let text = if text.is_empty() { "{}" } else { text };
        // Through a value, so that messages name keys and not columns of text that nobody wrote.
        let value: Value = serde_json::from_str(text).map_err(|e| Error::Config(e.to_string()))?;
        if !value.is_object() {
            // Serde would take a list for the fields in order.
            return Err(Error::Config(format!(
                "a configuration is an object, not {value}"
            )));
        }
        let config = serde_json::from_value(value).map_err(|e| Error::Config(e.to_string()))?;
        let instance = Box::new(Instance {
            tables,
            plugin: new(config)?,
        });
        if out.is_null() {
            return Err(Error::Other("there is nowhere to put the instance".into()));
        }
        // SAFETY: the caller's promise; null was excluded.
        unsafe { *out = Box::into_raw(instance).cast() };
        Ok(())
    })
}

/// Frees an instance.
///
/// # Safety
/// `instance` comes from [`create`] of the same type and is not used again.
unsafe extern "C" fn destroy<T>(instance: *mut c_void) {
    if instance.is_null() {
        return;
    }
    // SAFETY: the caller's promise.
    let instance = unsafe { Box::from_raw(instance.cast::<Instance<T>>()) };
    let host = instance.tables.host;
    guard(&host, || {
        drop(instance);
        Ok(())
    });
}

/// Runs `body` on an instance under guard.
///
/// # Safety
/// `instance` comes from [`create`] of the same type and nobody else uses it during the call.
unsafe fn with<T>(
    instance: *mut c_void,
    body: impl FnOnce(&mut T, &Tables) -> Result<()>,
) -> Status {
    if instance.is_null() {
        return status::INVALID;
    }
    // SAFETY: the caller's promise.
    let instance = unsafe { &mut *instance.cast::<Instance<T>>() };
    // A copy, so that the guard can report whatever happened to the instance.
    let tables = instance.tables;
    enable_log(&tables.host);
    guard(&tables.host, || body(&mut instance.plugin, &tables))
}

/// Writes a result to where the host wants it.
///
/// # Safety
/// `out` is null or writable.
unsafe fn put<V>(out: *mut V, value: V) -> Result<()> {
    if out.is_null() {
        return Err(Error::Other("there is nowhere to put the result".into()));
    }
    // SAFETY: the caller's promise; null was excluded.
    unsafe { *out = value };
    Ok(())
}

/// The table of an objective.
pub const fn objective_api<T: Objective>() -> ObjectiveApi {
    // SAFETY of all functions below: the host keeps the ABI, so instances are ours and of type `T`,
    // pointers are writable or readable as the table's documentation says, during the call.
    unsafe extern "C" fn make<T: Objective>(
        h: *const Host,
        c: Str,
        out: *mut *mut c_void,
    ) -> Status {
        unsafe { create::<T::Config, T>(h, c, out, T::new) }
    }
    unsafe extern "C" fn weight<T: Objective>(i: *mut c_void, out: *mut f64) -> Status {
        unsafe { with::<T>(i, |plugin, _| put(out, plugin.weight())) }
    }
    unsafe extern "C" fn needs_of<T: Objective>(i: *mut c_void, out: *mut u32) -> Status {
        unsafe {
            with::<T>(i, |plugin, _| {
                put(
                    out,
                    if plugin.needs_sentence_pairs() {
                        needs::SENTENCE_PAIRS
                    } else {
                        0
                    },
                )
            })
        }
    }
    unsafe extern "C" fn features<T: Objective>(i: *mut c_void, into: *mut Declarations) -> Status {
        unsafe {
            with::<T>(i, |plugin, tables| {
                let declare = tables
                    .declare
                    .feature
                    .ok_or(Error::Unsupported("declare.feature"))?;
                for feature in plugin.features() {
                    let spec = FeatureSpec {
                        struct_size: size_of::<FeatureSpec>() as u32,
                        layout: feature.layout_code(),
                        name: Str::new(feature.name),
                        classes: feature.classes.unwrap_or(0),
                        density: feature.density.unwrap_or(0.0),
                    };
                    tables.check(declare(into, &spec))?;
                }
                Ok(())
            })
        }
    }
    unsafe extern "C" fn prepare<T: Objective>(
        i: *mut c_void,
        cx: *mut BatchContext,
        view: *const BatchView,
        units: *mut f64,
    ) -> Status {
        unsafe {
            with::<T>(i, |plugin, tables| {
                let view = read_sized(view)
                    .map_err(|e| Error::Other(format!("the batch cannot be read: {e:?}")))?;
                let mut batch = Batch { view, cx, tables };
                put(units, plugin.prepare(&mut batch)?)
            })
        }
    }
    unsafe extern "C" fn build<T: Objective>(
        i: *mut c_void,
        cx: *mut GraphContext,
        loss: *mut ablate_abi::Tensor,
    ) -> Status {
        unsafe {
            with::<T>(i, |plugin, tables| {
                let graph = ObjectiveGraph {
                    graph: GraphBuilder { cx, tables },
                };
                put(loss, plugin.build(&graph)?.handle)
            })
        }
    }
    ObjectiveApi {
        struct_size: size_of::<ObjectiveApi>() as u32,
        reserved: 0,
        create: Some(make::<T>),
        destroy: Some(destroy::<T>),
        weight: Some(weight::<T>),
        needs: Some(needs_of::<T>),
        features: Some(features::<T>),
        prepare: Some(prepare::<T>),
        build: Some(build::<T>),
    }
}

/// The table of an optimizer.
pub const fn optimizer_api<T: Optimizer>() -> OptimizerApi {
    // SAFETY of all functions below: as in `objective_api`.
    unsafe extern "C" fn make<T: Optimizer>(
        h: *const Host,
        c: Str,
        out: *mut *mut c_void,
    ) -> Status {
        unsafe { create::<T::Config, T>(h, c, out, T::new) }
    }
    unsafe extern "C" fn rate<T: Optimizer>(i: *mut c_void, out: *mut f64) -> Status {
        unsafe { with::<T>(i, |plugin, _| put(out, plugin.base_learning_rate())) }
    }
    unsafe extern "C" fn slots<T: Optimizer>(
        i: *mut c_void,
        dims: *const u64,
        rank: u32,
        into: *mut Declarations,
    ) -> Status {
        unsafe {
            with::<T>(i, |plugin, tables| {
                let declare = tables
                    .declare
                    .slot
                    .ok_or(Error::Unsupported("declare.slot"))?;
                let shape: Vec<usize> = slice(dims, rank as usize)
                    .iter()
                    .map(|d| *d as usize)
                    .collect();
                for slot in plugin.slots(&shape) {
                    let dims = widen(&slot.shape);
                    let spec = SlotSpec {
                        struct_size: size_of::<SlotSpec>() as u32,
                        rank: dims.len() as u32,
                        name: Str::new(slot.name),
                        dims: dims.as_ptr(),
                        initial: slot.initial,
                    };
                    tables.check(declare(into, &spec))?;
                }
                Ok(())
            })
        }
    }
    unsafe extern "C" fn scalar_names<T: Optimizer>(
        i: *mut c_void,
        into: *mut Declarations,
    ) -> Status {
        unsafe {
            with::<T>(i, |plugin, tables| {
                let declare = tables
                    .declare
                    .scalar
                    .ok_or(Error::Unsupported("declare.scalar"))?;
                for name in plugin.scalar_names() {
                    tables.check(declare(into, Str::new(name)))?;
                }
                Ok(())
            })
        }
    }
    unsafe extern "C" fn scalars<T: Optimizer>(
        i: *mut c_void,
        step: u64,
        learning_rate: f64,
        values: *mut f64,
        count: usize,
    ) -> Status {
        unsafe {
            with::<T>(i, |plugin, _| {
                let found = plugin.scalars(step, learning_rate)?;
                if found.len() != count {
                    return Err(Error::Other(format!(
                        "`{}` gives {} scalars where {count} were declared",
                        T::NAME,
                        found.len()
                    )));
                }
                for (at, value) in found.into_iter().enumerate() {
                    put(values.wrapping_add(at), value)?;
                }
                Ok(())
            })
        }
    }
    unsafe extern "C" fn update<T: Optimizer>(
        i: *mut c_void,
        cx: *mut GraphContext,
        input: *const UpdateInput,
        output: *mut UpdateOutput,
    ) -> Status {
        unsafe {
            with::<T>(i, |plugin, tables| {
                let input = read_sized(input)
                    .map_err(|e| Error::Other(format!("the update cannot be read: {e:?}")))?;
                let room = read_sized(output.cast_const())
                    .map_err(|e| Error::Other(format!("the results cannot be written: {e:?}")))?;
                let updated = plugin.update(
                    &GraphBuilder { cx, tables },
                    &Parameter {
                        name: input.name.get().unwrap_or("?"),
                        parameter: Tensor::new(input.parameter),
                        gradient: Tensor::new(input.gradient),
                        // `Tensor` is a transparent wrapper of the handle.
                        slots: slice(input.slots.cast(), input.slot_count),
                        scalars: slice(input.scalars.cast(), input.scalar_count),
                        decays: input.decay != 0,
                    },
                )?;
                if updated.slots.len() != input.slot_count {
                    return Err(Error::Other(format!(
                        "`{}` returns {} slots where {} were declared",
                        T::NAME,
                        updated.slots.len(),
                        input.slot_count
                    )));
                }
                for (at, slot) in updated.slots.iter().enumerate() {
                    put(room.slots.wrapping_add(at), slot.handle)?;
                }
                put(&raw mut (*output).parameter, updated.parameter.handle)
            })
        }
    }
    OptimizerApi {
        struct_size: size_of::<OptimizerApi>() as u32,
        reserved: 0,
        create: Some(make::<T>),
        destroy: Some(destroy::<T>),
        base_learning_rate: Some(rate::<T>),
        slots: Some(slots::<T>),
        scalar_names: Some(scalar_names::<T>),
        scalars: Some(scalars::<T>),
        update: Some(update::<T>),
    }
}

/// A slice of the host's array, empty where it is null.
///
/// # Safety
/// `pointer` is null or has `length` elements that stay unchanged for `'a`.
unsafe fn slice<'a, V>(pointer: *const V, length: usize) -> &'a [V] {
    if pointer.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(pointer, length) }
}

/// The table of a stopping rule.
pub const fn stopping_api<T: StoppingRule>() -> StoppingApi {
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
                    split: match event.split {
                        split::TRAIN => Split::Train,
                        split::VALIDATION => Split::Validation,
                        // A newer host; rules of this version have no opinion on it.
                        _ => return put(out, decision::CONTINUE),
                    },
                    metrics: slice(event.metrics, event.metric_count),
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
    StoppingApi {
        struct_size: size_of::<StoppingApi>() as u32,
        reserved: 0,
        create: Some(make::<T>),
        destroy: Some(destroy::<T>),
        observe: Some(observe::<T>),
        save: Some(save::<T>),
        load: Some(load::<T>),
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
