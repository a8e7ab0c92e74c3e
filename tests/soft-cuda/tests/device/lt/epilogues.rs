//! cuBLASLt: every epilogue against a plain computation in f64.

use super::Matmul;
use crate::blas::{from_bf16, to_bf16};
use crate::support::{device, numbers, Device};
use cudarc::cublaslt::sys::{
    cublasComputeType_t as Compute, cublasLtEpilogue_t as Epilogue,
    cublasLtMatmulDescAttributes_t as DescAttribute, cudaDataType as Type,
};
use cudarc::driver::{CudaSlice, DevicePtr, DevicePtrMut};

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
