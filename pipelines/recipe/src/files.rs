//! Files that a recipe names.
//!
//! Owns where a relative path is looked for. Must not know which key named it, nor read a file's
//! content.

use std::path::{Path, PathBuf};

use crate::words::nearest;

/// Characters that make a path a pattern.
const GLOB: [char; 3] = ['*', '?', '['];

/// Finds files for one recipe.
#[derive(Clone, Debug)]
pub(crate) struct Finder {
    /// Folder of the recipe; empty when that is the current one.
    folder: PathBuf,
}

impl Finder {
    /// A finder for the recipe in this file.
    pub fn of(recipe: &Path) -> Self {
        Self {
            folder: recipe.parent().map(Path::to_owned).unwrap_or_default(),
        }
    }

    /// The places a written path may mean, in order: as it is, then beside the recipe.
    fn places(&self, written: &str) -> Vec<PathBuf> {
        let path = PathBuf::from(written);
        if path.is_absolute() || self.folder.as_os_str().is_empty() {
            return vec![path];
        }
        let beside = self.folder.join(&path);
        vec![path, beside]
    }

    /// The path that exists, or where it was looked for in words.
    pub fn path(&self, written: &str) -> Result<PathBuf, Missing> {
        let places = self.places(written);
        match places.iter().find(|p| p.exists()) {
            Some(found) => Ok(found.clone()),
            None => Err(Missing::of(&places)),
        }
    }

    /// The path or pattern that matches at least one file.
    pub fn pattern(&self, written: &str) -> Result<String, Missing> {
        if !written.contains(GLOB) {
            return self.path(written).map(|p| p.to_string_lossy().into_owned());
        }
        let places = self.places(written);
        let found = places.iter().map(|p| p.to_string_lossy()).find(|p| {
            glob::glob(p).is_ok_and(|mut paths| paths.any(|one| one.is_ok_and(|f| f.is_file())))
        });
        match found {
            Some(pattern) => Ok(pattern.into_owned()),
            None => Err(Missing::of(&places)),
        }
    }
}

/// A path that is nowhere.
#[derive(Clone, Debug)]
pub(crate) struct Missing {
    /// "looked for `a` and `b`", with a near name when there is one.
    pub help: String,
}

impl Missing {
    fn of(places: &[PathBuf]) -> Self {
        let looked: Vec<String> = places
            .iter()
            .map(|p| format!("`{}`", p.display()))
            .collect();
        let looked = format!("looked for {}", looked.join(" and "));
        let near = places.iter().find_map(|p| near(p));
        Self {
            help: match near {
                Some(near) => format!("did you mean `{}`? {looked}", near.display()),
                None => looked,
            },
        }
    }
}

/// A file in the same folder with nearly the same name.
pub(crate) fn near(path: &Path) -> Option<PathBuf> {
    let folder = path.parent()?;
    let name = path.file_name()?.to_str()?;
    let here = Path::new(".");
    let listed = if folder.as_os_str().is_empty() {
        here
    } else {
        folder
    };
    let mut names: Vec<String> = std::fs::read_dir(listed)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    nearest(name, names.iter().map(String::as_str)).map(|near| folder.join(near))
}
