//! Writing a folder, whole or not at all.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use safetensors::{Dtype, View};
use serde_json::Value;

use super::names::{architecture, DECODER_BIAS, DECODER_WEIGHT};
use super::{read, CONFIG, WEIGHTS};
use crate::{BertConfig, BertError, Result};

/// A parameter to write.
#[derive(Clone, Copy, Debug)]
pub struct ExportTensor<'a> {
    /// Its Hugging Face name.
    pub name: &'a str,
    /// Its shape.
    pub shape: &'a [usize],
    /// Its values, row-major.
    pub values: &'a [f32],
}

impl View for ExportTensor<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.values.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        self.values.len() * 4
    }
}

/// Writes the folder `dir`: `config.json`, `model.safetensors` (f32, tied weights once) and
/// `tokenizer_files` as `(file name, contents)`.
///
/// `transformers` loads it with no missing and no unexpected keys into the class that
/// `architectures` names: `BertForPreTraining` when both heads are there, `BertForMaskedLM` with the
/// masked-language-model head alone, otherwise `BertForNextSentencePrediction` or `BertModel`.
///
/// Everything is written into a new folder beside `dir`, which then takes its place: whoever looks
/// sees a whole export or none. An existing model folder is replaced, with everything in it.
///
/// # Errors
/// Before anything is written: [`BertError::Config`], [`BertError::Missing`], [`BertError::Shape`],
/// [`BertError::Values`], [`BertError::Duplicate`], [`BertError::FileName`], [`BertError::Occupied`]
/// when `dir` is a file or a folder of something else. Then [`BertError::Io`]
/// (an unwritable folder, a full disk), after which `dir` is as it was.
pub fn export(
    dir: &Path,
    config: &BertConfig,
    tensors: &[ExportTensor<'_>],
    tokenizer_files: &[(String, Vec<u8>)],
) -> Result<()> {
    config.validate()?;
    let tensors = checked(dir, config, tensors)?;
    for (name, _) in tokenizer_files {
        check_file_name(name)?;
    }
    let json = config_json(dir, config, &tensors)?;
    check_replaceable(dir)?;
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let weights = safetensors::serialize(tensors.iter().map(|t| (t.name, *t)), Some(metadata))
        .map_err(|source| BertError::SafeTensors {
            path: dir.join(WEIGHTS),
            source,
        })?;

    let temporary = sibling(dir, "writing");
    let written = write_folder(&temporary, &json, &weights, tokenizer_files)
        .and_then(|()| replace(&temporary, dir));
    if written.is_err() {
        // The first error is the one to report; what cannot be removed stays under a dot name.
        let _ = fs::remove_dir_all(&temporary);
    }
    written
}

/// The tensors without the tied duplicates, complete and of the right shapes.
fn checked<'a>(
    dir: &Path,
    config: &BertConfig,
    tensors: &[ExportTensor<'a>],
) -> Result<Vec<ExportTensor<'a>>> {
    let mut kept: Vec<ExportTensor<'a>> = tensors
        .iter()
        .filter(|t| t.name != DECODER_WEIGHT && t.name != DECODER_BIAS)
        .copied()
        .collect();
    kept.sort_by_key(|t| t.name);
    for pair in kept.windows(2) {
        if pair[0].name == pair[1].name {
            return Err(BertError::Duplicate {
                path: dir.to_path_buf(),
                tensor: pair[0].name.to_string(),
            });
        }
    }
    read::check(dir, config, kept.iter().map(|t| (t.name, t.shape)))?;
    for t in &kept {
        if t.shape.iter().product::<usize>() != t.values.len() {
            return Err(BertError::Values {
                tensor: t.name.to_string(),
                shape: t.shape.to_vec(),
                values: t.values.len(),
            });
        }
    }
    Ok(kept)
}

fn check_file_name(name: &str) -> Result<()> {
    let mut parts = Path::new(name).components();
    let plain =
        matches!((parts.next(), parts.next()), (Some(Component::Normal(p)), None) if p == name);
    if plain && name != CONFIG && name != WEIGHTS {
        Ok(())
    } else {
        Err(BertError::FileName {
            name: name.to_string(),
        })
    }
}

