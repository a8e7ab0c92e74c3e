//! The two structures of the Arrow C data interface.
//!
//! Source: "The Arrow C data interface", part of the Apache Arrow columnar format specification. The
//! layout, the names of the fields and the rules of release are the specification's, so that pyarrow,
//! arrow-rs, nanoarrow and polars read and write them as they are. These two have no size field: the
//! specification froze them.

use std::ffi::{c_char, c_void};

/// Type and name of an array.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ArrowSchema {
    /// Format string, zero-terminated: `u` is UTF-8 text with 32-bit offsets, `U` with 64-bit
    /// offsets, `+s` a struct.
    pub format: *const c_char,
    /// Name of the field, zero-terminated, or null.
    pub name: *const c_char,
    /// Key-value metadata in the specification's binary form, or null.
    pub metadata: *const c_char,
    /// Bits: 1 dictionary ordered, 2 nullable, 4 map keys sorted.
    pub flags: i64,
    /// Number of children.
    pub n_children: i64,
    /// `n_children` pointers to child schemas.
    pub children: *mut *mut ArrowSchema,
    /// Schema of the dictionary, or null.
    pub dictionary: *mut ArrowSchema,
    /// Frees everything behind the structure and sets `release` to null; null in a structure that was
    /// released or moved. *Any thread.*
    pub release: Option<unsafe extern "C" fn(schema: *mut ArrowSchema)>,
    /// The producer's own.
    pub private_data: *mut c_void,
}

/// Values of an array.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ArrowArray {
    /// Number of rows.
    pub length: i64,
    /// Number of nulls, or -1 where it is not known.
    pub null_count: i64,
    /// Rows to skip at the beginning of the buffers.
    pub offset: i64,
    /// Number of buffers.
    pub n_buffers: i64,
    /// Number of children.
    pub n_children: i64,
    /// `n_buffers` buffers; the validity bitmap comes first and may be null.
    pub buffers: *mut *const c_void,
    /// `n_children` pointers to child arrays.
    pub children: *mut *mut ArrowArray,
    /// Values of the dictionary, or null.
    pub dictionary: *mut ArrowArray,
    /// Frees everything behind the structure and sets `release` to null; null in a structure that was
    /// released or moved. *Any thread.*
    pub release: Option<unsafe extern "C" fn(array: *mut ArrowArray)>,
    /// The producer's own.
    pub private_data: *mut c_void,
}

impl ArrowSchema {
    /// A structure that holds nothing, as one that was released.
    pub const EMPTY: ArrowSchema = ArrowSchema {
        format: std::ptr::null(),
        name: std::ptr::null(),
        metadata: std::ptr::null(),
        flags: 0,
        n_children: 0,
        children: std::ptr::null_mut(),
        dictionary: std::ptr::null_mut(),
        release: None,
        private_data: std::ptr::null_mut(),
    };
}

impl ArrowArray {
    /// A structure that holds nothing, as one that was released.
    pub const EMPTY: ArrowArray = ArrowArray {
        length: 0,
        null_count: 0,
        offset: 0,
        n_buffers: 0,
        n_children: 0,
        buffers: std::ptr::null_mut(),
        children: std::ptr::null_mut(),
        dictionary: std::ptr::null_mut(),
        release: None,
        private_data: std::ptr::null_mut(),
    };
}
