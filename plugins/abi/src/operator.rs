//! Data operators: which documents stay in the training split, and how they read.

use std::ffi::c_void;

use crate::{ArrowArray, ArrowSchema, Host, SizeGated, Status, Str};

/// Extension id of [`OperatorApi`].
pub const OPERATOR_API: &str = "ablate.operator/1";

/// Names of the columns of a batch of documents.
pub mod column {
    /// The document's id, UTF-8 text (`u`), no nulls, no two alike in a corpus.
    pub const ID: &str = "id";
    /// The document's text, UTF-8 text (`u`), no nulls.
    pub const TEXT: &str = "text";
}

/// Functions of a data operator. An instance sees one split once, its documents in order, as record
/// batches: a struct array (`+s`) without nulls whose children are the columns of [`column`](mod@column). Further
/// columns may be added; look them up by name. The host chooses the size of a batch; an operator
/// gives the same result whatever it is, and may remember what it needs from batch to batch.
///
/// One of `filter` and `map` is there, or both; the host then calls `filter`.
///
/// Both get `schema` and `batch` from the host, valid until the call returns. The plugin may move them
/// out as the Arrow specification says (copy the structure, set the original's `release` to null) and
/// must then release the copy itself; what it leaves, the host releases after the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OperatorApi {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Not used, 0.
    pub reserved: u32,
    /// As [`ObjectiveApi::create`](crate::ObjectiveApi::create). *One thread at a time.*
    pub create: Option<
        unsafe extern "C" fn(host: *const Host, config: Str, instance: *mut *mut c_void) -> Status,
    >,
    /// Frees the instance; the last call that it gets. *One thread at a time.*
    pub destroy: Option<unsafe extern "C" fn(instance: *mut c_void)>,
    /// Writes to `keep`, an array of the host with one byte a row, 1 where the row stays and 0 where
    /// it is removed. *One thread at a time.*
    pub filter: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            schema: *mut ArrowSchema,
            batch: *mut ArrowArray,
            keep: *mut u8,
        ) -> Status,
    >,
    /// Writes the batch that takes the place of `batch`: fewer rows, or other texts, or both, with the
    /// same columns `id` and `text` (`u` or `U`), rows in the order of the batch, ids unchanged.
    /// *One thread at a time.* Both results are the plugin's memory with a release callback, which the host
    /// calls, on any thread, when it has copied the rows. Results that are left as they come
    /// (`release` null) say that every row stays as it is.
    pub map: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            schema: *mut ArrowSchema,
            batch: *mut ArrowArray,
            out_schema: *mut ArrowSchema,
            out_batch: *mut ArrowArray,
        ) -> Status,
    >,
}

// SAFETY: repr(C), begins with its size, zeros are valid in every field.
unsafe impl SizeGated for OperatorApi {
    const MIN_SIZE: usize = 40;
}