/// `config.json`: what the configuration holds and the keys that older transformers look for.
fn config_json(dir: &Path, config: &BertConfig, tensors: &[ExportTensor<'_>]) -> Result<Vec<u8>> {
    let has = |name: &str| tensors.binary_search_by_key(&name, |t| t.name).is_ok();
    let mut config = config.clone();
    config.architectures = vec![architecture(&config, has).to_string()];
    // The values are f32 whatever they were before; transformers would convert on loading to what
    // stands here, and `torch_dtype` is the older name of the key.
    config.extra.shift_remove("torch_dtype");
    config.extra.insert("dtype".into(), Value::from("float32"));
    for (key, value) in [
        ("position_embedding_type", Value::from("absolute")),
        ("tie_word_embeddings", Value::from(true)),
        ("is_decoder", Value::from(false)),
        ("use_cache", Value::from(true)),
        ("classifier_dropout", Value::Null),
    ] {
        config.extra.entry(key).or_insert(value);
    }
    let mut json = serde_json::to_vec_pretty(&config).map_err(|source| BertError::Json {
        path: dir.join(CONFIG),
        source,
    })?;
    json.push(b'\n');
    Ok(json)
}

/// A name beside `dir` that no other export of this process or another uses.
fn sibling(dir: &Path, what: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = dir
        .file_name()
        .map_or_else(|| "model".into(), |n| n.to_string_lossy());
    dir.with_file_name(format!(".{name}.{what}-{}-{n}", std::process::id()))
}

fn write_folder(
    folder: &Path,
    config: &[u8],
    weights: &[u8],
    tokenizer_files: &[(String, Vec<u8>)],
) -> Result<()> {
    fs::create_dir_all(folder).map_err(BertError::io("create", folder))?;
    let own = [(CONFIG, config), (WEIGHTS, weights)];
    let others = tokenizer_files.iter().map(|(n, b)| (n.as_str(), &b[..]));
    for (name, bytes) in own.into_iter().chain(others) {
        let path = folder.join(name);
        // Synced before the rename: after a crash the folder must not be there with empty files.
        fs::File::create(&path)
            .and_then(|mut f| f.write_all(bytes).and_then(|()| f.sync_all()))
            .map_err(BertError::io("write", &path))?;
    }
    Ok(())
}

/// Puts `new` where `dir` is. A folder cannot be renamed onto another that is not empty, so an
/// existing one steps aside first and comes back if the rename fails.
fn replace(new: &Path, dir: &Path) -> Result<()> {
    let old = sibling(dir, "replaced");
    let existed = match fs::rename(dir, &old) {
        Ok(()) => true,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
        Err(e) => return Err(BertError::io("replace", dir)(e)),
    };
    if let Err(e) = fs::rename(new, dir) {
        if existed {
            // Best effort: the error of the rename above is the one to report.
            let _ = fs::rename(&old, dir);
        }
        return Err(BertError::io("rename to", dir)(e));
    }
    if existed {
        fs::remove_dir_all(&old).map_err(BertError::io("remove", &old))?;
    }
    Ok(())
}

/// Replacing deletes, so only an empty folder or an older export may stand where `dir` will.
fn check_replaceable(dir: &Path) -> Result<()> {
    let occupied = || BertError::Occupied {
        dir: dir.to_path_buf(),
    };
    match fs::symlink_metadata(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(BertError::io("look at", dir)(e)),
        Ok(meta) if !meta.is_dir() => return Err(occupied()),
        Ok(_) => {}
    }
    let mut entries = fs::read_dir(dir).map_err(BertError::io("read", dir))?;
    if entries.next().is_none() || dir.join(CONFIG).is_file() && dir.join(WEIGHTS).is_file() {
        Ok(())
    } else {
        Err(occupied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_stay_in_the_folder() {
        for name in ["vocab.txt", "tokenizer.json", ".hidden"] {
            check_file_name(name).unwrap();
        }
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "/etc/x",
            "../x",
            "vocab.txt/",
            "config.json",
            "model.safetensors",
        ] {
            assert!(check_file_name(name).is_err(), "{name:?}");
        }
    }
}
