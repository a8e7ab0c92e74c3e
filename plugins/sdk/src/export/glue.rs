//! C functions over the traits. Every one of them guards against panics.

mod objective;
mod optimizer;
mod stopping;

pub use objective::objective_api;
pub use optimizer::optimizer_api;
pub use stopping::stopping_api;

use std::ffi::c_void;
use std::sync::OnceLock;

use ablate_abi::{
    decision, needs, read_sized, split, status, BatchContext, BatchView, Capability, Declarations,
    FeatureSpec, GraphContext, Host, ObjectiveApi, ObjectiveSetup, OptimizerApi, Sink, SlotSpec,
    Status, StoppingApi, Str, UpdateInput, UpdateOutput, OBJECTIVE_API, OPTIMIZER_API,
    STOPPING_API,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::graph::{widen, GraphBuilder, Tensor};
use crate::tables::{enable_log, guard, Tables};
use crate::{
    Batch, Decision, Error, Event, Objective, ObjectiveGraph, Optimizer, Parameter, Result, Setup,
    Split, StoppingRule,
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
