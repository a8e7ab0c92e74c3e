//! cuBLASLt: layouts, batches and epilogues against a plain computation in f64, and what is refused.

use crate::blas::{from_bf16, to_bf16, Stored};
use crate::support::{child, device, numbers, Device};
use ablate_soft_cuda::test_name;
use cudarc::cublaslt::result;
use cudarc::cublaslt::sys::{
    self, cublasComputeType_t as Compute, cublasLtEpilogue_t as Epilogue, cublasLtHandle_t,
    cublasLtMatmulDescAttributes_t as DescAttribute, cublasLtMatmulDesc_t,
    cublasLtMatmulPreferenceAttributes_t as PrefAttribute,
    cublasLtMatrixLayoutAttribute_t as LayoutAttribute, cublasLtMatrixLayout_t, cublasStatus_t,
    cudaDataType as Type,
};
use cudarc::driver::{CudaSlice, DevicePtr, DevicePtrMut};

/// A product's descriptors, destroyed with it.
struct Matmul {
    library: cublasLtHandle_t,
    desc: cublasLtMatmulDesc_t,
    a: cublasLtMatrixLayout_t,
    b: cublasLtMatrixLayout_t,
    d: cublasLtMatrixLayout_t,
}

fn bytes_of<T>(value: &T) -> (*const std::ffi::c_void, usize) {
    ((&raw const *value).cast(), size_of::<T>())
}

