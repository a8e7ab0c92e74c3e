//! Looks at the files that a recipe names, before any work.
//!
//! Owns which crate knows about which kind of file. Must not know where a recipe names them, nor how
//! a mistake is shown.
//!
//! A checkpoint is read whole, exactly as a trial will read it, so that nothing can turn up later. Each
//! file is looked at once, however many arms name it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ablate_bert::hf;
use ablate_datasets::{Card, Tokenizer};
use ablate_recipe::{Catalog, VocabularyCheck};

use crate::data;

/// Adds the looks to what a recipe is checked against.
pub(crate) fn add(catalog: &mut Catalog) {
    catalog.card = Some(Card::schema());
    catalog.check_source = Some(Arc::new(|source| {
        // Paths are found by then, and relative to the current folder.
        let source = data::source(source).map_err(|e| e.to_string())?;
        ablate_datasets::check(&source, Path::new("")).map_err(|e| e.to_string())
    }));
    catalog.check_checkpoint = Some(once(|folder| {
        let (config, _) = hf::import(folder).map_err(|e| e.to_string())?;
        Ok(config.vocab_size)
    }));
    catalog.check_tokenizer = Some(once(|path| {
        let tokenizer = Tokenizer::load(path).map_err(|e| e.to_string())?;
        Ok(tokenizer.facts().size)
    }));
}

/// The same look, which remembers what it has seen.
fn once(
    look: impl Fn(&Path) -> Result<usize, String> + Send + Sync + 'static,
) -> Arc<VocabularyCheck> {
    let seen: Mutex<HashMap<PathBuf, Result<usize, String>>> = Mutex::default();
    Arc::new(move |path| {
        // Whatever a panic elsewhere left, entries are whole.
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entry(path.to_owned())
            .or_insert_with(|| look(path))
            .clone()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_file_is_looked_at_once() {
        let looks = Arc::new(AtomicUsize::new(0));
        let count = looks.clone();
        let check = once(move |path| {
            count.fetch_add(1, Ordering::Relaxed);
            match path.to_str() {
                Some("bad") => Err("broken".to_owned()),
                _ => Ok(7),
            }
        });
        for _ in 0..3 {
            assert_eq!(check(Path::new("good")), Ok(7));
            assert_eq!(check(Path::new("bad")), Err("broken".to_owned()));
        }
        assert_eq!(looks.load(Ordering::Relaxed), 2);
    }
}
