//! cuBLAS: every transposition, type and batch against a plain sum in f64, and what is refused.

use crate::support::{child, device, numbers, Device};
use ablate_soft_cuda::test_name;
use cudarc::cublas::result::{
    create_handle, destroy_handle, gemm_ex, gemm_strided_batched_ex, set_stream, sgemm,
    sgemm_strided_batched,
};
use cudarc::cublas::sys::{
    self, cublasComputeType_t as Compute, cublasGemmAlgo_t, cublasHandle_t,
    cublasOperation_t as Op, cublasStatus_t, cudaDataType as Type,
};
use cudarc::driver::{DevicePtr, DevicePtrMut};

const ALGORITHM: cublasGemmAlgo_t = cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT;

/// A matrix with room between its columns, and its values as the library sees them.
#[derive(Clone)]
pub struct Stored {
    pub values: Vec<f32>,
    pub leading: usize,
    pub stride: usize,
}

impl Stored {
    pub fn new(name: &str, rows: usize, columns: usize, batch: usize, gap: usize) -> Self {
        let leading = rows + gap;
        let stride = leading * columns + 3 * gap;
        Stored {
            values: numbers(name, stride * batch),
            leading,
            stride,
        }
    }

    pub fn at(&self, batch: usize, row: usize, column: usize, transposed: bool) -> f64 {
        let (row, column) = if transposed {
            (column, row)
        } else {
            (row, column)
        };
        f64::from(self.values[batch * self.stride + column * self.leading + row])
    }

    /// With every value rounded to bfloat16.
    fn rounded(mut self) -> Self {
        for value in &mut self.values {
            *value = from_bf16(to_bf16(*value));
        }
        self
    }
}

pub fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

struct Blas(cublasHandle_t);

impl Blas {
    fn new(d: &Device) -> Self {
        let handle = create_handle().unwrap();
        unsafe { set_stream(handle, d.stream.cu_stream() as _) }.unwrap();
        Blas(handle)
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        let _ = unsafe { destroy_handle(self.0) };
    }
}

fn op(transposed: bool) -> Op {
    if transposed {
        Op::CUBLAS_OP_T
    } else {
        Op::CUBLAS_OP_N
    }
}

/// One product in all its parts.
struct Case {
    transpose: (bool, bool),
    sizes: (usize, usize, usize),
    batch: usize,
    gap: usize,
    alpha: f32,
    beta: f32,
}

fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for transpose in [(false, false), (false, true), (true, false), (true, true)] {
        for (sizes, gap) in [((7, 5, 9), 0), ((17, 33, 300), 2), ((64, 48, 32), 0)] {
            for (batch, alpha, beta) in [(1, 1.0, 0.0), (3, 0.5, 1.5)] {
                cases.push(Case {
                    transpose,
                    sizes,
                    batch,
                    gap,
                    alpha,
                    beta,
                });
            }
        }
    }
    cases
}

impl Case {
    fn inputs(&self) -> (Stored, Stored, Stored) {
        let (m, n, k) = self.sizes;
        let (a, b) = (
            if self.transpose.0 { (k, m) } else { (m, k) },
            if self.transpose.1 { (n, k) } else { (k, n) },
        );
        (
            Stored::new("a", a.0, a.1, self.batch, self.gap),
            Stored::new("b", b.0, b.1, self.batch, self.gap),
            Stored::new("c", m, n, self.batch, self.gap),
        )
    }

    /// Asserts every element of the result, and that nothing between the columns has changed.
    fn check(&self, a: &Stored, b: &Stored, c: &Stored, found: &[f32], tolerance: f64) {
        let (m, n, k) = self.sizes;
        let mut inside = vec![false; found.len()];
        for batch in 0..self.batch {
            for i in 0..m {
                for j in 0..n {
                    let term = |p| {
                        a.at(batch, i, p, self.transpose.0) * b.at(batch, p, j, self.transpose.1)
                    };
                    let sum: f64 = (0..k).map(term).sum();
                    let before = if self.beta == 0.0 {
                        0.0
                    } else {
                        c.at(batch, i, j, false)
                    };
                    let expected = f64::from(self.alpha) * sum + f64::from(self.beta) * before;
                    let place = batch * c.stride + j * c.leading + i;
                    inside[place] = true;
                    let off = (f64::from(found[place]) - expected).abs();
                    let limit = tolerance * ((k as f64).sqrt() + expected.abs());
                    assert!(
                        off <= limit,
                        "{:?} {:?}: {off} > {limit}",
                        self.transpose,
                        self.sizes
                    );
                }
            }
        }
        for (place, inside) in inside.iter().enumerate() {
            assert!(
                *inside || found[place].to_bits() == c.values[place].to_bits(),
                "a gap was written to"
            );
        }
    }
}

