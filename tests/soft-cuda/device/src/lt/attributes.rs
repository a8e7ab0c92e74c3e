//! Attributes of descriptors: their numbers, types and places.
//!
//! The library takes an attribute only with exactly its size.

use super::{MatmulDesc, MatrixLayout, Preference};
use crate::blas::BlasRefusal;
use crate::blas_refuse;

/// A field of a descriptor.
pub enum Field<'a> {
    /// 4 bytes without sign.
    U32(&'a mut u32),
    /// 4 bytes with sign.
    I32(&'a mut i32),
    /// 8 bytes without sign.
    U64(&'a mut u64),
    /// 8 bytes with sign.
    I64(&'a mut i64),
}

/// A descriptor with numbered fields.
pub trait Attributes {
    /// The field of an attribute, if there is one here.
    fn field(&mut self, attribute: u32) -> Option<Field<'_>>;
}

impl Attributes for MatrixLayout {
    fn field(&mut self, attribute: u32) -> Option<Field<'_>> {
        Some(match attribute {
            0 => Field::U32(&mut self.data_type),
            1 => Field::U32(&mut self.order),
            2 => Field::U64(&mut self.rows),
            3 => Field::U64(&mut self.columns),
            4 => Field::I64(&mut self.leading),
            5 => Field::I32(&mut self.batch_count),
            6 => Field::I64(&mut self.batch_stride),
            7 => Field::I64(&mut self.plane_offset),
            _ => return None,
        })
    }
}

impl Attributes for MatmulDesc {
    fn field(&mut self, attribute: u32) -> Option<Field<'_>> {
        Some(match attribute {
            0 => Field::U32(&mut self.compute),
            1 => Field::U32(&mut self.scale_type),
            2 => Field::U32(&mut self.pointer_mode),
            3 => Field::U32(&mut self.transpose_a),
            4 => Field::U32(&mut self.transpose_b),
            5 => Field::U32(&mut self.transpose_c),
            6 => Field::U32(&mut self.fill_mode),
            7 => Field::U32(&mut self.epilogue),
            8 => Field::U64(&mut self.bias),
            10 => Field::I64(&mut self.bias_stride),
            11 => Field::U64(&mut self.auxiliary),
            12 => Field::I64(&mut self.auxiliary_leading),
            13 => Field::I64(&mut self.auxiliary_stride),
            15 => Field::I32(&mut self.sm_count_target),
            22 => Field::I32(&mut self.auxiliary_type),
            26 => Field::I32(&mut self.bias_type),
            _ => return None,
        })
    }
}

impl Attributes for Preference {
    fn field(&mut self, attribute: u32) -> Option<Field<'_>> {
        Some(match attribute {
            0 => Field::U32(&mut self.search_mode),
            1 => Field::U64(&mut self.workspace_bytes),
            3 => Field::U32(&mut self.reduction_schemes),
            5 => Field::U32(&mut self.alignment_a),
            6 => Field::U32(&mut self.alignment_b),
            7 => Field::U32(&mut self.alignment_c),
            8 => Field::U32(&mut self.alignment_d),
            9 => Field::U32(&mut self.waves),
            12 => Field::U64(&mut self.implementations),
            _ => return None,
        })
    }
}

impl Field<'_> {
    fn bytes(&self) -> usize {
        match self {
            Field::U32(_) | Field::I32(_) => 4,
            Field::U64(_) | Field::I64(_) => 8,
        }
    }

    fn place(&mut self) -> *mut u8 {
        match self {
            Field::U32(value) => (&raw mut **value).cast(),
            Field::I32(value) => (&raw mut **value).cast(),
            Field::U64(value) => (&raw mut **value).cast(),
            Field::I64(value) => (&raw mut **value).cast(),
        }
    }
}

fn known<'a>(
    object: &'a mut impl Attributes,
    attribute: u32,
    bytes: usize,
) -> Result<Field<'a>, BlasRefusal> {
    let field = object
        .field(attribute)
        .ok_or_else(|| blas_refuse!(INVALID_VALUE, "attribute {attribute} is not known here"))?;
    if field.bytes() != bytes {
        return Err(blas_refuse!(
            INVALID_VALUE,
            "attribute {attribute} has {} bytes, not {bytes}",
            field.bytes()
        ));
    }
    Ok(field)
}

/// Sets an attribute.
///
/// # Errors
/// There is none of this number and size.
///
/// # Safety
/// `from` is null or holds `bytes` bytes.
pub unsafe fn set(
    object: &mut impl Attributes,
    attribute: u32,
    from: *const u8,
    bytes: usize,
) -> Result<(), BlasRefusal> {
    let mut field = known(object, attribute, bytes)?;
    if from.is_null() {
        return Err(blas_refuse!(INVALID_VALUE, "`buf` is null"));
    }
    // SAFETY: the field has as many bytes as were promised.
    unsafe { from.copy_to(field.place(), bytes) };
    Ok(())
}

/// Reads an attribute.
///
/// # Errors
/// There is none of this number and size.
///
/// # Safety
/// `to` is null or has room for `bytes` bytes.
pub unsafe fn get(
    object: &mut impl Attributes,
    attribute: u32,
    to: *mut u8,
    bytes: usize,
) -> Result<(), BlasRefusal> {
    let mut field = known(object, attribute, bytes)?;
    if to.is_null() {
        return Err(blas_refuse!(INVALID_VALUE, "`buf` is null"));
    }
    // SAFETY: the field has as many bytes as were promised.
    unsafe { field.place().copy_to(to, bytes) };
    Ok(())
}
