//! Reads and checks a descriptor: everything that could be wrong with it is said here, once, before
//! anything of the plugin is used. Negotiation of versions is part of it: what both sides know is
//! used, what one side lacks is said with what to do about it.

use ablate_abi::{
    read_sized, Capability, ObjectiveApi, OperatorApi, OptimizerApi, Plugin, ScheduleApi,
    SizeError, SizeGated, StoppingApi, Str, ABI_MAJOR, ABI_MINOR, MAGIC, OBJECTIVE_API,
    OPERATOR_API, OPTIMIZER_API, SCHEDULE_API, STOPPING_API,
};
use serde_json::Value;

use crate::catalogue::{CatalogueEntry, Kind, Origin};
use crate::HostError;

/// The function table of a capability.
#[derive(Clone, Copy)]
pub(crate) enum Table {
    Objective(ObjectiveApi),
    Optimizer(OptimizerApi),
    Schedule(ScheduleApi),
    StoppingRule(StoppingApi),
    Operator(OperatorApi),
    None,
}

/// The tables that this host knows, the newest version of each kind first.
const KNOWN: [(Kind, &str); 5] = [
    (Kind::Objective, OBJECTIVE_API),
    (Kind::Optimizer, OPTIMIZER_API),
    (Kind::Schedule, SCHEDULE_API),
    (Kind::StoppingRule, STOPPING_API),
    (Kind::Operator, OPERATOR_API),
];

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
    if descriptor.abi_minor_needed > u32::from(ABI_MINOR) {
        return Err(HostError::NeedsNewerHost {
            origin: origin.clone(),
            needed: descriptor.abi_minor_needed,
            major: ABI_MAJOR,
            minor: ABI_MINOR,
        });
    }
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
                _ if entry.unusable.is_some() => Table::None,
                Kind::Objective => Table::Objective(complete!(
                    reader,
                    entry,
                    table,
                    OBJECTIVE_API,
                    ObjectiveApi {
                        create,
                        destroy,
                        weight,
                        needs,
                        features,
                        prepare,
                        build
                    }
                )),
                Kind::Optimizer => Table::Optimizer(complete!(
                    reader,
                    entry,
                    table,
                    OPTIMIZER_API,
                    OptimizerApi {
                        create,
                        destroy,
                        base_learning_rate,
                        slots,
                        scalar_names,
                        scalars,
                        update
                    }
                )),
                Kind::Schedule => Table::Schedule(complete!(
                    reader,
                    entry,
                    table,
                    SCHEDULE_API,
                    ScheduleApi {
                        create,
                        destroy,
                        factor
                    }
                )),
                Kind::StoppingRule => Table::StoppingRule(complete!(
                    reader,
                    entry,
                    table,
                    STOPPING_API,
                    StoppingApi {
                        create,
                        destroy,
                        observe,
                        save,
                        load
                    }
                )),
                Kind::Operator => {
                    let api = complete!(
                        reader,
                        entry,
                        table,
                        OPERATOR_API,
                        OperatorApi { create, destroy }
                    );
                    if api.filter.is_none() && api.map.is_none() {
                        let name = &entry.name;
                        return Err(reader.bad(format!(
                            "the functions `filter` and `map` of `{name}` are both null; one is needed"
                        )));
                    }
                    Table::Operator(api)
                }
                Kind::Unknown => Table::None,
            }
        };
        let entry = CatalogueEntry {
            plugin: plugin_name.clone(),
            version: version.clone(),
            license: license.clone(),
            abi: (major, minor),
            ..entry
        };
        found.push((entry, table));
    }
    Ok(found)
}

/// Reads a table and asserts that the functions which every host of this version calls are there.
macro_rules! complete {
    ($reader:ident, $entry:ident, $find:ident, $id:ident, $table:ident { $($function:ident),* }) => {{
        let api: $table = $reader.sized($find($id).cast(), $id)?;
        $(
            if api.$function.is_none() {
                return Err($reader.bad(format!(
                    "the function `{}` of `{}` is null",
                    stringify!($function),
                    $entry.name
                )));
            }
        )*
        api
    }};
}
use complete;

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
    if extensions.is_empty() {
        return Err(reader.bad(format!(
            "`{name}` lists no extension, so nobody knows what it is; an optimizer lists `{OPTIMIZER_API}`"
        )));
    }
    let (kind, unusable) = negotiate(&extensions);
    let entry = CatalogueEntry {
        kind,
        name,
        description: reader.text(capability.description, "a capability's description")?,
        schema,
        extensions,
        unusable,
        plugin: String::new(),
        version: String::new(),
        license: String::new(),
        abi: (ABI_MAJOR, ABI_MINOR),
        origin: reader.origin.clone(),
    };
    Ok((entry, lookup))
}

/// What a capability is by its extension ids, and why this host cannot use it, if so.
fn negotiate(extensions: &[String]) -> (Kind, Option<String>) {
    let known = |id: &str| KNOWN.iter().find(|(_, known)| *known == id);
    if let Some((kind, _)) = extensions.iter().find_map(|id| known(id)) {
        return (*kind, None);
    }
    let parts = |id: &str| -> Option<(String, u32)> {
        let (stem, version) = id.rsplit_once('/')?;
        Some((stem.to_owned(), version.parse().ok()?))
    };
    for (kind, ours) in KNOWN {
        let same = |id: &&String| match (parts(id), parts(ours)) {
            (Some((theirs, version)), Some((stem, known))) if theirs == stem => {
                Some(version > known)
            }
            _ => None,
        };
        if let Some((id, newer)) = extensions.iter().find_map(|id| same(&id).map(|n| (id, n))) {
            let advice = if newer {
                "update this program, or use an older version of the plugin"
            } else {
                "use a newer version of the plugin, or rebuild it with the `ablate-sdk` (or header) of this program"
            };
            return (
                kind,
                Some(format!(
                    "it offers `{id}`, this program knows `{ours}`; {advice}"
                )),
            );
        }
    }
    (
        Kind::Unknown,
        Some(format!(
            "it offers {}, which this program does not know; update this program",
            extensions.join(", ")
        )),
    )
}
