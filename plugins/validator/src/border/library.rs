//! The plugin under test as its bare descriptor.

use std::path::{Path, PathBuf};

use ablate_abi::{
    absent, read_sized, Capability, Entry, Plugin, SizeGated, Str, ABI_MAJOR, ABI_MINOR,
    ENTRY_SYMBOL,
};
use serde::{Deserialize, Serialize};

/// Where the plugin under test comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A shared library.
    Library(PathBuf),
    /// The plugins that are linked into the program.
    BuiltIn,
}

/// A descriptor that the host has found sound.
pub(crate) struct Bare {
    /// The descriptor; fields that the plugin is too old for are zero.
    pub plugin: Plugin,
}

impl Bare {
    /// The descriptor of the plugin that offers `capability`.
    ///
    /// The caller has seen the host accept the same file (or it is linked), so that the descriptor is known
    /// to be readable.
    pub fn open(target: &Target, capability: &str, extension: &str) -> Result<Self, String> {
        match target {
            Target::Library(path) => {
                let entry = entry(path)?;
                // SAFETY: the entry of a plugin that the host accepts; the library stays open.
                let plugin = unsafe { entry(u32::from(ABI_MAJOR), u32::from(ABI_MINOR)) };
                // SAFETY: as above.
                let plugin = unsafe { read_sized(plugin) };
                plugin
                    .map(|plugin| Bare { plugin })
                    .map_err(|e| format!("the descriptor cannot be read: {e:?}"))
            }
            Target::BuiltIn => ablate_builtins::PLUGINS
                .iter()
                .map(|plugin| Bare { plugin: **plugin })
                .find(|bare| bare.has(capability, extension))
                .ok_or_else(|| format!("no linked plugin offers `{capability}`")),
        }
    }

    fn has(&self, capability: &str, extension: &str) -> bool {
        self.capability(capability, extension).is_some()
    }

    /// The capability of a name and an extension.
    pub fn capability(&self, name: &str, extension: &str) -> Option<Capability> {
        if self.plugin.capabilities.is_null() {
            return None;
        }
        // SAFETY: by the ABI there are `capability_count` pointers to capabilities, each with
        // `extension_count` texts, all constant.
        unsafe {
            std::slice::from_raw_parts(self.plugin.capabilities, self.plugin.capability_count)
                .iter()
                .filter_map(|pointer| read_sized(*pointer).ok())
                .find(|c: &Capability| {
                    let ids = if c.extensions.is_null() {
                        &[]
                    } else {
                        std::slice::from_raw_parts(c.extensions, c.extension_count)
                    };
                    c.name.get() == Some(name) && ids.iter().any(|id| id.get() == Some(extension))
                })
        }
    }

    /// Asks the plugin for a table.
    pub fn extension(&self, capability: &str, id: &str) -> *const std::ffi::c_void {
        match self.plugin.get_extension {
            // SAFETY: both texts are valid during the call.
            Some(get) => unsafe { get(Str::new(capability), Str::new(id)) },
            None => std::ptr::null(),
        }
    }

    /// A table of the plugin; all null where it has none.
    pub fn table<T: SizeGated>(&self, capability: &str, id: &str) -> T {
        // SAFETY: by the ABI the table behind an id has that id's type and is constant.
        unsafe { read_sized(self.extension(capability, id).cast::<T>()) }
            .unwrap_or_else(|_| absent())
    }
}

/// The entry function of a library, which stays open.
pub(crate) fn entry(path: &Path) -> Result<Entry, String> {
    let path = path.canonicalize().map_err(|e| e.to_string())?;
    // SAFETY: opening a library runs its initialisers, which the user asked for by naming it.
    let library = unsafe { libloading::Library::new(&path) }.map_err(|e| e.to_string())?;
    // SAFETY: by the ABI a symbol of this name is a function of this type.
    let entry = unsafe { library.get::<Entry>(ENTRY_SYMBOL) }.map(|symbol| *symbol);
    std::mem::forget(library);
    entry.map_err(|e| e.to_string())
}
