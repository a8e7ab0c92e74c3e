//! Shared libraries: opening them, finding the entry, keeping them open for good.

use std::env::consts::DLL_EXTENSION;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ablate_abi::{Entry, Plugin, ABI_MAJOR, ABI_MINOR, ENTRY_SYMBOL};
use libloading::Library;
use sha2::{Digest, Sha256};

use crate::{HostError, Origin};

/// The shared libraries that a path under `plugins:` names, in the order of their names.
///
/// # Errors
/// When the path cannot be read, or is a folder without a library.
pub fn libraries(path: &Path) -> Result<Vec<PathBuf>, HostError> {
    let unreadable = |source| HostError::Unreadable {
        path: path.to_owned(),
        source,
    };
    if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if file.extension().is_some_and(|e| e == DLL_EXTENSION) && file.is_file() {
            found.push(file);
        }
    }
    if found.is_empty() {
        return Err(HostError::EmptyFolder {
            path: path.to_owned(),
            extension: DLL_EXTENSION,
        });
    }
    found.sort();
    Ok(found)
}

/// Refuses a library whose bytes do not have this SHA-256 (in hexadecimal), without opening it.
///
/// # Errors
/// When it is another file, cannot be read, or is a folder.
pub fn check_pin(path: &Path, sha256: &str) -> Result<(), HostError> {
    let unreadable = |source| HostError::Unreadable {
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Err(HostError::PinnedFolder {
            path: path.to_owned(),
        });
    }
    let found = hash(&std::fs::read(path).map_err(unreadable)?);
    if found.eq_ignore_ascii_case(sha256) {
        return Ok(());
    }
    Err(HostError::OtherFile {
        path: path.to_owned(),
        found,
        pinned: sha256.to_owned(),
    })
}

fn hash(bytes: &[u8]) -> String {
    let mut sha256 = String::new();
    for byte in Sha256::digest(bytes) {
        // Writing to a string cannot fail.
        let _ = write!(sha256, "{byte:02x}");
    }
    sha256
}

/// Opens a library and calls its entry function.
pub(crate) fn open(path: &Path) -> Result<(*const Plugin, Origin), HostError> {
    let unreadable = |source| HostError::Unreadable {
        path: path.to_owned(),
        source,
    };
    // Absolute, so that the loader does not search its own path for a bare file name.
    let absolute = path.canonicalize().map_err(unreadable)?;
    let sha256 = hash(&std::fs::read(&absolute).map_err(unreadable)?);
    // SAFETY: opening a library runs its initialisers, which the user asked for by naming it.
    let library = unsafe { Library::new(&absolute) }.map_err(|error| HostError::NotALibrary {
        path: path.to_owned(),
        // The system's reason is the cause of the library's error; it begins with the path once more.
        detail: std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), ToString::to_string)
            .replace(&format!("{}: ", absolute.display()), ""),
    })?;
    // SAFETY: by the ABI a symbol of this name is a function of this type.
    let entry = match unsafe { library.get::<Entry>(ENTRY_SYMBOL) } {
        Ok(symbol) => *symbol,
        Err(_) => {
            return Err(HostError::MissingEntry {
                path: path.to_owned(),
                symbol: ENTRY_SYMBOL,
            });
        }
    };
    // Never closed: descriptors, tables and running threads of the plugin live until the process
    // ends.
    std::mem::forget(library);
    // SAFETY: the function is the plugin's entry and the library stays open.
    let plugin = unsafe { entry(u32::from(ABI_MAJOR), u32::from(ABI_MINOR)) };
    Ok((
        plugin,
        Origin::File {
            path: absolute,
            sha256,
        },
    ))
}
