//! cuBLASLt: layouts, transpositions and batches against a plain sum in f64.

mod epilogues;
mod refused;

use crate::blas::Stored;
use crate::support::{device, numbers, Device};
use cudarc::cublaslt::result;
use cudarc::cublaslt::sys::{
    cublasComputeType_t as Compute, cublasLtHandle_t,
    cublasLtMatmulDescAttributes_t as DescAttribute, cublasLtMatmulDesc_t,
    cublasLtMatrixLayoutAttribute_t as LayoutAttribute, cublasLtMatrixLayout_t, cublasStatus_t,
    cudaDataType as Type,
};
use cudarc::driver::{DevicePtr, DevicePtrMut};

/// A product's descriptors, destroyed with it.
pub struct Matmul {
    pub library: cublasLtHandle_t,
    pub desc: cublasLtMatmulDesc_t,
    pub a: cublasLtMatrixLayout_t,
    pub b: cublasLtMatrixLayout_t,
    pub d: cublasLtMatrixLayout_t,
}

fn bytes_of<T>(value: &T) -> (*const std::ffi::c_void, usize) {
    ((&raw const *value).cast(), size_of::<T>())
}

impl Matmul {
    /// `m` x `k` times `k` x `n`, with A or B stored transposed if asked for.
    pub fn new(
        kind: Type,
        compute: Compute,
        sizes: (usize, usize, usize),
        transpose: (bool, bool),
        leading: [usize; 3],
    ) -> Self {
        let (m, n, k) = (sizes.0 as u64, sizes.1 as u64, sizes.2 as u64);
        let layout = |rows, columns, leading: usize| {
            result::create_matrix_layout(kind, rows, columns, leading as i64).unwrap()
        };
        let (a, b) = (
            if transpose.0 {
                layout(k, m, leading[0])
            } else {
                layout(m, k, leading[0])
            },
            if transpose.1 {
                layout(n, k, leading[1])
            } else {
                layout(k, n, leading[1])
            },
        );
        let matmul = Matmul {
            library: result::create_handle().unwrap(),
            desc: result::create_matmul_desc(compute, Type::CUDA_R_32F).unwrap(),
            a,
            b,
            d: layout(m, n, leading[2]),
        };
        matmul.set(
            DescAttribute::CUBLASLT_MATMUL_DESC_TRANSA,
            &i32::from(transpose.0),
        );
        matmul.set(
            DescAttribute::CUBLASLT_MATMUL_DESC_TRANSB,
            &i32::from(transpose.1),
        );
        matmul
    }

    pub fn set<T>(&self, attribute: DescAttribute, value: &T) {
        let (at, bytes) = bytes_of(value);
        unsafe { result::set_matmul_desc_attribute(self.desc, attribute, at, bytes) }.unwrap();
    }

    pub fn set_layout<T>(
        &self,
        layout: cublasLtMatrixLayout_t,
        attribute: LayoutAttribute,
        value: &T,
    ) {
        let (at, bytes) = bytes_of(value);
        unsafe { result::set_matrix_layout_attribute(layout, attribute, at, bytes) }.unwrap();
    }

    /// Chooses an algorithm and computes, with C in the place of D.
    pub fn run(
        &self,
        d: &Device,
        alpha: f32,
        beta: f32,
        a: u64,
        b: u64,
        to: u64,
    ) -> Result<(), cublasStatus_t> {
        let preference = result::create_matmul_pref().unwrap();
        let chosen = unsafe {
            result::get_matmul_algo_heuristic(
                self.library,
                self.desc,
                self.a,
                self.b,
                self.d,
                self.d,
                preference,
            )
        };
        unsafe { result::destroy_matmul_pref(preference) }.unwrap();
        let chosen = chosen.map_err(|e| e.0)?;
        unsafe {
            result::matmul(
                self.library,
                self.desc,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                a as _,
                self.a,
                b as _,
                self.b,
                to as _,
                self.d,
                to as _,
                self.d,
                &chosen.algo,
                std::ptr::null_mut(),
                0,
                d.stream.cu_stream() as _,
            )
        }
        .map_err(|e| e.0)
    }
}

