//! What the host gives to plugins: one base table, and further tables by id.
//!
//! All tables are constant and valid until the process ends. Contexts (`*mut ...Context`,
//! [`Declarations`], [`Sink`]) live for one call into the plugin.

use std::ffi::c_void;

use crate::{FeatureSpec, SizeGated, SlotSpec, Status, Str};

/// A node of the graph under construction: an opaque number, valid until the call into the plugin
/// that received or made it returns. [`NO_TENSOR`] stands for "none". A stale or invented handle is
/// refused with [`status::INVALID`](crate::status::INVALID).
pub type Tensor = u64;

/// "No tensor", for optional operands.
pub const NO_TENSOR: Tensor = 0;

/// Most dimensions of a tensor.
pub const MAX_RANK: usize = 6;

/// A graph under construction; opaque, the host's, gone when the call that received it returns.
#[repr(C)]
pub struct GraphContext {
    _opaque: [u8; 0],
}

/// A micro-batch under preparation; opaque, the host's, gone when the call that received it returns.
#[repr(C)]
pub struct BatchContext {
    _opaque: [u8; 0],
}

/// Where a plugin declares features, slots or scalars; opaque, the host's, gone when the call that
/// received it returns.
#[repr(C)]
pub struct Declarations {
    _opaque: [u8; 0],
}

/// Where a plugin writes bytes; opaque, the host's, gone when the call that received it returns.
#[repr(C)]
pub struct Sink {
    _opaque: [u8; 0],
}

/// The base table, handed to every instance at its creation. Constant, the host's, valid until the
/// process ends.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Host {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// [`ABI_MAJOR`](crate::ABI_MAJOR) of the host.
    pub abi_major: u16,
    /// [`ABI_MINOR`](crate::ABI_MINOR) of the host.
    pub abi_minor: u16,
    /// Name of the host program, for messages.
    pub name: Str,
    /// Product version of the host program, for messages; compare ABI versions, never this.
    pub version: Str,
    /// Gives the host table `id` (`ablate.host.graph/1`), or null where this host has none. *Any
    /// thread.* The table is constant, the host's, valid until the process ends.
    pub get_extension: Option<unsafe extern "C" fn(id: Str) -> *const c_void>,
    /// Leaves the message for the status that the plugin is about to return. *Any thread.* The text is
    /// the plugin's and is copied; each thread has one message, that of the thread of the call counts.
    pub set_error: Option<unsafe extern "C" fn(message: Str)>,
    /// The message of the last host function that failed on this thread. *Any thread.* The text is the
    /// host's, valid until the next call of a host function on this thread.
    pub last_error: Option<unsafe extern "C" fn() -> Str>,
    /// Writes one line to the host's log at a [`level`]. *Any thread.* The text is copied.
    pub log: Option<unsafe extern "C" fn(level: u32, message: Str)>,
    /// Appends bytes to a sink. *Inside the call.* They are copied.
    pub write:
        Option<unsafe extern "C" fn(sink: *mut Sink, bytes: *const u8, length: usize) -> Status>,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for Host {
    const MIN_SIZE: usize = 80;
}

/// Levels of [`Host::log`].
pub mod level {
    /// Something failed.
    pub const ERROR: u32 = 1;
    /// Something is doubtful.
    pub const WARN: u32 = 2;
    /// Worth knowing.
    pub const INFO: u32 = 3;
    /// For the author of the plugin.
    pub const DEBUG: u32 = 4;
}

/// Extension id of [`RandomApi`].
pub const RANDOM_API: &str = "ablate.host.random/1";

/// Random numbers by key and counter (Philox4x32-10): no state, any order, any thread. A plugin that
/// draws only from here resumes to the same bits.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RandomApi {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Not used, 0.
    pub reserved: u32,
    /// Key of the stream `name` under `seed`. *Any thread.*
    pub stream: Option<unsafe extern "C" fn(seed: u64, name: Str) -> u64>,
    /// Key of child `index` of the stream `key`, independent of its siblings and its parent. *Any
    /// thread.*
    pub child: Option<unsafe extern "C" fn(key: u64, index: u64) -> u64>,
    /// Words `first..first + count` of the stream `key` at `step`, each uniform over `u32`. *Any
    /// thread.* The array is the plugin's.
    pub words: Option<
        unsafe extern "C" fn(
            key: u64,
            step: u64,
            first: u64,
            words: *mut u32,
            count: usize,
        ) -> Status,
    >,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for RandomApi {
    const MIN_SIZE: usize = 32;
}

/// Extension id of [`DeclareApi`].
pub const DECLARE_API: &str = "ablate.host.declare/1";

/// How a plugin answers with a list. Specs and texts are the plugin's and are copied.
///
/// *Inside the call.*
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DeclareApi {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Not used, 0.
    pub reserved: u32,
    /// Adds a feature; in [`ObjectiveApi::features`](crate::ObjectiveApi::features).
    pub feature:
        Option<unsafe extern "C" fn(into: *mut Declarations, spec: *const FeatureSpec) -> Status>,
    /// Adds a slot; in [`OptimizerApi::slots`](crate::OptimizerApi::slots).
    pub slot:
        Option<unsafe extern "C" fn(into: *mut Declarations, spec: *const SlotSpec) -> Status>,
    /// Adds a scalar; in [`OptimizerApi::scalar_names`](crate::OptimizerApi::scalar_names).
    pub scalar: Option<unsafe extern "C" fn(into: *mut Declarations, name: Str) -> Status>,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for DeclareApi {
    const MIN_SIZE: usize = 32;
}

/// Extension id of [`BatchApi`].
pub const BATCH_API: &str = "ablate.host.batch/1";

/// What an objective's data hook can do beside changing `input_ids`.
///
/// *Inside the call.* Only in [`ObjectiveApi::prepare`](crate::ObjectiveApi::prepare).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct BatchApi {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Not used, 0.
    pub reserved: u32,
    /// Writes the declared feature `name`: `count` labels, row-major, -100 where ignored. Copied.
    pub write_feature: Option<
        unsafe extern "C" fn(
            cx: *mut BatchContext,
            name: Str,
            labels: *const i64,
            count: usize,
        ) -> Status,
    >,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for BatchApi {
    const MIN_SIZE: usize = 16;
}
