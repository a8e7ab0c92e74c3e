//! The record batches that cross the border, written and read: text columns under their names.
//!
//! Owns both directions, because host and plugin need the same two. Must not know what the columns
//! mean. Written batches have 32-bit offsets and no nulls; read ones may have either width of offsets.

use std::ffi::{c_char, c_void, CStr};

use crate::{ArrowArray, ArrowSchema};

/// A column of texts under construction.
pub struct TextColumn {
    name: &'static CStr,
    offsets: Vec<i32>,
    bytes: Vec<u8>,
}

/// A column would have more than 2 GiB of text, which 32-bit offsets cannot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl TextColumn {
    /// An empty column.
    pub fn new(name: &'static CStr) -> Self {
        TextColumn {
            name,
            offsets: vec![0],
            bytes: Vec::new(),
        }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`TooLong`]; the column is then unchanged.
    pub fn push(&mut self, text: &str) -> Result<(), TooLong> {
        let end = i32::try_from(self.bytes.len() + text.len()).map_err(|_| TooLong)?;
        self.bytes.extend_from_slice(text.as_bytes());
        self.offsets.push(end);
        Ok(())
    }

    fn rows(&self) -> usize {
        self.offsets.len() - 1
    }
}

/// What a text array points to.
struct TextBuffers {
    pointers: [*const c_void; 3],
    /// Kept for `pointers`.
    _column: TextColumn,
}

/// What a struct points to.
struct Children<T> {
    pointers: Vec<*mut T>,
    validity: [*const c_void; 1],
}

/// A record batch of columns of the same length; `columns` beyond the shortest are cut. Whoever gets
/// the two calls `release` on each, or moves them on.
pub fn export(columns: Vec<TextColumn>) -> (ArrowSchema, ArrowArray) {
    let rows = columns.iter().map(TextColumn::rows).min().unwrap_or(0);
    let mut schemas = Vec::new();
    let mut arrays = Vec::new();
    for column in columns {
        schemas.push(Box::into_raw(Box::new(ArrowSchema {
            format: c"u".as_ptr(),
            name: column.name.as_ptr(),
            release: Some(release_schema_leaf),
            ..ArrowSchema::EMPTY
        })));
        let pointers = [
            std::ptr::null(),
            column.offsets.as_ptr().cast(),
            column.bytes.as_ptr().cast(),
        ];
        let mut buffers = Box::new(TextBuffers {
            pointers,
            _column: column,
        });
        arrays.push(Box::into_raw(Box::new(ArrowArray {
            length: rows as i64,
            n_buffers: 3,
            buffers: buffers.pointers.as_mut_ptr(),
            release: Some(release_text),
            private_data: Box::into_raw(buffers).cast(),
            ..ArrowArray::EMPTY
        })));
    }
    let mut schemas = Box::new(Children {
        pointers: schemas,
        validity: [std::ptr::null()],
    });
    let mut arrays = Box::new(Children {
        pointers: arrays,
        validity: [std::ptr::null()],
    });
    let schema = ArrowSchema {
        format: c"+s".as_ptr(),
        n_children: schemas.pointers.len() as i64,
        children: schemas.pointers.as_mut_ptr(),
        release: Some(release_schema),
        private_data: Box::into_raw(schemas).cast(),
        ..ArrowSchema::EMPTY
    };
    let array = ArrowArray {
        length: rows as i64,
        n_buffers: 1,
        buffers: arrays.validity.as_mut_ptr(),
        n_children: arrays.pointers.len() as i64,
        children: arrays.pointers.as_mut_ptr(),
        release: Some(release_array),
        private_data: Box::into_raw(arrays).cast(),
        ..ArrowArray::EMPTY
    };
    (schema, array)
}

// SAFETY of the four functions below: by the Arrow specification a release callback gets the structure
// that it belongs to, at any address, once; `private_data` is what `export` put there.

unsafe extern "C" fn release_schema_leaf(schema: *mut ArrowSchema) {
    unsafe { (*schema).release = None };
}

