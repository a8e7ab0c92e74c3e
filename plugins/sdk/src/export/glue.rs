//! C functions over the traits. Every one of them guards against panics.

mod lists;
mod objective;
mod operator;
mod optimizer;
mod schedule;
mod stopping;

pub use objective::AnObjective;
pub use operator::AnOperator;
pub use optimizer::AnOptimizer;
pub use schedule::ASchedule;
pub use stopping::AStoppingRule;

use std::ffi::c_void;
use std::sync::OnceLock;

use ablate_abi::{status, Capability, Host, Status, Str};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::lists::refuse_lists;
use crate::tables::{enable_log, guard, Tables};
use crate::{Error, Result};

/// What an instance pointer points to.
struct Instance<T> {
    tables: Tables,
    plugin: T,
}

/// A type as a capability of kind `K`. Each kind has a marker type and implements this for every type
/// of its trait.
pub trait Offered<K> {
    /// The trait's name of it.
    const NAME: &'static str;
    /// The trait's sentence on it.
    const DESCRIPTION: &'static str;
    /// Id of the function table.
    const ID: &'static str;
    /// The same as descriptors have it.
    const IDS: &'static [Str] = &[Str::new(Self::ID)];
    /// The configuration.
    type Config: JsonSchema;
    /// The function table.
    type Table: 'static;
    /// Its functions.
    const TABLE: Self::Table;
}

/// One entry of a descriptor.
pub struct Offer {
    /// What the host sees.
    pub capability: &'static Capability,
    /// The capability's name.
    pub name: &'static str,
    /// Id of the table.
    pub id: &'static str,
    /// The table.
    pub table: *const c_void,
}

/// The capability of a type.
pub const fn capability<K, T: Offered<K>>(schema: unsafe extern "C" fn() -> Str) -> Capability {
    Capability {
        struct_size: size_of::<Capability>() as u32,
        reserved: 0,
        name: Str::new(T::NAME),
        description: Str::new(T::DESCRIPTION),
        config_schema: Some(schema),
        extensions: T::IDS.as_ptr(),
        extension_count: T::IDS.len(),
    }
}

/// The capabilities of a list of as many entries.
pub const fn capabilities<const N: usize>(offers: &'static [Offer]) -> [&'static Capability; N] {
    let mut all = [offers[0].capability; N];
    let mut i = 1;
    while i < N {
        all[i] = offers[i].capability;
        i += 1;
    }
    all
}

/// The table of a capability, or null.
///
/// # Safety
/// The views are valid during the call.
pub unsafe fn find(offers: &[Offer], capability: Str, id: Str) -> *const c_void {
    // SAFETY: the caller's promise.
    let (Some(name), Some(id)) = (unsafe { capability.get() }, unsafe { id.get() }) else {
        return std::ptr::null();
    };
    offers
        .iter()
        .find(|offer| offer.name == name && offer.id == id)
        .map_or(std::ptr::null(), |offer| offer.table)
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

/// Makes an instance: reads the host's tables and the configuration.
///
/// # Safety
/// By the ABI: `host` lives on, `config` is valid during the call, `out` is writable.
unsafe fn create<C: DeserializeOwned + JsonSchema, T>(
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
            return Err(Error::Config(format!(
                "a configuration is an object, not {value}"
            )));
        }
        refuse_lists::<C>(&value)?;
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
