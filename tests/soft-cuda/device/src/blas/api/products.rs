//! `cublas*gemm*`: products.
#![allow(missing_docs, clippy::missing_safety_doc, clippy::too_many_arguments)]

use super::handle;
use crate::blas::epilogue::Epilogue;
use crate::blas::product::{columns, Product, Scale};
use crate::blas::types::{half_to_f32, Compute, Type};
use crate::blas::{submit, with_blas, BlasRefusal, Handle};
use crate::blas_refuse;
use crate::context::Context;
use std::ffi::c_void;

/// What `alpha` and `beta` point to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Factor {
    F32,
    F16,
}

/// A product's arguments in cuBLAS's order.
pub(super) struct Call {
    pub(super) transpose: [u32; 2],
    pub(super) sizes: [i32; 3],
    pub(super) alpha: *const c_void,
    pub(super) a: (u64, u32, i32, i64),
    pub(super) b: (u64, u32, i32, i64),
    pub(super) beta: *const c_void,
    pub(super) c: (u64, u32, i32, i64),
    pub(super) batch: i32,
    /// `cublasComputeType_t`.
    pub(super) compute: u32,
}

fn element(number: u32, name: &str) -> Result<Type, BlasRefusal> {
    Type::new(number).ok_or_else(|| {
        blas_refuse!(
            NOT_SUPPORTED,
            "{name}: data type {number} is not computed with here"
        )
    })
}

/// The precision of a `cublasComputeType_t`, with the type of its factors. The combinations are those
/// of the table at `cublasGemmEx` in the reference.
///
/// # Errors
/// The types do not go together.
fn compute(number: u32, math: u32, types: [Type; 3]) -> Result<(Compute, Factor), BlasRefusal> {
    let [a, b, c] = types;
    let all_f32 = types == [Type::F32; 3];
    let half = a == b && a != Type::F32 && (c == a || c == Type::F32);
    let found = match number {
        // Tensor cores compute f32 only where they are asked to.
        68 if all_f32 && math & 15 == 3 => Some((Compute::Tf32, Factor::F32)),
        68 | 69 if all_f32 || half => Some((Compute::F32, Factor::F32)),
        74 if all_f32 => Some((Compute::F16, Factor::F32)),
        75 if all_f32 => Some((Compute::Bf16, Factor::F32)),
        77 if all_f32 => Some((Compute::Tf32, Factor::F32)),
        64 | 65 if types == [Type::F16; 3] => Some((Compute::F32, Factor::F16)),
        _ => None,
    };
    found.ok_or_else(|| {
        blas_refuse!(
            NOT_SUPPORTED,
            "compute type {number} with A {a:?}, B {b:?} and C {c:?}"
        )
    })
}

unsafe fn factor(
    pointer: *const c_void,
    kind: Factor,
    device: bool,
    name: &str,
) -> Result<Scale, BlasRefusal> {
    if pointer.is_null() {
        return Err(blas_refuse!(INVALID_VALUE, "`{name}` is null"));
    }
    match (device, kind) {
        (true, Factor::F32) => Ok(Scale::Device(pointer as u64)),
        (true, Factor::F16) => Err(blas_refuse!(NOT_SUPPORTED, "half factors on the device")),
        // SAFETY: not null; the caller's promise.
        (false, Factor::F32) => Ok(Scale::Value(unsafe {
            pointer.cast::<f32>().read_unaligned()
        })),
        (false, Factor::F16) => {
            // SAFETY: as above.
            Ok(Scale::Value(half_to_f32(unsafe {
                pointer.cast::<u16>().read_unaligned()
            })))
        }
    }
}

