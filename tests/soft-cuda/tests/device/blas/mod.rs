//! cuBLAS: every transposition, type and batch against a plain sum in f64.

mod listed;
mod refused;

use crate::support::{device, numbers, Device};
use cudarc::cublas::result::{
    create_handle, destroy_handle, gemm_ex, gemm_strided_batched_ex, set_stream, sgemm,
    sgemm_strided_batched,
};
use cudarc::cublas::sys::{
    self, cublasComputeType_t as Compute, cublasGemmAlgo_t, cublasHandle_t,
    cublasOperation_t as Op, cudaDataType as Type,
};
use cudarc::driver::{DevicePtr, DevicePtrMut};

pub const ALGORITHM: cublasGemmAlgo_t = cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT;

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

pub struct Blas(pub cublasHandle_t);

impl Blas {
    pub fn new(d: &Device) -> Self {
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

pub fn op(transposed: bool) -> Op {
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
