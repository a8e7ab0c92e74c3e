//! What can go wrong before a plugin is in use, and what to do about it.

use std::path::PathBuf;

use crate::{Kind, Origin};

/// A plugin cannot be found, loaded or made.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The file or folder cannot be read.
    #[error("cannot read the plugin `{path}`: {source}; check the path under `plugins:`")]
    Unreadable {
        /// As given.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The library is not the one that was pinned.
    #[error(
        "`{path}` has the SHA-256 {found}, but {pinned} is pinned, so nothing of it was run; if you built it \
         anew and mean this one, change the pin"
    )]
    OtherFile {
        /// As given.
        path: PathBuf,
        /// SHA-256 of the bytes that are there.
        found: String,
        /// SHA-256 that is wanted.
        pinned: String,
    },
    /// A pin on a folder.
    #[error("`{path}` is a folder; a SHA-256 pins one library, so name the library")]
    PinnedFolder {
        /// As given.
        path: PathBuf,
    },
    /// A folder without a single shared library.
    #[error(
        "there is no shared library (`*.{extension}`) in the folder `{path}`; name the folder that your \
         plugin's build wrote to, or the library itself"
    )]
    EmptyFolder {
        /// As given.
        path: PathBuf,
        /// What this system's shared libraries end in.
        extension: &'static str,
    },
    /// The system's loader refuses the file.
    #[error(
        "`{path}` is no shared library that can be loaded here: {detail}; a plugin is built as `cdylib` \
         (Rust) or with `cc -shared -fPIC` (C), for this machine"
    )]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// The loader's reason.
        detail: String,
    },
    /// A shared library that is no plugin.
    #[error(
        "`{path}` is a shared library but no Ablate plugin: it does not export `{symbol}`; in Rust end \
         the plugin with `ablate_sdk::export!(PLUGIN);`, in C define the function of that name"
    )]
    MissingEntry {
        /// The file.
        path: PathBuf,
        /// The symbol.
        symbol: &'static str,
    },
    /// The entry function returned null.
    #[error("the plugin {origin} refuses to work with this host (plugin ABI {major}.{minor})")]
    Refused {
        /// Where the plugin comes from.
        origin: Origin,
        /// The host's ABI.
        major: u16,
        /// The host's ABI.
        minor: u16,
    },
    /// The descriptor does not begin as descriptors do.
    #[error(
        "the plugin {origin} has no valid descriptor: its magic number is {found:#018x}, not \
         {expected:#018x}; rebuild it with the `ablate_plugin.h` or `ablate-sdk` of this version"
    )]
    BadMagic {
        /// Where the plugin comes from.
        origin: Origin,
        /// What it has.
        found: u64,
        /// What it should have.
        expected: u64,
    },
    /// Built for another major version of the ABI.
    #[error(
        "the plugin {origin} was built for plugin ABI {plugin_major}.{plugin_minor}, this program has \
         {host_major}.{host_minor}; {}",
        if plugin_major > host_major {
            "update this program, or rebuild the plugin with the `ablate-sdk` (or header) of this version"
        } else {
            "rebuild the plugin with the `ablate-sdk` (or header) of this version"
        }
    )]
    WrongMajor {
        /// Where the plugin comes from.
        origin: Origin,
        /// The plugin's ABI.
        plugin_major: u16,
        /// The plugin's ABI.
        plugin_minor: u16,
        /// The host's ABI.
        host_major: u16,
        /// The host's ABI.
        host_minor: u16,
    },
    /// It says itself that this program is too old for it.
    #[error(
        "the plugin {origin} needs plugin ABI {major}.{needed}, this program has {major}.{minor}; update \
         this program, or use an older version of the plugin"
    )]
    NeedsNewerHost {
        /// Where the plugin comes from.
        origin: Origin,
        /// The minor version that it needs.
        needed: u32,
        /// The host's ABI.
        major: u16,
        /// The host's ABI.
        minor: u16,
    },
    /// A struct is smaller than the first version of the ABI had it.
    #[error(
        "the plugin {origin}: {what} announces {found} bytes, at least {needed} are needed; set \
         `struct_size` to `sizeof` the struct"
    )]
    TooSmall {
        /// Where the plugin comes from.
        origin: Origin,
        /// Which struct.
        what: String,
        /// Announced.
        found: usize,
        /// Needed.
        needed: usize,
    },
    /// Something else in the descriptor is not as the ABI wants it.
    #[error("the plugin {origin} is not well formed: {detail}")]
    BadDescriptor {
        /// Where the plugin comes from.
        origin: Origin,
        /// What, and how it should be.
        detail: String,
    },
    /// Two plugins offer the same name.
    #[error(
        "there are two {kind}s called `{name}`: one {first}, one {second}; rename one, or take it out of \
         `plugins:`"
    )]
    Duplicate {
        /// Their kind.
        kind: Kind,
        /// Their name.
        name: String,
        /// Where the first comes from.
        first: Box<Origin>,
        /// Where the second comes from.
        second: Box<Origin>,
    },
    /// No plugin offers the name.
    #[error("there is no {kind} called `{name}`; there are: {}", known.join(", "))]
    UnknownName {
        /// The kind asked for.
        kind: Kind,
        /// The name asked for.
        name: String,
        /// Names of this kind.
        known: Vec<String>,
    },
    /// A plugin offers the name, in a version that this program cannot use.
    #[error("the {kind} `{name}` ({origin}) cannot be used: {reason}")]
    Unusable {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// Where it comes from.
        origin: Box<Origin>,
        /// Why, and what to do.
        reason: String,
    },
    /// The plugin refuses its configuration.
    #[error("the {kind} `{name}` cannot be made: {message}")]
    Create {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// The plugin's message.
        message: String,
    },
}
