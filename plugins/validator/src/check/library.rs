//! Tests of the library as a whole.

use ablate_abi::{ABI_MAJOR, ABI_MINOR};
use ablate_host::Registry;

use super::bench::{count, fail, Bench, Stop};
use crate::border::library::{entry, Bare, Target};
use crate::border::proxy::extension_of;

pub(super) fn load(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let unusable = registry
        .catalogue()
        .iter()
        .find_map(|entry| Some((entry, entry.unusable.as_ref()?)));
    if let Some((entry, reason)) = unusable {
        return fail(format!(
            "the {} `{}` cannot be used here: {reason}",
            entry.kind, entry.name
        ));
    }
    let names: Vec<String> = registry
        .catalogue()
        .iter()
        .map(|entry| format!("{} `{}`", entry.kind, entry.name))
        .collect();
    Ok(names.join(", "))
}

pub(super) fn entry_versions(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let Target::Library(path) = bench.target else {
        return Err(Stop::Skipped(
            "a linked plugin has no entry function".into(),
        ));
    };
    bench.doing("load");
    let entry = entry(path).map_err(Stop::Failed)?;
    let (major, minor) = (u32::from(ABI_MAJOR), u32::from(ABI_MINOR));
    bench.doing(format!("entry({major}, {minor})"));
    // SAFETY: the plugin's entry, which takes any two numbers.
    let own = unsafe { entry(major, minor) };
    for (major, minor) in [
        (major, minor),
        (major, minor + 1),
        (major, u32::MAX),
        (major, 0),
        (major + 1, 0),
        (0, 0),
        (u32::MAX, u32::MAX),
    ] {
        bench.doing(format!("entry({major}, {minor})"));
        // SAFETY: as above.
        let found = unsafe { entry(major, minor) };
        if !found.is_null() && found != own {
            return fail(format!(
                "entry({major}, {minor}) gives another descriptor than entry({ABI_MAJOR}, {ABI_MINOR}); it must be one constant"
            ));
        }
    }
    Ok("the same descriptor, or null, for seven versions".into())
}

pub(super) fn names(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let built_in = Registry::with_builtins()?;
    let mut problems = Vec::new();
    for entry in registry.catalogue() {
        let what = format!("the {} `{}`", entry.kind, entry.name);
        let digits: Vec<&str> = entry
            .version
            .split(['-', '+'])
            .next()
            .unwrap_or("")
            .split('.')
            .collect();
        if digits.len() != 3 || digits.iter().any(|d| d.parse::<u64>().is_err()) {
            problems.push(format!(
                "the plugin's version is `{}`; a semantic version has three numbers, as in 0.1.0",
                entry.version
            ));
        }
        let spdx = |c: char| c.is_ascii_alphanumeric() || " .-+()".contains(c);
        if !entry.license.chars().all(spdx) {
            problems.push(format!(
                "the licence `{}` is no SPDX expression, such as MIT OR Apache-2.0",
                entry.license
            ));
        }
        if entry.description.trim().len() < 3 || entry.description.contains('\n') {
            problems.push(format!(
                "the description of {what} is not one sentence: `{}`",
                entry.description
            ));
        }
        let clash = built_in.find(entry.kind, &entry.name);
        if *bench.target != Target::BuiltIn
            && clash.is_some_and(|other| other.plugin != entry.plugin)
        {
            problems.push(format!(
                "{what} has the name of a built-in one, so no recipe can load it"
            ));
        }
    }
    problems.dedup();
    match problems.first() {
        None => Ok(count(registry.catalogue().len(), "well-formed name")),
        Some(first) if problems.len() == 1 => fail(first.clone()),
        Some(first) => fail(format!("{first} (and {} more)", problems.len() - 1)),
    }
}

pub(super) fn extensions(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let entries = bench.registry()?.catalogue().to_vec();
    let mut asked = 0;
    for entry in &entries {
        let Some(id) = extension_of(entry.kind) else {
            continue;
        };
        let bare = Bare::open(bench.target, &entry.name, id).map_err(Stop::Failed)?;
        for (capability, id) in [
            (entry.name.as_str(), "ablate.no-such-table/1"),
            ("no_such_capability", id),
            ("", "ablate.no-such-table/1"),
            ("", ""),
            (entry.name.as_str(), ""),
        ] {
            bench.doing(format!("get_extension(`{capability}`, `{id}`)"));
            if !bare.extension(capability, id).is_null() {
                return fail(format!(
                    "get_extension(`{capability}`, `{id}`) gives a table; it should give null"
                ));
            }
            asked += 1;
        }
        for id in &entry.extensions {
            bench.doing(format!("get_extension(`{}`, `{id}`)", entry.name));
            let (first, second) = (
                bare.extension(&entry.name, id),
                bare.extension(&entry.name, id),
            );
            if first.is_null() {
                return fail(format!(
                    "`{}` lists `{id}`, but get_extension gives null for it",
                    entry.name
                ));
            }
            if first != second {
                return fail(format!(
                    "get_extension gives another table for `{id}` of `{}` each time",
                    entry.name
                ));
            }
            asked += 1;
        }
    }
    Ok(format!("{asked} questions"))
}
