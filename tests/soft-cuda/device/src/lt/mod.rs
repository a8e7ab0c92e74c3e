//! cuBLASLt: products described by objects, with epilogues.
//!
//! Owns: the descriptors with their attributes. [`plan`] makes a product of them, `api` is what a
//! program calls.

mod api;
mod attributes;
pub mod plan;

use crate::blas::BlasRefusal;
use crate::handles::Handles;
use std::sync::{LazyLock, Mutex};

/// A `cublasLtMatrixLayout_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct MatrixLayout {
    pub data_type: u32,
    pub order: u32,
    pub rows: u64,
    pub columns: u64,
    pub leading: i64,
    pub batch_count: i32,
    pub batch_stride: i64,
    pub plane_offset: i64,
}

/// A `cublasLtMatmulDesc_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct MatmulDesc {
    pub compute: u32,
    pub scale_type: u32,
    pub pointer_mode: u32,
    pub transpose_a: u32,
    pub transpose_b: u32,
    pub transpose_c: u32,
    pub fill_mode: u32,
    pub epilogue: u32,
    pub bias: u64,
    pub bias_stride: i64,
    pub bias_type: i32,
    pub auxiliary: u64,
    pub auxiliary_leading: i64,
    pub auxiliary_stride: i64,
    pub auxiliary_type: i32,
    pub sm_count_target: i32,
}

/// A `cublasLtMatmulPreference_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Preference {
    pub search_mode: u32,
    pub workspace_bytes: u64,
    pub reduction_schemes: u32,
    pub alignment_a: u32,
    pub alignment_b: u32,
    pub alignment_c: u32,
    pub alignment_d: u32,
    pub waves: f32_bits,
    pub implementations: u64,
}

/// A number of type f32 by its bits, so that it can be compared and hashed.
#[allow(non_camel_case_types)]
pub type f32_bits = u32;

impl MatrixLayout {
    /// As `cublasLtMatrixLayoutCreate` makes it.
    pub fn new(data_type: u32, rows: u64, columns: u64, leading: i64) -> Self {
        MatrixLayout {
            data_type,
            order: 0,
            rows,
            columns,
            leading,
            batch_count: 1,
            batch_stride: 0,
            plane_offset: 0,
        }
    }
}

impl MatmulDesc {
    /// As `cublasLtMatmulDescCreate` makes it.
    pub fn new(compute: u32, scale_type: u32) -> Self {
        MatmulDesc {
            compute,
            scale_type,
            pointer_mode: 0,
            transpose_a: 0,
            transpose_b: 0,
            transpose_c: 0,
            fill_mode: 2,
            epilogue: 1,
            bias: 0,
            bias_stride: 0,
            bias_type: -1,
            auxiliary: 0,
            auxiliary_leading: 0,
            auxiliary_stride: 0,
            auxiliary_type: -1,
            sm_count_target: 0,
        }
    }
}

impl Default for Preference {
    fn default() -> Self {
        Preference {
            search_mode: 0,
            workspace_bytes: 0,
            reduction_schemes: u32::MAX,
            alignment_a: 256,
            alignment_b: 256,
            alignment_c: 256,
            alignment_d: 256,
            waves: 0,
            implementations: u64::MAX,
        }
    }
}

/// Every descriptor of the process: they belong to no context.
pub struct Descriptors {
    /// Library handles.
    pub libraries: Handles<()>,
    /// Matrix layouts.
    pub layouts: Handles<MatrixLayout>,
    /// Product descriptors.
    pub descs: Handles<MatmulDesc>,
    /// Preferences.
    pub preferences: Handles<Preference>,
}

static DESCRIPTORS: LazyLock<Mutex<Descriptors>> = LazyLock::new(|| {
    Mutex::new(Descriptors {
        libraries: Handles::new("cuBLASLt handle", 11),
        layouts: Handles::new("matrix layout", 12),
        descs: Handles::new("product descriptor", 13),
        preferences: Handles::new("preference", 14),
    })
});

/// Runs a call on the descriptors.
fn with_descriptors(
    name: &str,
    call: impl FnOnce(&mut Descriptors) -> Result<(), BlasRefusal>,
) -> i32 {
    let mut all = DESCRIPTORS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    match call(&mut all) {
        Ok(()) => 0,
        Err(refusal) => {
            if !refusal.message.is_empty() {
                crate::status::say(&format!("{name}: {}", refusal.message));
            }
            refusal.status.0
        }
    }
}
