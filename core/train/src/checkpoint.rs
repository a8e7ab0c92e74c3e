//! A checkpoint: one safetensors file that holds all a trial needs to go on to the same bits.
//!
//! Owns the format: parameters and optimizer slots as f32 tensors, everything else as JSON under the
//! key `ablate` of the header's metadata. One file, so that replacing it is atomic. Must not know how
//! a step is computed.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::diagnostics::History;
use crate::files::{self, FileError};

const KEY: &str = "ablate";
const FORMAT: u32 = 1;

/// What a trial remembers besides its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimizer steps done.
    pub step: u64,
    /// Micro-batches run forward and backward: the step of the dropout streams.
    pub micro_step: u64,
    /// Real tokens trained on.
    pub tokens: u64,
    /// Floating-point operations of the contractions in training.
    pub flops: f64,
    /// Seconds so far.
    pub seconds: f64,
    /// Seconds among them in which training waited for a batch.
    #[serde(default)]
    pub data_wait_seconds: f64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Gradient norm of the last step.
    pub grad_norm: f64,
    /// Where the batch source goes on.
    pub cursor: serde_json::Value,
    /// Memory of each stopping rule, in order.
    pub rules: Vec<Vec<u8>>,
    /// Bytes of the metrics file that belong to this checkpoint.
    pub metrics_length: u64,
    /// Capacities of the sparse labels in use, training then evaluation, one an objective: they decide
    /// the order of summation, so the same bits need the same capacities.
    pub capacities: [Vec<usize>; 2],
    /// For the diagnosis.
    pub history: History,
}

/// Tensors of a checkpoint: state name -> shape and values.
pub type States = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    fingerprint: String,
    progress: Progress,
}

/// Reading a checkpoint failed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is damaged or of another format.
    #[error("{path} is not a usable checkpoint: {detail}. Start over with --fresh")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The checkpoint belongs to another recipe.
    #[error("{path} was written for another recipe. Start over with --fresh, or choose another folder with --runs")]
    Foreign {
        /// The file.
        path: String,
    },
}

/// Writes a checkpoint, replacing the one before it atomically. `fingerprint` says which trial it is of.
///
/// # Errors
/// When the disk refuses; the checkpoint before is then still whole.
pub fn write(
    path: &Path,
    fingerprint: &str,
    progress: &Progress,
    states: &States,
) -> Result<(), CheckpointError> {
    let damaged = |detail: String| CheckpointError::Damaged {
        path: path.display().to_string(),
        detail,
    };
    let header = Header {
        format: FORMAT,
        fingerprint: fingerprint.to_owned(),
        progress: progress.clone(),
    };
    let text = serde_json::to_string(&header).map_err(|e| damaged(e.to_string()))?;
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = states
        .iter()
        .map(|(name, (shape, values))| {
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let mut views = Vec::with_capacity(bytes.len());
    for (name, shape, bytes) in &bytes {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes)
            .map_err(|e| damaged(format!("{name}: {e}")))?;
        views.push((name.as_str(), view));
    }
    let metadata = HashMap::from([(KEY.to_owned(), text)]);
    let file = safetensors::serialize(views, Some(metadata)).map_err(|e| damaged(e.to_string()))?;
    files::write_bytes(path, &file)?;
    Ok(())
}

/// Reads a checkpoint, or `None` when there is no such file.
///
/// # Errors
/// When the file is damaged, of another format, or of another trial.
pub fn read(path: &Path, fingerprint: &str) -> Result<Option<(Progress, States)>, CheckpointError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(FileError::at("read", path)(e).into()),
    };
    let damaged = |detail: String| CheckpointError::Damaged {
        path: path.display().to_string(),
        detail,
    };
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
    let text = metadata
        .metadata()
        .as_ref()
        .and_then(|m| m.get(KEY))
        .ok_or_else(|| damaged("it has no training state".to_owned()))?;
    let header: Header = serde_json::from_str(text).map_err(|e| damaged(e.to_string()))?;
    if header.format != FORMAT {
        return Err(damaged(format!(
            "its format is {}, this version reads {FORMAT}",
            header.format
        )));
    }
    if header.fingerprint != fingerprint {
        return Err(CheckpointError::Foreign {
            path: path.display().to_string(),
        });
    }
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
    let mut states = States::new();
    for (name, view) in tensors.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(damaged(format!("{name} is not f32")));
        }
        let values = view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        states.insert(name, (view.shape().to_vec(), values));
    }
    Ok(Some((header.progress, states)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        Progress {
            step: 7,
            micro_step: 14,
            tokens: 99,
            flops: 1e9,
            seconds: 1.25,
            data_wait_seconds: 0.25,
            learning_rate: 1e-3,
            grad_norm: 0.5,
            cursor: serde_json::json!({"epoch": 1, "position": 64}),
            rules: vec![vec![1, 2], vec![]],
            metrics_length: 1234,
            capacities: [vec![32, 0], vec![]],
            history: History::default(),
        }
    }

    #[test]
    fn comes_back_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint.safetensors");
        assert!(read(&path, "f").unwrap().is_none());
        let states = States::from([
            ("w".to_owned(), (vec![1, 2], vec![0.1_f32, -0.0])),
            ("adamw.m/w".to_owned(), (vec![], vec![f32::MIN_POSITIVE])),
        ]);
        write(&path, "f", &progress(), &states).unwrap();
        let (p, s) = read(&path, "f").unwrap().unwrap();
        assert_eq!(p, progress());
        let bits = |s: &States| -> Vec<u32> {
            s.values()
                .flat_map(|(_, v)| v.iter().map(|x| x.to_bits()))
                .collect()
        };
        assert_eq!(bits(&s), bits(&states));
    }

    #[test]
    fn refuses_damage_and_other_recipes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint.safetensors");
        write(&path, "f", &progress(), &States::new()).unwrap();
        assert!(matches!(
            read(&path, "g"),
            Err(CheckpointError::Foreign { .. })
        ));
        std::fs::write(&path, b"not a safetensors file").unwrap();
        assert!(matches!(
            read(&path, "f"),
            Err(CheckpointError::Damaged { .. })
        ));
    }
}