/// Checks a call's arguments in the library's order and makes the product, with the handle.
pub(super) unsafe fn product(
    cx: &mut Context,
    blas: u64,
    call: &Call,
) -> Result<(Product, Handle), BlasRefusal> {
    let found = handle(cx, blas)?.clone();
    for (name, operation) in ["transa", "transb"].iter().zip(call.transpose) {
        if operation > 2 {
            return Err(blas_refuse!(INVALID_VALUE, "{name} is {operation}"));
        }
    }
    let [m, n, k] = call.sizes;
    if m < 0 || n < 0 || k < 0 || call.batch < 0 {
        return Err(blas_refuse!(
            INVALID_VALUE,
            "m {m}, n {n}, k {k}, batch {}: one is negative",
            call.batch
        ));
    }
    let types = [
        element(call.a.1, "A")?,
        element(call.b.1, "B")?,
        element(call.c.1, "C")?,
    ];
    let (compute, kind) = compute(call.compute, found.math, types)?;
    // SAFETY: the caller's promise.
    let (alpha, beta) = unsafe {
        (
            factor(call.alpha, kind, found.device_pointers, "alpha")?,
            factor(call.beta, kind, found.device_pointers, "beta")?,
        )
    };
    let (m, n, k) = (m as u64, n as u64, k as u64);
    let [transpose_a, transpose_b] = call.transpose.map(|operation| operation != 0);
    let (a_rows, a_columns) = if transpose_a { (k, m) } else { (m, k) };
    let (b_rows, b_columns) = if transpose_b { (n, k) } else { (k, n) };
    let matrix = |(address, _, leading, stride): (u64, u32, i32, i64), element, rows, cols| {
        columns(address, element, rows, cols, leading.max(0) as u64, stride)
    };
    let c = matrix(call.c, types[2], m, n);
    let product = Product {
        a: matrix(call.a, types[0], a_rows, a_columns),
        b: matrix(call.b, types[1], b_rows, b_columns),
        c,
        d: c,
        transpose_a,
        transpose_b,
        m,
        n,
        k,
        batch: call.batch as u64,
        alpha,
        beta,
        compute,
        epilogue: Epilogue::default(),
        workspace: found.workspace,
    };
    Ok((product, found))
}

/// Checks a call's arguments and queues the product.
unsafe fn gemm(name: &str, blas: u64, call: Call) -> i32 {
    with_blas(name, |cx| {
        // SAFETY: the caller's promise.
        let (product, handle) = unsafe { product(cx, blas, &call) }?;
        submit(cx, product, handle.stream)
    })
}

#[no_mangle]
pub unsafe extern "C" fn cublasSgemm_v2(
    blas: u64,
    transa: u32,
    transb: u32,
    m: i32,
    n: i32,
    k: i32,
    alpha: *const c_void,
    a: u64,
    lda: i32,
    b: u64,
    ldb: i32,
    beta: *const c_void,
    c: u64,
    ldc: i32,
) -> i32 {
    let (transpose, sizes) = ([transa, transb], [m, n, k]);
    let (a, b, c) = ((a, 0, lda, 0), (b, 0, ldb, 0), (c, 0, ldc, 0));
    let call = Call {
        transpose,
        sizes,
        alpha,
        a,
        b,
        beta,
        c,
        batch: 1,
        compute: 68,
    };
    unsafe { gemm("cublasSgemm_v2", blas, call) }
}

#[no_mangle]
pub unsafe extern "C" fn cublasSgemmStridedBatched(
    blas: u64,
    transa: u32,
    transb: u32,
    m: i32,
    n: i32,
    k: i32,
    alpha: *const c_void,
    a: u64,
    lda: i32,
    stride_a: i64,
    b: u64,
    ldb: i32,
    stride_b: i64,
    beta: *const c_void,
    c: u64,
    ldc: i32,
    stride_c: i64,
    batch: i32,
) -> i32 {
    let (transpose, sizes) = ([transa, transb], [m, n, k]);
    let (a, b, c) = (
        (a, 0, lda, stride_a),
        (b, 0, ldb, stride_b),
        (c, 0, ldc, stride_c),
    );
    let call = Call {
        transpose,
        sizes,
        alpha,
        a,
        b,
        beta,
        c,
        batch,
        compute: 68,
    };
    unsafe { gemm("cublasSgemmStridedBatched", blas, call) }
}

