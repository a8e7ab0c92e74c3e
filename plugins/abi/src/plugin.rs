//! The descriptor that the entry function returns.

use std::ffi::c_void;

use crate::{SizeGated, Str};

/// Name of the one exported function, of type [`Entry`], without the closing zero.
pub const ENTRY_SYMBOL: &str = "ablate_plugin_entry";

/// What [`Plugin::magic`] holds: the bytes `ABLATEPL` read as a little-endian number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"ABLATEPL");

/// The exported function: gets the host's ABI version, returns the plugin's constant descriptor.
///
/// *Any thread.* Called at least once, before anything else of the plugin. It must do no work: no
/// file, no thread, no output. The returned memory is the plugin's; it lives and stays unchanged until
/// the process ends (a loaded library is never unloaded). Null says that the plugin cannot work with
/// this host; most plugins leave that to [`Plugin::abi_minor_needed`], which gives a better message.
pub type Entry = unsafe extern "C" fn(abi_major: u32, abi_minor: u32) -> *const Plugin;

/// What a library offers. Constant, the plugin's, alive until the process ends; so is all that it
/// points to.
///
/// `struct_size`, `abi_major`, `abi_minor` and `magic` keep their place in every major version, so
/// that any host can say what is wrong with any plugin.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Plugin {
    /// [`struct_size`](crate::SizeGated) of this descriptor in bytes.
    pub struct_size: u32,
    /// [`ABI_MAJOR`](crate::ABI_MAJOR) that the plugin was built with.
    pub abi_major: u16,
    /// [`ABI_MINOR`](crate::ABI_MINOR) that the plugin was built with.
    pub abi_minor: u16,
    /// [`MAGIC`].
    pub magic: u64,
    /// Name of the plugin: lower case, digits, `_` and `-`.
    pub name: Str,
    /// The plugin's own version, a semantic version such as `0.1.0`.
    pub version: Str,
    /// SPDX expression, such as `MIT OR Apache-2.0`.
    pub license: Str,
    /// One sentence.
    pub description: Str,
    /// [`capability_count`](Plugin::capability_count) pointers, each to a constant [`Capability`].
    pub capabilities: *const *const Capability,
    /// Number of capabilities.
    pub capability_count: usize,
    /// Gives the table `id` of the capability called `capability` (empty: of the plugin as a
    /// whole), or null where the plugin has none. *Any thread.* Does no work. The texts are the
    /// host's and end with the call; the table is the plugin's, constant until the process ends.
    pub get_extension: Option<unsafe extern "C" fn(capability: Str, id: Str) -> *const c_void>,
    /// The oldest [`ABI_MINOR`](crate::ABI_MINOR) of a host that the plugin can work with. An older
    /// host refuses it and says so. 0 where the plugin checks for each newer function before it calls it.
    pub abi_minor_needed: u32,
    /// Not used, 0.
    pub reserved: u32,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for Plugin {
    const MIN_SIZE: usize = 112;
}
// SAFETY: the descriptor and all it points to is constant for the life of the process.
unsafe impl Send for Plugin {}
// SAFETY: as above.
unsafe impl Sync for Plugin {}

/// One thing that a plugin adds to recipes. Constant, the plugin's, alive until the process ends.
///
/// What it is follows from the ids in `extensions`: `ablate.optimizer/1` is an optimizer by version 1
/// of that table. A plugin may offer several versions of a table; the host takes the newest that it
/// knows. A capability of which the host knows no id is listed and otherwise ignored.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Capability {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Not used, 0.
    pub reserved: u32,
    /// The name that recipes use: `adamw`. Unique per kind over all plugins of a process.
    pub name: Str,
    /// One sentence.
    pub description: Str,
    /// JSON Schema (2020-12) of the configuration, an object. *Any thread.* May compute it at the
    /// first call; the text is the plugin's, constant until the process ends.
    pub config_schema: Option<unsafe extern "C" fn() -> Str>,
    /// [`extension_count`](Capability::extension_count) ids that [`Plugin::get_extension`] answers for
    /// this capability, such as `ablate.optimizer/1`.
    pub extensions: *const Str,
    /// Number of extension ids.
    pub extension_count: usize,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for Capability {
    const MIN_SIZE: usize = 64;
}
// SAFETY: constant for the life of the process.
unsafe impl Send for Capability {}
// SAFETY: as above.
unsafe impl Sync for Capability {}