unsafe extern "C" fn release_text(array: *mut ArrowArray) {
    unsafe {
        drop(Box::from_raw((*array).private_data.cast::<TextBuffers>()));
        (*array).release = None;
    }
}

unsafe extern "C" fn release_schema(schema: *mut ArrowSchema) {
    unsafe {
        let children = Box::from_raw((*schema).private_data.cast::<Children<ArrowSchema>>());
        for child in children.pointers {
            let mut child = Box::from_raw(child);
            // A child that was moved out has another owner.
            if let Some(release) = child.release {
                release(&mut *child);
            }
        }
        (*schema).release = None;
    }
}

unsafe extern "C" fn release_array(array: *mut ArrowArray) {
    unsafe {
        let children = Box::from_raw((*array).private_data.cast::<Children<ArrowArray>>());
        for child in children.pointers {
            let mut child = Box::from_raw(child);
            if let Some(release) = child.release {
                release(&mut *child);
            }
        }
        (*array).release = None;
    }
}

/// A record batch that is released with this value.
#[derive(Debug)]
pub struct RecordBatch {
    /// Types and names.
    pub schema: ArrowSchema,
    /// Rows.
    pub array: ArrowArray,
}

impl RecordBatch {
    /// A batch that holds nothing.
    pub const EMPTY: RecordBatch = RecordBatch {
        schema: ArrowSchema::EMPTY,
        array: ArrowArray::EMPTY,
    };

    /// A batch of these columns, as [`export`].
    pub fn new(columns: Vec<TextColumn>) -> Self {
        let (schema, array) = export(columns);
        RecordBatch { schema, array }
    }

    /// Gives the two structures away: their new owner releases them.
    pub fn into_parts(mut self) -> (ArrowSchema, ArrowArray) {
        (
            std::mem::replace(&mut self.schema, ArrowSchema::EMPTY),
            std::mem::replace(&mut self.array, ArrowArray::EMPTY),
        )
    }

    /// Whether neither structure holds anything.
    pub fn is_empty(&self) -> bool {
        self.schema.release.is_none() && self.array.release.is_none()
    }
}

impl Drop for RecordBatch {
    fn drop(&mut self) {
        // SAFETY: a callback that is there has not been called; by the specification it may be called
        // once, on any thread.
        unsafe {
            if let Some(release) = self.array.release {
                release(&mut self.array);
            }
            if let Some(release) = self.schema.release {
                release(&mut self.schema);
            }
        }
    }
}

/// The rows of the text column `name`. What is wrong with the batch is said in one sentence.
///
/// # Errors
/// No such column, another type, nulls, counts that do not fit each other, text that is not UTF-8.
///
/// # Safety
/// The two are structures as the Arrow specification says, of the same batch, and stay unchanged for
/// `'a`.
pub unsafe fn texts<'a>(
    schema: &'a ArrowSchema,
    array: &'a ArrowArray,
    name: &str,
) -> Result<Vec<&'a str>, String> {
    // SAFETY: the specification promises zero-terminated texts, `n_children` children and `n_buffers`
    // buffers; null pointers are looked for all the same.
    unsafe {
        if schema.release.is_none() || array.release.is_none() {
            return Err("the batch was released".to_owned());
        }
        let format = text(schema.format);
        if format != "+s" {
            return Err(format!("the batch has the format `{format}`, not `+s`"));
        }
        if schema.n_children != array.n_children
            || schema.n_children < 0
            || (schema.n_children > 0 && (schema.children.is_null() || array.children.is_null()))
        {
            return Err(format!(
                "the schema has {} columns and the batch {}",
                schema.n_children, array.n_children
            ));
        }
        nulls(array, "the batch")?;
        let mut names = Vec::new();
        for i in 0..schema.n_children as usize {
            let (field, child) = (*schema.children.add(i), *array.children.add(i));
            if field.is_null() || child.is_null() {
                return Err(format!("column {i} is null"));
            }
            let (field, child): (&'a ArrowSchema, &'a ArrowArray) = (&*field, &*child);
            let found = text(field.name);
            if found == name {
                return column(field, child, array.offset, array.length)
                    .map_err(|e| format!("the column `{name}` {e}"));
            }
            names.push(found);
        }
        Err(format!(
            "there is no column `{name}`; there are: {}",
            names.join(", ")
        ))
    }
}