#[test]
fn sgemm_matches_a_plain_sum() {
    let Some(d) = device() else { return };
    let blas = Blas::new(&d);
    for case in cases() {
        let (a, b, c) = case.inputs();
        let (m, n, k) = case.sizes;
        let (da, db) = (
            d.stream.clone_htod(&a.values).unwrap(),
            d.stream.clone_htod(&b.values).unwrap(),
        );
        let mut dc = d.stream.clone_htod(&c.values).unwrap();
        {
            let (pa, pb, pc) = (
                da.device_ptr(&d.stream).0,
                db.device_ptr(&d.stream).0,
                dc.device_ptr_mut(&d.stream).0,
            );
            let (ta, tb) = (op(case.transpose.0), op(case.transpose.1));
            let (m, n, k) = (m as i32, n as i32, k as i32);
            let (lda, ldb, ldc) = (a.leading as i32, b.leading as i32, c.leading as i32);
            let done = if case.batch == 1 {
                unsafe {
                    sgemm(
                        blas.0,
                        ta,
                        tb,
                        m,
                        n,
                        k,
                        &case.alpha,
                        pa as _,
                        lda,
                        pb as _,
                        ldb,
                        &case.beta,
                        pc as _,
                        ldc,
                    )
                }
            } else {
                unsafe {
                    sgemm_strided_batched(
                        blas.0,
                        ta,
                        tb,
                        m,
                        n,
                        k,
                        &case.alpha,
                        pa as _,
                        lda,
                        a.stride as i64,
                        pb as _,
                        ldb,
                        b.stride as i64,
                        &case.beta,
                        pc as _,
                        ldc,
                        c.stride as i64,
                        case.batch as i32,
                    )
                }
            };
            done.unwrap();
        }
        let found = d.stream.clone_dtoh(&dc).unwrap();
        case.check(&a, &b, &c, &found, 2e-6);
    }
}

#[test]
fn bf16_matches_a_plain_sum_of_rounded_inputs() {
    let Some(d) = device() else { return };
    let blas = Blas::new(&d);
    for case in cases() {
        for to_f32 in [true, false] {
            let (a, b, c) = case.inputs();
            let (a, b) = (a.rounded(), b.rounded());
            let c = if to_f32 { c } else { c.rounded() };
            let half = |s: &Stored| s.values.iter().map(|v| to_bf16(*v)).collect::<Vec<u16>>();
            let (da, db) = (
                d.stream.clone_htod(&half(&a)).unwrap(),
                d.stream.clone_htod(&half(&b)).unwrap(),
            );
            let mut dc32 = d.stream.clone_htod(&c.values).unwrap();
            let mut dc16 = d.stream.clone_htod(&half(&c)).unwrap();
            {
                let (pa, pb) = (da.device_ptr(&d.stream).0, db.device_ptr(&d.stream).0);
                let (pc, kind) = match to_f32 {
                    true => (dc32.device_ptr_mut(&d.stream).0, Type::CUDA_R_32F),
                    false => (dc16.device_ptr_mut(&d.stream).0, Type::CUDA_R_16BF),
                };
                let (m, n, k) = case.sizes;
                let bf16 = Type::CUDA_R_16BF;
                unsafe {
                    gemm_strided_batched_ex(
                        blas.0,
                        op(case.transpose.0),
                        op(case.transpose.1),
                        m as i32,
                        n as i32,
                        k as i32,
                        (&raw const case.alpha).cast(),
                        pa as _,
                        bf16,
                        a.leading as i32,
                        a.stride as i64,
                        pb as _,
                        bf16,
                        b.leading as i32,
                        b.stride as i64,
                        (&raw const case.beta).cast(),
                        pc as _,
                        kind,
                        c.leading as i32,
                        c.stride as i64,
                        case.batch as i32,
                        Compute::CUBLAS_COMPUTE_32F,
                        ALGORITHM,
                    )
                }
                .unwrap();
            }
            let found: Vec<f32> = match to_f32 {
                true => d.stream.clone_dtoh(&dc32).unwrap(),
                false => d
                    .stream
                    .clone_dtoh(&dc16)
                    .unwrap()
                    .into_iter()
                    .map(from_bf16)
                    .collect(),
            };
            // A bfloat16 result has 8 bits.
            case.check(&a, &b, &c, &found, if to_f32 { 2e-6 } else { 4e-3 });
        }
    }
}

