//! Reading a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::names::{canonical, known_parameters, DECODER_BIAS, DECODER_WEIGHT, PREDICTION_BIAS};
use super::{Tensors, CONFIG, WEIGHTS};
use crate::{encoder_parameters, BertConfig, BertError, Result, WORD_EMBEDDINGS};

/// Reads `config.json` and `model.safetensors` of the folder `dir`.
///
/// The encoder is complete and every tensor that the configuration knows has its shape; pooler,
/// heads and tensors unknown to BERT are there if the file has them. Values stored as F16, BF16 or
/// F64 become f32. The decoder of the masked-language-model head is dropped after a check that it
/// equals the word embedding it is tied to.
///
/// # Errors
/// [`BertError::Io`], [`BertError::Json`], [`BertError::SafeTensors`] and [`BertError::NoWeights`]
/// for files that cannot be read; [`BertError::Config`] for an impossible or unsupported
/// configuration; [`BertError::Missing`], [`BertError::Shape`], [`BertError::Dtype`],
/// [`BertError::Duplicate`] and [`BertError::Untied`] for weights that do not fit it.
pub fn import(dir: &Path) -> Result<(BertConfig, Tensors)> {
    let config = read_config(dir)?;
    let path = dir.join(WEIGHTS);
    if !path.is_file() {
        return Err(BertError::NoWeights {
            dir: dir.to_path_buf(),
            hint: hint(dir),
        });
    }
    let bytes = fs::read(&path).map_err(BertError::io("read", &path))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|source| BertError::SafeTensors {
        path: path.clone(),
        source,
    })?;
    // In the order of names, so that of several bad tensors the same one is reported every time.
    let stored: BTreeMap<&str, TensorView<'_>> = file.iter().collect();
    let mut tensors = Tensors::new();
    for (stored, view) in stored {
        let Some(name) = canonical(stored) else {
            continue;
        };
        let values = to_f32(&view).ok_or_else(|| BertError::Dtype {
            path: path.clone(),
            tensor: stored.to_string(),
            dtype: format!("{:?}", view.dtype()),
        })?;
        let tensor = (view.shape().to_vec(), values);
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(BertError::Duplicate { path, tensor: name });
        }
    }
    untie(&path, &mut tensors)?;
    let shapes = tensors.iter().map(|(n, (s, _))| (n.as_str(), &s[..]));
    check(&path, &config, shapes)?;
    Ok((config, tensors))
}

fn read_config(dir: &Path) -> Result<BertConfig> {
    let path = dir.join(CONFIG);
    let text = fs::read(&path).map_err(BertError::io("read", &path))?;
    let config: BertConfig =
        serde_json::from_slice(&text).map_err(|source| BertError::Json { path, source })?;
    config.validate()?;
    Ok(config)
}

/// What to tell about a folder without weights in the one format that is read.
fn hint(dir: &Path) -> &'static str {
    if dir.join("model.safetensors.index.json").is_file() {
        "; it is split into shards, save it again with one shard"
    } else if dir.join("pytorch_model.bin").is_file() {
        "; it has pytorch_model.bin, which is a pickle: save it again with safe_serialization=True"
    } else {
        ""
    }
}

/// Drops the decoder's duplicates after comparing them.
fn untie(path: &Path, tensors: &mut Tensors) -> Result<()> {
    for (tensor, tied_to) in [
        (DECODER_WEIGHT, WORD_EMBEDDINGS),
        (DECODER_BIAS, PREDICTION_BIAS),
    ] {
        let Some(decoder) = tensors.remove(tensor) else {
            continue;
        };
        match tensors.get(tied_to) {
            Some(original) if *original == decoder => {}
            Some(_) => {
                return Err(BertError::Untied {
                    path: path.to_path_buf(),
                    tensor,
                    tied_to,
                })
            }
            // Some files keep only the decoder's name of the two.
            None => {
                tensors.insert(tied_to.to_string(), decoder);
            }
        }
    }
    Ok(())
}

/// Checks that the encoder is complete and that every known tensor has its shape.
pub(super) fn check<'a>(
    path: &Path,
    config: &BertConfig,
    tensors: impl Iterator<Item = (&'a str, &'a [usize])>,
) -> Result<()> {
    let known: BTreeMap<String, Vec<usize>> = known_parameters(config)
        .into_iter()
        .map(|s| (s.name, s.shape))
        .collect();
    let mut present = BTreeSet::new();
    for (name, found) in tensors {
        present.insert(name);
        match known.get(name) {
            Some(expected) if expected != found => {
                return Err(BertError::Shape {
                    path: path.to_path_buf(),
                    tensor: name.to_string(),
                    expected: expected.clone(),
                    found: found.to_vec(),
                })
            }
            _ => {}
        }
    }
    let names: Vec<String> = encoder_parameters(config)
        .into_iter()
        .map(|s| s.name)
        .filter(|n| !present.contains(n.as_str()))
        .collect();
    if names.is_empty() {
        Ok(())
    } else {
        Err(BertError::Missing {
            path: path.to_path_buf(),
            names,
        })
    }
}

/// The values as f32; `None` for types that hold no weights.
fn to_f32(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    // The format is little-endian, and deserialisation has checked that the data fills the shape.
    Some(match view.dtype() {
        Dtype::F32 => data
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect(),
        Dtype::F64 => data
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)
            .collect(),
        Dtype::BF16 => data
            .chunks_exact(2)
            .map(|b| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16))
            .collect(),
        Dtype::F16 => data
            .chunks_exact(2)
            .map(|b| half_to_f32(u16::from_le_bytes([b[0], b[1]])))
            .collect(),
        _ => return None,
    })
}

/// IEEE 754 binary16 to binary32, which holds every value of it exactly.
fn half_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let fraction = u32::from(bits) & 0x3ff;
    match (exponent, fraction) {
        // Zero and subnormals: fraction * 2^-24, exact in f32.
        (0, _) => f32::from_bits(sign | (fraction as f32 * 2f32.powi(-24)).to_bits()),
        (0x1f, _) => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_convert_exactly() {
        for (bits, wanted) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 2f32.powi(-14)),
            (0x0001, 2f32.powi(-24)),
            (0x83ff, -1023.0 * 2f32.powi(-24)),
            (0x3555, 0.333_251_95),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(half_to_f32(bits), wanted, "{bits:#x}");
        }
        assert_eq!(half_to_f32(0x8000).to_bits(), (-0.0f32).to_bits());
        assert!(half_to_f32(0x7e00).is_nan());
    }
}