/// # Safety
/// `pointer` is null or zero-terminated.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(pointer) }
        .to_string_lossy()
        .into_owned()
}

/// # Safety
/// As [`texts`].
unsafe fn nulls(array: &ArrowArray, what: &str) -> Result<(), String> {
    if array.null_count == 0 || array.n_buffers < 1 || array.buffers.is_null() {
        return Ok(());
    }
    // SAFETY: there is at least one buffer, and the first is the validity bitmap.
    let bitmap = unsafe { *array.buffers }.cast::<u8>();
    if bitmap.is_null() {
        return Ok(());
    }
    let valid = |i: i64| {
        let at = (array.offset + i) as usize;
        // SAFETY: the bitmap has a bit for each row.
        unsafe { *bitmap.add(at / 8) >> (at % 8) & 1 == 1 }
    };
    if (0..array.length).all(valid) {
        Ok(())
    } else {
        Err(format!("{what} has nulls"))
    }
}

/// # Safety
/// As [`texts`].
unsafe fn column<'a>(
    field: &ArrowSchema,
    array: &'a ArrowArray,
    skip: i64,
    rows: i64,
) -> Result<Vec<&'a str>, String> {
    // SAFETY: the caller's promise.
    unsafe {
        let format = text(field.format);
        let wide = match format.as_str() {
            "u" => false,
            "U" => true,
            _ => return Err(format!("has the format `{format}`; it is text, `u` or `U`")),
        };
        if rows < 0 || skip < 0 || array.offset < 0 || array.length < skip + rows {
            return Err(format!("has {} rows, not {}", array.length, skip + rows));
        }
        if array.n_buffers != 3 || array.buffers.is_null() {
            return Err(format!("has {} buffers, not 3", array.n_buffers));
        }
        nulls(array, "").map_err(|_| "has nulls".to_owned())?;
        let (offsets, bytes) = (*array.buffers.add(1), (*array.buffers.add(2)).cast::<u8>());
        if offsets.is_null() {
            return if rows == 0 {
                Ok(Vec::new())
            } else {
                Err("has no offsets".to_owned())
            };
        }
        let offset = |row: i64| {
            let at = (array.offset + skip + row) as usize;
            if wide {
                *offsets.cast::<i64>().add(at)
            } else {
                i64::from(*offsets.cast::<i32>().add(at))
            }
        };
        let mut texts = Vec::with_capacity(rows as usize);
        for row in 0..rows {
            let (start, end) = (offset(row), offset(row + 1));
            if start < 0 || end < start || (bytes.is_null() && end > start) {
                return Err(format!("has the offsets {start} and {end} at row {row}"));
            }
            let slice = if end == start {
                &[][..]
            } else {
                std::slice::from_raw_parts(bytes.add(start as usize), (end - start) as usize)
            };
            texts.push(
                std::str::from_utf8(slice).map_err(|_| format!("is not UTF-8 at row {row}"))?,
            );
        }
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(texts: &[&str]) -> RecordBatch {
        let mut ids = TextColumn::new(c"id");
        let mut column = TextColumn::new(c"text");
        for (i, text) in texts.iter().enumerate() {
            ids.push(&i.to_string()).unwrap();
            column.push(text).unwrap();
        }
        RecordBatch::new(vec![ids, column])
    }

    fn read(batch: &RecordBatch, name: &str) -> Result<Vec<String>, String> {
        // SAFETY: made by `export`, or changed in ways that the reader looks for.
        let found = unsafe { texts(&batch.schema, &batch.array, name) }?;
        Ok(found.into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn what_is_written_is_read() {
        let full = batch(&["größe", "", "b"]);
        assert_eq!(read(&full, "text").unwrap(), ["größe", "", "b"]);
        assert_eq!(read(&full, "id").unwrap(), ["0", "1", "2"]);
        assert_eq!(
            read(&full, "title").unwrap_err(),
            "there is no column `title`; there are: id, text"
        );
        assert_eq!(read(&batch(&[]), "text").unwrap(), [""; 0]);
        assert!(RecordBatch::EMPTY.is_empty() && !full.is_empty());
        assert!(read(&RecordBatch::EMPTY, "id")
            .unwrap_err()
            .contains("released"));
    }

    #[test]
    fn offsets_of_struct_and_column_add_up_and_wide_offsets_are_read() {
        let mut part = batch(&["a", "bb", "ccc", "dddd"]);
        (part.array.offset, part.array.length) = (1, 2);
        assert_eq!(read(&part, "text").unwrap(), ["bb", "ccc"]);
        // SAFETY: the second child is ours.
        let child = unsafe { &mut **part.array.children.add(1) };
        (child.offset, child.length) = (1, 3);
        assert_eq!(read(&part, "text").unwrap(), ["ccc", "dddd"]);

        let wide: [i64; 3] = [0, 1, 3];
        // SAFETY: the buffers of the child live as long as the batch; `wide` outlives the reading.
        unsafe { *child.buffers.add(1) = wide.as_ptr().cast() };
        let field = unsafe { &mut **part.schema.children.add(1) };
        field.format = c"U".as_ptr();
        (child.offset, child.length, part.array.offset) = (0, 2, 0);
        assert_eq!(read(&part, "text").unwrap(), ["a", "bb"]);
    }

    #[test]
    fn batches_that_are_not_as_promised_are_refused() {
        let refused = |change: &dyn Fn(&mut RecordBatch, &mut ArrowArray)| {
            let mut batch = batch(&["a", "b"]);
            // SAFETY: the second child is ours.
            let child = unsafe { &mut **batch.array.children.add(1) };
            change(&mut batch, child);
            read(&batch, "text").unwrap_err()
        };
        assert!(refused(&|b, _| b.schema.format = c"u".as_ptr()).contains("not `+s`"));
        assert!(refused(&|b, _| b.schema.n_children = 1).contains("1 columns and the batch 2"));
        assert!(refused(&|_, c| c.length = 1).contains("has 1 rows, not 2"));
        assert!(refused(&|_, c| c.n_buffers = 2).contains("has 2 buffers"));
        let bitmap = [0b01u8];
        // SAFETY: three buffers; the bitmap outlives the reading.
        let with_null = refused(&|_, c| unsafe {
            *c.buffers = bitmap.as_ptr().cast();
            c.null_count = -1;
        });
        assert_eq!(with_null, "the column `text` has nulls");
        let offsets = [0i32, 2, 1];
        let backwards = refused(&|_, c| unsafe { *c.buffers.add(1) = offsets.as_ptr().cast() });
        assert!(
            backwards.contains("the offsets 2 and 1 at row 1"),
            "{backwards}"
        );
        let bytes = [0xffu8, 0xfe];
        let binary = refused(&|_, c| unsafe { *c.buffers.add(2) = bytes.as_ptr().cast() });
        assert!(binary.contains("is not UTF-8 at row 0"), "{binary}");
        let dates =
            refused(&|b, _| unsafe { (**b.schema.children.add(1)).format = c"tdD".as_ptr() });
        assert!(dates.contains("`tdD`; it is text"), "{dates}");
    }

    #[test]
    fn a_child_that_was_moved_out_outlives_the_batch() {
        let batch = batch(&["stays"]);
        // SAFETY: a move as the specification says: copy, then mark the original.
        let (schema, array) = unsafe {
            let (field, child) = (*batch.schema.children.add(1), *batch.array.children.add(1));
            let moved = (*field, *child);
            (*field).release = None;
            (*child).release = None;
            moved
        };
        drop(batch);
        let (mut child, mut field) = (array, schema);
        // SAFETY: the parts are alive: only their owner, this test, releases them.
        let found = unsafe { column(&field, &child, 0, 1) }.unwrap();
        assert_eq!(found, ["stays"]);
        unsafe {
            child.release.unwrap()(&mut child);
            field.release.unwrap()(&mut field);
        }
        assert!(child.release.is_none() && field.release.is_none());
    }
}
