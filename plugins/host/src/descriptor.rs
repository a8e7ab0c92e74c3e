//! Reads and checks a descriptor: everything that could be wrong with it is said here, once, before
//! anything of the plugin is used.

use std::fmt;
use std::path::PathBuf;

use ablate_abi::{
    kind, read_sized, Capability, ObjectiveApi, OptimizerApi, Plugin, SizeError, SizeGated,
    StoppingApi, Str, ABI_MAJOR, ABI_MINOR, MAGIC, OBJECTIVE_API, OPTIMIZER_API, STOPPING_API,
};
use serde_json::Value;

use crate::HostError;

/// What a capability is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A training objective.
    Objective,
    /// An optimizer.
    Optimizer,
    /// A stopping rule.
    StoppingRule,
    /// A kind of a newer ABI: listed, not usable.
    Unknown(u32),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Objective => f.write_str("objective"),
            Kind::Optimizer => f.write_str("optimizer"),
            Kind::StoppingRule => f.write_str("stopping rule"),
            Kind::Unknown(code) => write!(f, "capability of kind {code}"),
        }
    }
}

/// Where a plugin comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Linked into the program.
    BuiltIn,
    /// Loaded from a file.
    File {
        /// Its path, made absolute.
        path: PathBuf,
        /// SHA-256 of its bytes when it was loaded, in hexadecimal.
        sha256: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::BuiltIn => f.write_str("built in"),
            Origin::File { path, .. } => write!(f, "from `{}`", path.display()),
        }
    }
}

/// One thing that recipes can name.
#[derive(Clone, Debug, PartialEq)]
pub struct CatalogueEntry {
    /// What it is.
    pub kind: Kind,
    /// The name that recipes use.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// JSON Schema of its configuration.
    pub schema: Value,
    /// Extension ids that it offers.
    pub extensions: Vec<String>,
    /// Name of the plugin.
    pub plugin: String,
    /// The plugin's own version.
    pub version: String,
    /// SPDX expression of the plugin's licence.
    pub license: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// The function table of a capability.
#[derive(Clone, Copy)]
pub(crate) enum Table {
    Objective(ObjectiveApi),
    Optimizer(OptimizerApi),
    StoppingRule(StoppingApi),
    None,
}

struct Reader<'a> {
    origin: &'a Origin,
}

impl Reader<'_> {
    fn bad(&self, detail: impl Into<String>) -> HostError {
        HostError::BadDescriptor {
            origin: self.origin.clone(),
            detail: detail.into(),
        }
    }

    /// # Safety
    /// As [`read_sized`].
    unsafe fn sized<T: SizeGated>(&self, pointer: *const T, what: &str) -> Result<T, HostError> {
        if !pointer.is_aligned() {
            return Err(self.bad(format!("the pointer to {what} is not aligned")));
        }
        // SAFETY: the caller's promise.
        unsafe { read_sized(pointer) }.map_err(|error| match error {
            SizeError::Null => self.bad(format!("the pointer to {what} is null")),
            SizeError::TooSmall { found, needed } => HostError::TooSmall {
                origin: self.origin.clone(),
                what: what.to_owned(),
                found,
                needed,
            },
        })
    }

    fn text(&self, view: Str, what: &str) -> Result<String, HostError> {
        // SAFETY: by the ABI a descriptor's texts are constant.
        unsafe { view.get() }
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| self.bad(format!("{what} is empty or not UTF-8")))
    }

    fn name(&self, view: Str, what: &str) -> Result<String, HostError> {
        let name = self.text(view, what)?;
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        if name.chars().all(fine) {
            return Ok(name);
        }
        Err(self.bad(format!(
            "{what} is `{name}`; names have a-z, 0-9, `_` and `-` only"
        )))
    }
}