#[no_mangle]
pub unsafe extern "C" fn cublasHgemm(
    blas: u64,
    transa: u32,
    transb: u32,
    m: i32,
    n: i32,
    k: i32,
    alpha: *const c_void,
    a: u64,
    lda: i32,
    b: u64,
    ldb: i32,
    beta: *const c_void,
    c: u64,
    ldc: i32,
) -> i32 {
    let (transpose, sizes) = ([transa, transb], [m, n, k]);
    let (a, b, c) = ((a, 2, lda, 0), (b, 2, ldb, 0), (c, 2, ldc, 0));
    let call = Call {
        transpose,
        sizes,
        alpha,
        a,
        b,
        beta,
        c,
        batch: 1,
        compute: 64,
    };
    unsafe { gemm("cublasHgemm", blas, call) }
}

#[no_mangle]
pub unsafe extern "C" fn cublasHgemmStridedBatched(
    blas: u64,
    transa: u32,
    transb: u32,
    m: i32,
    n: i32,
    k: i32,
    alpha: *const c_void,
    a: u64,
    lda: i32,
    stride_a: i64,
    b: u64,
    ldb: i32,
    stride_b: i64,
    beta: *const c_void,
    c: u64,
    ldc: i32,
    stride_c: i64,
    batch: i32,
) -> i32 {
    let (transpose, sizes) = ([transa, transb], [m, n, k]);
    let (a, b, c) = (
        (a, 2, lda, stride_a),
        (b, 2, ldb, stride_b),
        (c, 2, ldc, stride_c),
    );
    let call = Call {
        transpose,
        sizes,
        alpha,
        a,
        b,
        beta,
        c,
        batch,
        compute: 64,
    };
    unsafe { gemm("cublasHgemmStridedBatched", blas, call) }
}

/// The algorithm is not looked at: since CUDA 11 it is no more than a hint.
#[no_mangle]
pub unsafe extern "C" fn cublasGemmEx(
    blas: u64,
    transa: u32,
    transb: u32,
    m: i32,
    n: i32,
    k: i32,
    alpha: *const c_void,
    a: u64,
    a_type: u32,
    lda: i32,
    b: u64,
    b_type: u32,
    ldb: i32,
    beta: *const c_void,
    c: u64,
    c_type: u32,
    ldc: i32,
    compute: u32,
    _algorithm: i32,
) -> i32 {
    let (transpose, sizes) = ([transa, transb], [m, n, k]);
    let (a, b, c) = (
        (a, a_type, lda, 0),
        (b, b_type, ldb, 0),
        (c, c_type, ldc, 0),
    );
    let call = Call {
        transpose,
        sizes,
        alpha,
        a,
        b,
        beta,
        c,
        batch: 1,
        compute,
    };
    unsafe { gemm("cublasGemmEx", blas, call) }
}

#[no_mangle]
pub unsafe extern "C" fn cublasGemmStridedBatchedEx(
    blas: u64,
    transa: u32,
    transb: u32,
    m: i32,
    n: i32,
    k: i32,
    alpha: *const c_void,
    a: u64,
    a_type: u32,
    lda: i32,
    stride_a: i64,
    b: u64,
    b_type: u32,
    ldb: i32,
    stride_b: i64,
    beta: *const c_void,
    c: u64,
    c_type: u32,
    ldc: i32,
    stride_c: i64,
    batch: i32,
    compute: u32,
    _algorithm: i32,
) -> i32 {
    let (transpose, sizes) = ([transa, transb], [m, n, k]);
    let a = (a, a_type, lda, stride_a);
    let b = (b, b_type, ldb, stride_b);
    let c = (c, c_type, ldc, stride_c);
    let call = Call {
        transpose,
        sizes,
        alpha,
        a,
        b,
        beta,
        c,
        batch,
        compute,
    };
    unsafe { gemm("cublasGemmStridedBatchedEx", blas, call) }
}