impl Drop for Matmul {
    fn drop(&mut self) {
        unsafe {
            for layout in [self.a, self.b, self.d] {
                result::destroy_matrix_layout(layout).unwrap();
            }
            result::destroy_matmul_desc(self.desc).unwrap();
            result::destroy_handle(self.library).unwrap();
        }
    }
}

const TRANSPOSES: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

#[test]
fn every_transposition_with_leading_dimensions_and_batches() {
    let Some(d) = device() else { return };
    let (m, n, k) = (13, 6, 40);
    for transpose in TRANSPOSES {
        for (batch, gap) in [(1, 0), (3, 4)] {
            let (rows_a, columns_a) = if transpose.0 { (k, m) } else { (m, k) };
            let (rows_b, columns_b) = if transpose.1 { (n, k) } else { (k, n) };
            let a = Stored::new("a", rows_a, columns_a, batch, gap);
            let b = Stored::new("b", rows_b, columns_b, batch, gap);
            let c = Stored::new("c", m, n, batch, gap);
            let leading = [a.leading, b.leading, c.leading];
            let matmul = Matmul::new(
                Type::CUDA_R_32F,
                Compute::CUBLAS_COMPUTE_32F,
                (m, n, k),
                transpose,
                leading,
            );
            for (layout, stored) in [(matmul.a, &a), (matmul.b, &b), (matmul.d, &c)] {
                matmul.set_layout(
                    layout,
                    LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
                    &(batch as i32),
                );
                let stride = stored.stride as i64;
                matmul.set_layout(
                    layout,
                    LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                    &stride,
                );
            }
            let (da, db) = (
                d.stream.clone_htod(&a.values).unwrap(),
                d.stream.clone_htod(&b.values).unwrap(),
            );
            let mut dc = d.stream.clone_htod(&c.values).unwrap();
            let (pa, pb, pc) = (
                da.device_ptr(&d.stream).0,
                db.device_ptr(&d.stream).0,
                dc.device_ptr_mut(&d.stream).0,
            );
            matmul.run(&d, 0.5, 2.0, pa, pb, pc).unwrap();
            let found = d.stream.clone_dtoh(&dc).unwrap();
            for z in 0..batch {
                for i in 0..m {
                    for j in 0..n {
                        let sum: f64 = (0..k)
                            .map(|p| a.at(z, i, p, transpose.0) * b.at(z, p, j, transpose.1))
                            .sum();
                        let expected = 0.5 * sum + 2.0 * c.at(z, i, j, false);
                        let off = f64::from(found[z * c.stride + j * c.leading + i]) - expected;
                        assert!(off.abs() < 2e-5, "{transpose:?} {batch} {i} {j}: {off}");
                    }
                }
            }
        }
    }
}

#[test]
fn row_major_layouts_are_the_transposed_matrices() {
    let Some(d) = device() else { return };
    let (m, n, k) = (5, 7, 9);
    let (a, b) = (numbers("a", m * k), numbers("b", k * n));
    let matmul = Matmul::new(
        Type::CUDA_R_32F,
        Compute::CUBLAS_COMPUTE_32F,
        (m, n, k),
        (false, false),
        [k, n, n],
    );
    for layout in [matmul.a, matmul.b, matmul.d] {
        matmul.set_layout(layout, LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_ORDER, &1i32);
    }
    let (da, db) = (
        d.stream.clone_htod(&a).unwrap(),
        d.stream.clone_htod(&b).unwrap(),
    );
    let mut dc = d.stream.alloc_zeros::<f32>(m * n).unwrap();
    let (pa, pb, pc) = (
        da.device_ptr(&d.stream).0,
        db.device_ptr(&d.stream).0,
        dc.device_ptr_mut(&d.stream).0,
    );
    matmul.run(&d, 1.0, 0.0, pa, pb, pc).unwrap();
    let found = d.stream.clone_dtoh(&dc).unwrap();
    for i in 0..m {
        for j in 0..n {
            let expected: f64 = (0..k)
                .map(|p| f64::from(a[i * k + p]) * f64::from(b[p * n + j]))
                .sum();
            assert!((f64::from(found[i * n + j]) - expected).abs() < 1e-5);
        }
    }
}