/// Reads a descriptor.
///
/// # Errors
/// Everything but the path errors of [`HostError`].
///
/// # Safety
/// `plugin` is null or what an entry function returned: at least its first 16 bytes are readable, and
/// if they are those of a descriptor of this major version, the rest is as the ABI says, for the life
/// of the process.
pub(crate) unsafe fn read(
    plugin: *const Plugin,
    origin: &Origin,
) -> Result<Vec<(CatalogueEntry, Table)>, HostError> {
    let reader = Reader { origin };
    if plugin.is_null() {
        return Err(HostError::Refused {
            origin: origin.clone(),
            major: ABI_MAJOR,
            minor: ABI_MINOR,
        });
    }
    // First what every major version has at the same place.
    // SAFETY: the caller's promise; `addr_of` style reads make no reference to the whole struct.
    let (magic, major, minor) = unsafe {
        (
            (&raw const (*plugin).magic).read_unaligned(),
            (&raw const (*plugin).abi_major).read_unaligned(),
            (&raw const (*plugin).abi_minor).read_unaligned(),
        )
    };
    if magic != MAGIC {
        return Err(HostError::BadMagic {
            origin: origin.clone(),
            found: magic,
            expected: MAGIC,
        });
    }
    if major != ABI_MAJOR {
        return Err(HostError::WrongMajor {
            origin: origin.clone(),
            plugin_major: major,
            plugin_minor: minor,
            host_major: ABI_MAJOR,
            host_minor: ABI_MINOR,
        });
    }
    // SAFETY: magic and major version say that it is such a struct.
    let descriptor = unsafe { reader.sized(plugin, "the descriptor") }?;
    let plugin_name = reader.name(descriptor.name, "the plugin's name")?;
    let version = reader.text(descriptor.version, "the plugin's version")?;
    let license = reader.text(descriptor.license, "the plugin's licence")?;
    let get_extension = descriptor
        .get_extension
        .ok_or_else(|| reader.bad("`get_extension` is null"))?;
    if descriptor.capability_count == 0 || descriptor.capabilities.is_null() {
        return Err(reader.bad("it lists no capability"));
    }
    // SAFETY: by the ABI there are `capability_count` pointers.
    let capabilities =
        unsafe { std::slice::from_raw_parts(descriptor.capabilities, descriptor.capability_count) };
    let mut found = Vec::new();
    for pointer in capabilities {
        // SAFETY: by the ABI each points to a capability.
        let capability = unsafe { reader.sized(*pointer, "a capability") }?;
        let (entry, lookup) = entry(&reader, &capability)?;
        let table = |id: &str| {
            // SAFETY: texts are valid during the call; the ABI gives tables of the id's type.
            unsafe { get_extension(Str::new(lookup), Str::new(id)) }
        };
        // SAFETY: by the ABI the table behind an id has the id's type.
        let table = unsafe {
            match entry.kind {
                Kind::Objective => {
                    let api: ObjectiveApi =
                        reader.sized(table(OBJECTIVE_API).cast(), OBJECTIVE_API)?;
                    complete(
                        &reader,
                        &entry.name,
                        &[
                            ("create", api.create.is_some()),
                            ("destroy", api.destroy.is_some()),
                            ("weight", api.weight.is_some()),
                            ("needs", api.needs.is_some()),
                            ("features", api.features.is_some()),
                            ("prepare", api.prepare.is_some()),
                            ("build", api.build.is_some()),
                        ],
                    )?;
                    Table::Objective(api)
                }
                Kind::Optimizer => {
                    let api: OptimizerApi =
                        reader.sized(table(OPTIMIZER_API).cast(), OPTIMIZER_API)?;
                    complete(
                        &reader,
                        &entry.name,
                        &[
                            ("create", api.create.is_some()),
                            ("destroy", api.destroy.is_some()),
                            ("base_learning_rate", api.base_learning_rate.is_some()),
                            ("slots", api.slots.is_some()),
                            ("scalar_names", api.scalar_names.is_some()),
                            ("scalars", api.scalars.is_some()),
                            ("update", api.update.is_some()),
                        ],
                    )?;
                    Table::Optimizer(api)
                }
                Kind::StoppingRule => {
                    let api: StoppingApi =
                        reader.sized(table(STOPPING_API).cast(), STOPPING_API)?;
                    complete(
                        &reader,
                        &entry.name,
                        &[
                            ("create", api.create.is_some()),
                            ("destroy", api.destroy.is_some()),
                            ("observe", api.observe.is_some()),
                            ("save", api.save.is_some()),
                            ("load", api.load.is_some()),
                        ],
                    )?;
                    Table::StoppingRule(api)
                }
                Kind::Unknown(_) => Table::None,
            }
        };
        let entry = CatalogueEntry {
            plugin: plugin_name.clone(),
            version: version.clone(),
            license: license.clone(),
            ..entry
        };
        found.push((entry, table));
    }
    Ok(found)
}

fn complete(reader: &Reader<'_>, name: &str, functions: &[(&str, bool)]) -> Result<(), HostError> {
    match functions.iter().find(|(_, present)| !present) {
        None => Ok(()),
        Some((function, _)) => {
            Err(reader.bad(format!("the function `{function}` of `{name}` is null")))
        }
    }
}

/// The catalogue's view of a capability (the plugin's own fields still empty), and its name as
/// written in the descriptor.
fn entry<'a>(
    reader: &Reader<'_>,
    capability: &Capability,
) -> Result<(CatalogueEntry, &'a str), HostError> {
    let name = reader.name(capability.name, "a capability's name")?;
    // SAFETY: constant by the ABI; it was read as text a line above.
    let lookup = unsafe { capability.name.get() }.unwrap_or("");
    let schema = match capability.config_schema {
        None => return Err(reader.bad(format!("`config_schema` of `{name}` is null"))),
        // SAFETY: the function needs nothing and gives constant text.
        Some(schema) => reader.text(unsafe { schema() }, &format!("the schema of `{name}`"))?,
    };
    let schema: Value = serde_json::from_str(&schema)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| reader.bad(format!("the schema of `{name}` is no JSON object")))?;
    let mut extensions = Vec::new();
    if capability.extension_count > 0 && !capability.extensions.is_null() {
        // SAFETY: by the ABI there are `extension_count` texts.
        let ids = unsafe {
            std::slice::from_raw_parts(capability.extensions, capability.extension_count)
        };
        for id in ids {
            extensions.push(reader.text(*id, &format!("an extension id of `{name}`"))?);
        }
    }
    let (kind, needed) = match capability.kind {
        kind::OBJECTIVE => (Kind::Objective, OBJECTIVE_API),
        kind::OPTIMIZER => (Kind::Optimizer, OPTIMIZER_API),
        kind::STOPPING_RULE => (Kind::StoppingRule, STOPPING_API),
        other => (Kind::Unknown(other), ""),
    };
    if !needed.is_empty() && !extensions.iter().any(|id| id == needed) {
        return Err(reader.bad(format!(
            "the {kind} `{name}` does not list the extension `{needed}`; it lists: {}",
            extensions.join(", ")
        )));
    }
    let entry = CatalogueEntry {
        kind,
        name,
        description: reader.text(capability.description, "a capability's description")?,
        schema,
        extensions,
        plugin: String::new(),
        version: String::new(),
        license: String::new(),
        origin: reader.origin.clone(),
    };
    Ok((entry, lookup))
}
