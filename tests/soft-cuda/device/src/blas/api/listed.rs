//! `cublasGemmBatchedEx`: products of matrices that lists of pointers name.
#![allow(missing_docs, clippy::missing_safety_doc, clippy::too_many_arguments)]

use super::products::{product, Call};
use crate::blas::listed::Listed;
use crate::blas::{submit_listed, with_blas};
use std::ffi::c_void;

/// The lists lie in device memory and are read when the products run.
#[no_mangle]
pub unsafe extern "C" fn cublasGemmBatchedEx(
    blas: u64,
    transa: u32,
    transb: u32,
    m: i32,
    n: i32,
    k: i32,
    alpha: *const c_void,
    a_list: u64,
    a_type: u32,
    lda: i32,
    b_list: u64,
    b_type: u32,
    ldb: i32,
    beta: *const c_void,
    c_list: u64,
    c_type: u32,
    ldc: i32,
    batch: i32,
    compute: u32,
    _algorithm: i32,
) -> i32 {
    let call = Call {
        transpose: [transa, transb],
        sizes: [m, n, k],
        alpha,
        a: (0, a_type, lda, 0),
        b: (0, b_type, ldb, 0),
        beta,
        c: (0, c_type, ldc, 0),
        batch,
        compute,
    };
    with_blas("cublasGemmBatchedEx", |cx| {
        // SAFETY: the caller's promise.
        let (product, handle) = unsafe { product(cx, blas, &call) }?;
        let listed = Listed {
            count: product.batch,
            product,
            lists: [a_list, b_list, c_list],
        };
        submit_listed(cx, listed, handle.stream)
    })
}
