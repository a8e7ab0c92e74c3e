//! Rows of `metrics.jsonl` and the file itself.
//!
//! Owns the keys and their order. Must not know who reads them. A value that is not finite is written
//! as `null`: JSON has no NaN.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::files::FileError;
use crate::stopping::Split;

/// One line of the record.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsRow {
    /// Optimizer steps done.
    pub step: u64,
    /// Real tokens trained on so far.
    pub tokens: u64,
    /// None on training rows.
    pub split: Option<Split>,
    /// The weighted sum of the objectives' losses.
    pub loss: f64,
    /// `<objective>_loss`, and on evaluation rows `<objective>_<metric>`, in order.
    pub values: Vec<(String, f64)>,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Seconds since the trial began, those before a resume included.
    pub seconds: f64,
    /// On training rows: seconds among them in which training waited for a batch.
    pub data_seconds: Option<f64>,
}

impl MetricsRow {
    /// The row as an object, keys in the order of the record.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut row = Map::new();
        row.insert("step".into(), self.step.into());
        row.insert("tokens".into(), self.tokens.into());
        if let Some(split) = self.split {
            row.insert("split".into(), split.name().into());
        }
        row.insert("loss".into(), number(self.loss));
        for (name, value) in &self.values {
            row.insert(name.clone(), number(*value));
        }
        row.insert("learning_rate".into(), number(self.learning_rate));
        row.insert("grad_norm".into(), number(self.grad_norm));
        row.insert("seconds".into(), number(self.seconds));
        if let Some(seconds) = self.data_seconds {
            row.insert("data_seconds".into(), number(seconds));
        }
        row
    }

    /// A value by name, `loss` included.
    pub fn get(&self, name: &str) -> Option<f64> {
        match name {
            "loss" => Some(self.loss),
            _ => self.values.iter().find(|(n, _)| n == name).map(|(_, v)| *v),
        }
    }
}

/// A JSON number, or `null` when the value is not finite.
pub fn number(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// `metrics.jsonl`, open for appending.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: BufWriter<File>,
    length: u64,
}

impl MetricsLog {
    /// Opens the file and cuts it to `length` bytes: what a checkpoint knows of. 0 starts over.
    ///
    /// # Errors
    /// When the file cannot be opened, or is shorter than `length` (someone else changed it).
    pub fn open(path: &Path, length: u64) -> Result<Self, FileError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(FileError::at("open", path))?;
        let cut = || -> std::io::Result<File> {
            if file.metadata()?.len() < length {
                return Err(std::io::Error::other(
                    "it is shorter than when the checkpoint was written; start over with --fresh",
                ));
            }
            let mut file = file;
            file.set_len(length)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        let file = cut().map_err(FileError::at("continue", path))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            length,
        })
    }

    /// Appends a row and hands it to the system, so that others can watch the file.
    ///
    /// # Errors
    /// When the disk is full or the file is gone.
    pub fn append(&mut self, row: &MetricsRow) -> Result<(), FileError> {
        let mut line = Value::Object(row.to_json()).to_string();
        line.push('\n');
        self.file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.flush())
            .map_err(FileError::at("write", &self.path))?;
        self.length += line.len() as u64;
        Ok(())
    }

    /// Puts all rows on the disk and says how many bytes they are.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&mut self) -> Result<u64, FileError> {
        self.file
            .flush()
            .and_then(|()| self.file.get_ref().sync_data())
            .map_err(FileError::at("write", &self.path))?;
        Ok(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u64, loss: f64) -> MetricsRow {
        MetricsRow {
            step,
            tokens: 10 * step,
            split: None,
            loss,
            values: vec![("mlm_loss".into(), loss)],
            learning_rate: 1e-3,
            grad_norm: 2.0,
            seconds: 0.5,
            data_seconds: Some(0.125),
        }
    }

    #[test]
    fn keys_come_in_the_order_of_the_record() {
        let mut r = row(3, 1.5);
        assert_eq!(
            Value::Object(r.to_json()).to_string(),
            r#"{"step":3,"tokens":30,"loss":1.5,"mlm_loss":1.5,"learning_rate":0.001,"grad_norm":2.0,"seconds":0.5,"data_seconds":0.125}"#
        );
        r.split = Some(Split::Validation);
        r.loss = f64::NAN;
        let text = Value::Object(r.to_json()).to_string();
        assert!(
            text.contains(r#""split":"validation","loss":null"#),
            "{text}"
        );
    }

    #[test]
    fn reopening_cuts_what_the_checkpoint_does_not_know() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut log = MetricsLog::open(&path, 0).unwrap();
        log.append(&row(1, 1.0)).unwrap();
        let length = log.sync().unwrap();
        log.append(&row(2, 1.0)).unwrap();
        drop(log);
        let mut log = MetricsLog::open(&path, length).unwrap();
        log.append(&row(2, 9.0)).unwrap();
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().nth(1).unwrap().contains("9.0"), "{text}");
        assert!(MetricsLog::open(&path, 1_000_000).is_err());
    }
}