impl Matmul {
    /// `m` x `k` times `k` x `n`, with A or B stored transposed if asked for.
    fn new(
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

    fn set<T>(&self, attribute: DescAttribute, value: &T) {
        let (at, bytes) = bytes_of(value);
        unsafe { result::set_matmul_desc_attribute(self.desc, attribute, at, bytes) }.unwrap();
    }

    fn set_layout<T>(&self, layout: cublasLtMatrixLayout_t, attribute: LayoutAttribute, value: &T) {
        let (at, bytes) = bytes_of(value);
        unsafe { result::set_matrix_layout_attribute(layout, attribute, at, bytes) }.unwrap();
    }

    /// Chooses an algorithm and computes, with C in the place of D.
    fn run(
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

const M: usize = 24;
const N: usize = 10;
const K: usize = 30;

fn gelu(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

/// By differences, so that the formula is not the one under test.
fn gelu_gradient(x: f64) -> f64 {
    (gelu(x + 1e-5) - gelu(x - 1e-5)) / 2e-5
}

/// Inputs of an epilogue and the plain product of A and B, row by row.
struct Setting {
    a: Vec<f32>,
    b: Vec<f32>,
    bias: Vec<f32>,
    auxiliary: Vec<f32>,
    product: Vec<f64>,
}

fn setting() -> Setting {
    let (a, b) = (numbers("a", M * K), numbers("b", K * N));
    let a: Vec<f32> = a.iter().map(|v| v * 0.3).collect();
    let mut product = vec![0.0; M * N];
    for i in 0..M {
        for j in 0..N {
            product[i * N + j] = (0..K)
                .map(|p| f64::from(a[p * M + i]) * f64::from(b[j * K + p]))
                .sum();
        }
    }
    Setting {
        a,
        b,
        bias: numbers("bias", M),
        auxiliary: numbers("auxiliary", M * N),
        product,
    }
}

/// What an epilogue leaves: D, the bias vector and the auxiliary matrix.
fn epilogue(d: &Device, kind: Epilogue, s: &Setting) -> [Vec<f32>; 3] {
    let matmul = Matmul::new(
        Type::CUDA_R_32F,
        Compute::CUBLAS_COMPUTE_32F,
        (M, N, K),
        (false, false),
        [M, K, M],
    );
    matmul.set(DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &(kind as u32));
    let (da, db) = (
        d.stream.clone_htod(&s.a).unwrap(),
        d.stream.clone_htod(&s.b).unwrap(),
    );
    let mut to = d.stream.alloc_zeros::<f32>(M * N).unwrap();
    let mut bias = d.stream.clone_htod(&s.bias).unwrap();
    let mut auxiliary = d.stream.clone_htod(&s.auxiliary).unwrap();
    let address = |buffer: &mut CudaSlice<f32>| buffer.device_ptr_mut(&d.stream).0;
    let (pd, pbias, paux) = (
        address(&mut to),
        address(&mut bias),
        address(&mut auxiliary),
    );
    matmul.set(DescAttribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &pbias);
    matmul.set(
        DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER,
        &paux,
    );
    matmul.set(
        DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD,
        &(M as i64),
    );
    let (pa, pb) = (da.device_ptr(&d.stream).0, db.device_ptr(&d.stream).0);
    matmul.run(d, 1.0, 0.0, pa, pb, pd).unwrap();
    [&to, &bias, &auxiliary].map(|buffer| d.stream.clone_dtoh(buffer).unwrap())
}

/// Compares a column-major matrix with a function of its place.
#[track_caller]
fn assert_matrix(found: &[f32], expected: impl Fn(usize, usize) -> f64) {
    for i in 0..M {
        for j in 0..N {
            let off = f64::from(found[j * M + i]) - expected(i, j);
            assert!(off.abs() < 1e-5, "{i} {j}: {off}");
        }
    }
}

#[test]
fn forward_epilogues() {
    let Some(d) = device() else { return };
    let s = setting();
    let plain = |i: usize, j: usize| s.product[i * N + j];
    let biased = |i: usize, j: usize| plain(i, j) + f64::from(s.bias[i]);
    let run = |kind| epilogue(&d, kind, &s);
    assert_matrix(&run(Epilogue::CUBLASLT_EPILOGUE_DEFAULT)[0], plain);
    assert_matrix(&run(Epilogue::CUBLASLT_EPILOGUE_BIAS)[0], biased);
    assert_matrix(&run(Epilogue::CUBLASLT_EPILOGUE_RELU)[0], |i, j| {
        plain(i, j).max(0.0)
    });
    assert_matrix(&run(Epilogue::CUBLASLT_EPILOGUE_RELU_BIAS)[0], |i, j| {
        biased(i, j).max(0.0)
    });
    assert_matrix(&run(Epilogue::CUBLASLT_EPILOGUE_GELU)[0], |i, j| {
        gelu(plain(i, j))
    });
    assert_matrix(&run(Epilogue::CUBLASLT_EPILOGUE_GELU_BIAS)[0], |i, j| {
        gelu(biased(i, j))
    });
    let [found, bias, auxiliary] = run(Epilogue::CUBLASLT_EPILOGUE_GELU_AUX_BIAS);
    assert_matrix(&found, |i, j| gelu(biased(i, j)));
    assert_matrix(&auxiliary, biased);
    assert_eq!(bias, s.bias);
    let [found, _, auxiliary] = run(Epilogue::CUBLASLT_EPILOGUE_GELU_AUX);
    assert_matrix(&found, |i, j| gelu(plain(i, j)));
    assert_matrix(&auxiliary, plain);
}

#[test]
fn backward_epilogues() {
    let Some(d) = device() else { return };
    let s = setting();
    let run = |kind| epilogue(&d, kind, &s);
    let gradient = |i: usize, j: usize| {
        s.product[i * N + j] * gelu_gradient(f64::from(s.auxiliary[j * M + i]))
    };
    let [found, _, auxiliary] = run(Epilogue::CUBLASLT_EPILOGUE_DGELU);
    assert_matrix(&found, gradient);
    assert_eq!(auxiliary, s.auxiliary);
    let [found, bias, _] = run(Epilogue::CUBLASLT_EPILOGUE_DGELU_BGRAD);
    assert_matrix(&found, gradient);
    let sums: Vec<f64> = (0..M)
        .map(|i| (0..N).map(|j| gradient(i, j)).sum())
        .collect();
    crate::support::assert_near(&bias, &sums, 1e-5);
    let [found, bias, _] = run(Epilogue::CUBLASLT_EPILOGUE_BGRADA);
    assert_matrix(&found, |i, j| s.product[i * N + j]);
    let sums: Vec<f64> = (0..M)
        .map(|i| (0..K).map(|p| f64::from(s.a[p * M + i])).sum())
        .collect();
    crate::support::assert_near(&bias, &sums, 1e-5);
    let [_, bias, _] = run(Epilogue::CUBLASLT_EPILOGUE_BGRADB);
    let sums: Vec<f64> = (0..N)
        .map(|j| (0..K).map(|p| f64::from(s.b[j * K + p])).sum())
        .collect();
    crate::support::assert_near(&bias[..N], &sums, 1e-5);
}

#[test]
fn bf16_with_a_bias() {
    let Some(d) = device() else { return };
    let s = setting();
    let half = |values: &[f32]| values.iter().map(|v| to_bf16(*v)).collect::<Vec<u16>>();
    let (a, b, bias) = (half(&s.a), half(&s.b), half(&s.bias));
    let matmul = Matmul::new(
        Type::CUDA_R_16BF,
        Compute::CUBLAS_COMPUTE_32F,
        (M, N, K),
        (false, false),
        [M, K, M],
    );
    matmul.set(
        DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE,
        &(Epilogue::CUBLASLT_EPILOGUE_BIAS as u32),
    );
    let (da, db) = (
        d.stream.clone_htod(&a).unwrap(),
        d.stream.clone_htod(&b).unwrap(),
    );
    let dbias = d.stream.clone_htod(&bias).unwrap();
    let mut to = d.stream.alloc_zeros::<u16>(M * N).unwrap();
    matmul.set(
        DescAttribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER,
        &dbias.device_ptr(&d.stream).0,
    );
    let (pa, pb, pd) = (
        da.device_ptr(&d.stream).0,
        db.device_ptr(&d.stream).0,
        to.device_ptr_mut(&d.stream).0,
    );
    matmul.run(&d, 1.0, 0.0, pa, pb, pd).unwrap();
    let found: Vec<f32> = d
        .stream
        .clone_dtoh(&to)
        .unwrap()
        .into_iter()
        .map(from_bf16)
        .collect();
    let wide = |bits: u16| f64::from(from_bf16(bits));
    for i in 0..M {
        for j in 0..N {
            let sum: f64 = (0..K)
                .map(|p| wide(a[p * M + i]) * wide(b[j * K + p]))
                .sum();
            let expected = sum + wide(bias[i]);
            let off = (f64::from(found[j * M + i]) - expected).abs();
            assert!(off <= expected.abs() / 256.0 + 1e-6, "{off}");
        }
    }
}

#[test]
fn wrong_descriptors_get_the_librarys_status_and_a_reason() {
    let name = test_name!();
    let finished = child(name, &[], |d| {
        let invalid = Err(cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE);
        let unsupported = Err(cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED);
        let buffers: Vec<_> = (0..3)
            .map(|_| d.stream.alloc_zeros::<f32>(1000).unwrap())
            .collect();
        let [a, b, to] = [0, 1, 2].map(|i| buffers[i].device_ptr(&d.stream).0);
        let new = |leading| {
            Matmul::new(
                Type::CUDA_R_32F,
                Compute::CUBLAS_COMPUTE_32F,
                (8, 4, 8),
                (false, false),
                leading,
            )
        };
        let good = new([8, 8, 8]);
        assert_eq!(good.run(d, 1.0, 0.0, a, b, to), Ok(()));
        assert_eq!(new([7, 8, 8]).run(d, 1.0, 0.0, a, b, to), invalid);
        // The default preference promises 256 bytes, of which 16 are made use of.
        assert_eq!(good.run(d, 1.0, 0.0, a + 4, b, to), invalid);
        let mismatch = Matmul::new(
            Type::CUDA_R_32F,
            Compute::CUBLAS_COMPUTE_32F,
            (8, 4, 8),
            (false, false),
            [8, 8, 8],
        );
        mismatch.set_layout(
            mismatch.b,
            LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_ROWS,
            &9u64,
        );
        assert_eq!(mismatch.run(d, 1.0, 0.0, a, b, to), invalid);
        let biased = new([8, 8, 8]);
        biased.set(
            DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE,
            &(Epilogue::CUBLASLT_EPILOGUE_BIAS as u32),
        );
        assert_eq!(biased.run(d, 1.0, 0.0, a, b, to), invalid);
        let auxiliary = new([8, 8, 8]);
        auxiliary.set(
            DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE,
            &(Epilogue::CUBLASLT_EPILOGUE_GELU_AUX as u32),
        );
        auxiliary.set(
            DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER,
            &(to + 512),
        );
        auxiliary.set(DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &12i64);
        assert_eq!(auxiliary.run(d, 1.0, 0.0, a, b, to), invalid);
        let mask = new([8, 8, 8]);
        mask.set(
            DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE,
            &(Epilogue::CUBLASLT_EPILOGUE_RELU_AUX as u32),
        );
        assert_eq!(mask.run(d, 1.0, 0.0, a, b, to), unsupported);
        // An attribute of 4 bytes given as 8.
        let wide = 1u64;
        let set = unsafe {
            result::set_matmul_desc_attribute(
                good.desc,
                DescAttribute::CUBLASLT_MATMUL_DESC_TRANSA,
                (&raw const wide).cast(),
                8,
            )
        };
        assert_eq!(set.map_err(|e| e.0), invalid);
        let one = 1.0f32;
        let unchosen = sys::cublasLtMatmulAlgo_t { data: [0; 8] };
        let ran = unsafe {
            result::matmul(
                good.library,
                good.desc,
                (&raw const one).cast(),
                (&raw const one).cast(),
                a as _,
                good.a,
                b as _,
                good.b,
                to as _,
                good.d,
                to as _,
                good.d,
                &unchosen,
                std::ptr::null_mut(),
                0,
                d.stream.cu_stream() as _,
            )
        };
        assert_eq!(ran.map_err(|e| e.0), invalid);
        d.stream.synchronize().unwrap();
    });
    let Some(finished) = finished else { return };
    assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
    for text in [
        "the leading dimension of A is 7, at least 8 is needed",
        "A at 0x",
        "op(A) is 8 x 8, op(B) 9 x 4",
        "the bias pointer is 0x0",
        "the auxiliary leading dimension 12 must be a multiple of 8",
        "epilogue 130",
        "attribute 3 has 4 bytes, not 8",
        "comes from no heuristic",
    ] {
        assert!(
            finished.stderr.contains(text),
            "`{text}` is missing in:\n{}",
            finished.stderr
        );
    }
}

#[test]
fn an_algorithm_fits_its_own_descriptors_and_its_workspace() {
    let Some(d) = device() else { return };
    let buffers: Vec<_> = (0..3)
        .map(|_| d.stream.alloc_zeros::<f32>(1000).unwrap())
        .collect();
    let [a, b, to] = [0, 1, 2].map(|i| buffers[i].device_ptr(&d.stream).0);
    let matmul = Matmul::new(
        Type::CUDA_R_32F,
        Compute::CUBLAS_COMPUTE_32F,
        (8, 4, 8),
        (false, false),
        [8, 8, 8],
    );
    let preference = result::create_matmul_pref().unwrap();
    let bytes = 1usize << 20;
    let attribute = PrefAttribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
    unsafe {
        result::set_matmul_pref_attribute(preference, attribute, (&raw const bytes).cast(), 8)
    }
    .unwrap();
    let chosen = unsafe {
        result::get_matmul_algo_heuristic(
            matmul.library,
            matmul.desc,
            matmul.a,
            matmul.b,
            matmul.d,
            matmul.d,
            preference,
        )
    }
    .unwrap();
    assert_eq!(chosen.workspaceSize, 64 << 10);
    let workspace = d.stream.alloc_zeros::<u8>(chosen.workspaceSize).unwrap();
    let run = |desc: &Matmul, at: u64, bytes: usize| {
        let (one, zero) = (1.0f32, 0.0f32);
        unsafe {
            result::matmul(
                desc.library,
                desc.desc,
                (&raw const one).cast(),
                (&raw const zero).cast(),
                a as _,
                desc.a,
                b as _,
                desc.b,
                to as _,
                desc.d,
                to as _,
                desc.d,
                &chosen.algo,
                at as _,
                bytes,
                d.stream.cu_stream() as _,
            )
        }
        .map_err(|e| e.0)
    };
    let at = workspace.device_ptr(&d.stream).0;
    let invalid = Err(cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE);
    assert_eq!(run(&matmul, at, chosen.workspaceSize), Ok(()));
    assert_eq!(run(&matmul, at, chosen.workspaceSize - 1), invalid);
    assert_eq!(run(&matmul, at, chosen.workspaceSize * 2), invalid);
    let other = Matmul::new(
        Type::CUDA_R_32F,
        Compute::CUBLAS_COMPUTE_32F,
        (8, 5, 8),
        (false, false),
        [8, 8, 8],
    );
    assert_eq!(run(&other, at, chosen.workspaceSize), invalid);
    unsafe { result::destroy_matmul_pref(preference) }.unwrap();
    d.stream.synchronize().unwrap();
}
