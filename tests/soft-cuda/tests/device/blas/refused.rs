//! cuBLAS: calls that are turned down, and workspaces.

use super::{op, Blas, ALGORITHM};
use crate::support::{child, device, Device};
use ablate_soft_cuda::test_name;
use cudarc::cublas::result::{gemm_strided_batched_ex, set_stream};
use cudarc::cublas::sys::{
    self, cublasComputeType_t as Compute, cublasStatus_t, cudaDataType as Type,
};
use cudarc::driver::{DevicePtr, DevicePtrMut};

/// A call with one argument changed, on buffers of 64 numbers each.
#[derive(Clone, Copy)]
struct Call {
    m: i32,
    n: i32,
    k: i32,
    lda: i32,
    ldb: i32,
    ldc: i32,
    a_offset: u64,
    c_is_a: bool,
    null_b: bool,
    stride_c: i64,
    batch: i32,
    /// Of both operands and the result.
    types: [Type; 3],
    compute: Compute,
}

const F32: Type = Type::CUDA_R_32F;
const BF16: Type = Type::CUDA_R_16BF;

const GOOD: Call = Call {
    m: 4,
    n: 4,
    k: 4,
    lda: 4,
    ldb: 4,
    ldc: 4,
    a_offset: 0,
    c_is_a: false,
    null_b: false,
    stride_c: 16,
    batch: 2,
    types: [F32; 3],
    compute: Compute::CUBLAS_COMPUTE_32F,
};

fn status(d: &Device, blas: &Blas, call: Call) -> cublasStatus_t {
    let (a, b) = (
        d.stream.alloc_zeros::<f32>(64).unwrap(),
        d.stream.alloc_zeros::<f32>(64).unwrap(),
    );
    let mut c = d.stream.alloc_zeros::<f32>(64).unwrap();
    let (one, zero) = (1.0f32, 0.0f32);
    let (pa, pb, pc) = (
        a.device_ptr(&d.stream).0,
        b.device_ptr(&d.stream).0,
        c.device_ptr_mut(&d.stream).0,
    );
    let (pb, pc) = (
        if call.null_b { 0 } else { pb },
        if call.c_is_a { pa } else { pc },
    );
    let [a_type, b_type, c_type] = call.types;
    let done = unsafe {
        gemm_strided_batched_ex(
            blas.0,
            op(false),
            op(false),
            call.m,
            call.n,
            call.k,
            (&raw const one).cast(),
            (pa + call.a_offset) as _,
            a_type,
            call.lda,
            16,
            pb as _,
            b_type,
            call.ldb,
            16,
            (&raw const zero).cast(),
            pc as _,
            c_type,
            call.ldc,
            call.stride_c,
            call.batch,
            call.compute,
            ALGORITHM,
        )
    };
    done.map_or_else(|e| e.0, |()| cublasStatus_t::CUBLAS_STATUS_SUCCESS)
}

#[test]
fn wrong_arguments_get_the_librarys_status_and_a_reason() {
    let name = test_name!();
    let finished = child(name, &[], |d| {
        let blas = Blas::new(d);
        let invalid = cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE;
        let unsupported = cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED;
        let success = cublasStatus_t::CUBLAS_STATUS_SUCCESS;
        let types = |types| Call { types, ..GOOD };
        assert_eq!(status(d, &blas, GOOD), success);
        for (call, expected) in [
            (Call { lda: 3, ..GOOD }, invalid),
            (Call { ldb: 3, ..GOOD }, invalid),
            (Call { ldc: 3, ..GOOD }, invalid),
            (Call { m: -1, ..GOOD }, invalid),
            (
                Call {
                    null_b: true,
                    ..GOOD
                },
                invalid,
            ),
            (
                Call {
                    a_offset: 2,
                    ..GOOD
                },
                invalid,
            ),
            (
                Call {
                    stride_c: 8,
                    ..GOOD
                },
                invalid,
            ),
            (
                Call {
                    c_is_a: true,
                    ..GOOD
                },
                invalid,
            ),
            // Of bfloat16, both operands or none, and the result only with them; rounding on the way is
            // for what is f32 throughout.
            (types([BF16, BF16, F32]), success),
            (types([BF16, BF16, BF16]), success),
            (types([BF16, F32, F32]), unsupported),
            (types([F32, BF16, F32]), unsupported),
            (types([F32, F32, BF16]), unsupported),
            (
                Call {
                    compute: Compute::CUBLAS_COMPUTE_32F_FAST_16BF,
                    ..types([BF16, BF16, F32])
                },
                unsupported,
            ),
            (
                Call {
                    compute: Compute::CUBLAS_COMPUTE_16F,
                    ..GOOD
                },
                unsupported,
            ),
        ] {
            assert_eq!(status(d, &blas, call), expected);
        }
        d.stream.synchronize().unwrap();
    });
    let Some(finished) = finished else { return };
    assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
    for text in [
        "the leading dimension of A is 3, at least 4 is needed",
        "B is null",
        "is not a multiple of its element's 4 bytes",
        "results of the batch overlap: the stride is 8",
        "the result overlaps A",
        "compute type 64",
    ] {
        assert!(
            finished.stderr.contains(text),
            "`{text}` is missing in:\n{}",
            finished.stderr
        );
    }
}

#[test]
fn a_product_beyond_its_buffer_is_an_illegal_address() {
    let name = test_name!();
    let finished = child(name, &[], |d| {
        let blas = Blas::new(d);
        // A leading dimension that is large enough and wrong.
        let call = Call { lda: 15, ..GOOD };
        assert_eq!(
            status(d, &blas, call),
            cublasStatus_t::CUBLAS_STATUS_SUCCESS
        );
        let waited = d.stream.synchronize().unwrap_err();
        assert_eq!(
            waited.0,
            cudarc::driver::sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS
        );
        let broken = status_of_broken(&blas);
        assert_eq!(broken, cublasStatus_t::CUBLAS_STATUS_EXECUTION_FAILED);
    });
    let Some(finished) = finished else { return };
    assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
    assert!(finished.stderr.contains("A: reads"), "{}", finished.stderr);
}

fn status_of_broken(blas: &Blas) -> cublasStatus_t {
    unsafe { sys::cublasSetMathMode(blas.0, sys::cublasMath_t::CUBLAS_DEFAULT_MATH) }
}

#[test]
fn a_workspace_is_written_to_and_given_back_by_a_new_stream() {
    let Some(d) = device() else { return };
    let blas = Blas::new(&d);
    let mut workspace = d.stream.alloc_zeros::<f32>(1024).unwrap();
    let address = workspace.device_ptr_mut(&d.stream).0;
    let set = |address: u64| unsafe { sys::cublasSetWorkspace_v2(blas.0, address as _, 4096) };
    assert_eq!(
        set(address + 4),
        cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE
    );
    assert_eq!(
        set(address + 256),
        cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE
    );
    set(address).result().unwrap();
    status(&d, &blas, GOOD).result().unwrap();
    assert!(d
        .stream
        .clone_dtoh(&workspace)
        .unwrap()
        .iter()
        .all(|v| v.is_nan()));
    d.stream.memset_zeros(&mut workspace).unwrap();
    unsafe { set_stream(blas.0, d.stream.cu_stream() as _) }.unwrap();
    status(&d, &blas, GOOD).result().unwrap();
    assert!(d
        .stream
        .clone_dtoh(&workspace)
        .unwrap()
        .iter()
        .all(|v| *v == 0.0));
}