/// The product of two 32 x 32 matrices in a precision, against the exact one.
fn error_in(d: &Device, blas: &Blas, compute: Compute) -> f64 {
    let (a, b) = (numbers("a", 1024), numbers("b", 1024));
    let (da, db) = (
        d.stream.clone_htod(&a).unwrap(),
        d.stream.clone_htod(&b).unwrap(),
    );
    let mut dc = d.stream.alloc_zeros::<f32>(1024).unwrap();
    let (one, zero) = (1.0f32, 0.0f32);
    {
        let (pa, pb, pc) = (
            da.device_ptr(&d.stream).0,
            db.device_ptr(&d.stream).0,
            dc.device_ptr_mut(&d.stream).0,
        );
        let f32_ = Type::CUDA_R_32F;
        unsafe {
            gemm_ex(
                blas.0,
                op(false),
                op(false),
                32,
                32,
                32,
                (&raw const one).cast(),
                pa as _,
                f32_,
                32,
                pb as _,
                f32_,
                32,
                (&raw const zero).cast(),
                pc as _,
                f32_,
                32,
                compute,
                ALGORITHM,
            )
        }
        .unwrap();
    }
    let found = d.stream.clone_dtoh(&dc).unwrap();
    let mut worst = 0.0f64;
    for i in 0..32 {
        for j in 0..32 {
            let exact: f64 = (0..32)
                .map(|p| f64::from(a[p * 32 + i]) * f64::from(b[j * 32 + p]))
                .sum();
            worst = worst.max((f64::from(found[j * 32 + i]) - exact).abs());
        }
    }
    worst
}

#[test]
fn reduced_precision_is_seen_where_it_is_asked_for() {
    let Some(d) = device() else { return };
    let blas = Blas::new(&d);
    let exact = error_in(&d, &blas, Compute::CUBLAS_COMPUTE_32F);
    let tf32 = error_in(&d, &blas, Compute::CUBLAS_COMPUTE_32F_FAST_TF32);
    let bf16 = error_in(&d, &blas, Compute::CUBLAS_COMPUTE_32F_FAST_16BF);
    assert!(
        exact < 1e-5 && tf32 > 1e-4 && bf16 > 2.0 * tf32,
        "{exact} {tf32} {bf16}"
    );
    unsafe { sys::cublasSetMathMode(blas.0, sys::cublasMath_t::CUBLAS_TF32_TENSOR_OP_MATH) }
        .result()
        .unwrap();
    assert_eq!(error_in(&d, &blas, Compute::CUBLAS_COMPUTE_32F), tf32);
    assert_eq!(
        error_in(&d, &blas, Compute::CUBLAS_COMPUTE_32F_PEDANTIC),
        exact
    );
}

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
    a_type: Type,
    compute: Compute,
}

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
    a_type: Type::CUDA_R_32F,
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
    let f32_ = Type::CUDA_R_32F;
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
            call.a_type,
            call.lda,
            16,
            pb as _,
            f32_,
            call.ldb,
            16,
            (&raw const zero).cast(),
            pc as _,
            f32_,
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
        assert_eq!(
            status(d, &blas, GOOD),
            cublasStatus_t::CUBLAS_STATUS_SUCCESS
        );
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
            (
                Call {
                    a_type: Type::CUDA_R_16BF,
                    ..GOOD
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
