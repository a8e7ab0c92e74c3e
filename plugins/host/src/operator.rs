//! A data operator's function table, over batches of documents.
//!
//! Owns the way of documents to a record batch and back, and the check that an operator only removes
//! and rewrites. Must not know corpora or splits; their owner hands documents over.

use std::ffi::c_void;

use ablate_abi::record_batch::{texts, RecordBatch, TextColumn};
use ablate_abi::{column, OperatorApi};
use ablate_train::PluginError;
use serde_json::Value;

use crate::instance::Instance;

/// Documents of one record batch. Small enough for 32-bit offsets and for the cache, large enough that
/// the call costs nothing.
const BATCH_ROWS: usize = 1024;
/// Bytes of text after which a batch ends.
const BATCH_BYTES: usize = 16 << 20;

/// What becomes of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Keep,
    /// It is removed.
    Remove,
    /// It stays with another text.
    Rewrite(String),
}

/// A data operator of a plugin.
pub struct OperatorPlugin {
    instance: Instance,
    api: OperatorApi,
}

impl OperatorPlugin {
    pub(crate) fn new(name: &str, api: OperatorApi, config: &Value) -> Result<Self, String> {
        let (create, destroy) = api
            .create
            .zip(api.destroy)
            .ok_or_else(|| "its table has null functions".to_owned())?;
        // SAFETY: both are of one checked table.
        let instance = unsafe { Instance::new(name, create, destroy, config) }?;
        Ok(OperatorPlugin { instance, api })
    }

    /// Name as in the recipe.
    pub fn name(&self) -> &str {
        self.instance.name()
    }

    /// Says what becomes of each document `(id, text)`, in order. Later calls go on where this one
    /// ended: the operator remembers what it has seen.
    ///
    /// # Errors
    /// When the plugin fails, or gives back what is no part of the batch.
    pub fn apply(&mut self, documents: &[(&str, &str)]) -> Result<Vec<Fate>, PluginError> {
        let mut fates = Vec::with_capacity(documents.len());
        let mut rest = documents;
        while !rest.is_empty() {
            let mut bytes = 0;
            let rows = rest
                .iter()
                .take(BATCH_ROWS)
                .take_while(|(_, text)| {
                    let fits = bytes < BATCH_BYTES;
                    bytes += text.len();
                    fits
                })
                .count();
            let (batch, later) = rest.split_at(rows);
            fates.extend(self.batch(batch)?);
            rest = later;
        }
        Ok(fates)
    }

    fn batch(&mut self, documents: &[(&str, &str)]) -> Result<Vec<Fate>, PluginError> {
        let mut ids = TextColumn::new(c"id");
        let mut column = TextColumn::new(c"text");
        for (id, text) in documents {
            let long = |_| {
                self.instance
                    .error("apply", format!("the document `{id}` is longer than 2 GiB"))
            };
            ids.push(id).map_err(long)?;
            column.push(text).map_err(long)?;
        }
        let mut batch = RecordBatch::new(vec![ids, column]);
        if self.api.filter.is_some() {
            self.filter(&mut batch, documents.len())
        } else {
            self.map(&mut batch, documents)
        }
    }

    fn filter(&self, batch: &mut RecordBatch, rows: usize) -> Result<Vec<Fate>, PluginError> {
        const HOOK: &str = "filter";
        let filter = self
            .api
            .filter
            .ok_or_else(|| self.instance.error(HOOK, "the function is null"))?;
        // Neither 0 nor 1, so that rows which the plugin forgets are seen.
        let mut keep = vec![u8::MAX; rows];
        let (schema, array) = (&raw mut batch.schema, &raw mut batch.array);
        // SAFETY: the batch and the answers live for the call; there is a byte for each row.
        self.instance.call(HOOK, |raw: *mut c_void| unsafe {
            filter(raw, schema, array, keep.as_mut_ptr())
        })?;
        keep.iter()
            .enumerate()
            .map(|(row, keep)| match keep {
                0 => Ok(Fate::Remove),
                1 => Ok(Fate::Keep),
                other => Err(self.instance.error(
                    HOOK,
                    format!("`keep` is {other} at row {row}; it is 1 where a row stays, 0 where it is removed"),
                )),
            })
            .collect()
    }

    fn map(
        &self,
        batch: &mut RecordBatch,
        documents: &[(&str, &str)],
    ) -> Result<Vec<Fate>, PluginError> {
        const HOOK: &str = "map";
        let error = |message: String| self.instance.error(HOOK, message);
        let map = self
            .api
            .map
            .ok_or_else(|| error("the function is null".to_owned()))?;
        let mut out = RecordBatch::EMPTY;
        let (schema, array) = (&raw mut batch.schema, &raw mut batch.array);
        let (out_schema, out_array) = (&raw mut out.schema, &raw mut out.array);
        // SAFETY: both batches live for the call; what is in them afterwards is released with them.
        self.instance.call(HOOK, |raw: *mut c_void| unsafe {
            map(raw, schema, array, out_schema, out_array)
        })?;
        if out.is_empty() {
            return Ok(vec![Fate::Keep; documents.len()]);
        }
        // SAFETY: by the ABI a batch as Arrow says, which nobody changes any more.
        let (ids, column) = unsafe {
            texts(&out.schema, &out.array, column::ID)
                .and_then(|ids| Ok((ids, texts(&out.schema, &out.array, column::TEXT)?)))
        }
        .map_err(|e| error(format!("the result: {e}")))?;
        let mut made = ids.into_iter().zip(column).peekable();
        let mut fates = Vec::with_capacity(documents.len());
        for (id, text) in documents {
            fates.push(match made.next_if(|(made, _)| made == id) {
                None => Fate::Remove,
                Some((_, new)) if new == *text => Fate::Keep,
                Some((_, new)) => Fate::Rewrite(new.to_owned()),
            });
        }
        match made.next() {
            None => Ok(fates),
            Some((id, _)) => Err(error(format!(
                "the result has the row `{id}`, which the batch does not have, or not in this order"
            ))),
        }
    }
}
