//! cuBLAS: batches whose matrices lie where lists of pointers say.

use super::{op, Blas, Stored, ALGORITHM};
use crate::support::{child, device, Device};
use ablate_soft_cuda::test_name;
use cudarc::cublas::sys::{
    self, cublasComputeType_t as Compute, cublasStatus_t, cudaDataType as Type,
};
use cudarc::driver::sys::CUresult;
use cudarc::driver::{DevicePtr, DevicePtrMut};

/// A call; all matrices in f32, whose columns lie without gaps.
#[derive(Clone, Copy)]
struct Call {
    transpose: (bool, bool),
    sizes: [usize; 3],
    leading: [usize; 3],
    lists: [u64; 3],
    batch: usize,
    compute: Compute,
}

fn run(blas: &Blas, call: Call) -> cublasStatus_t {
    let (one, zero) = (1.0f32, 0.0f32);
    let [m, n, k] = call.sizes.map(|size| size as i32);
    let [lda, ldb, ldc] = call.leading.map(|leading| leading as i32);
    let [a, b, c] = call.lists;
    let real = Type::CUDA_R_32F;
    unsafe {
        sys::cublasGemmBatchedEx(
            blas.0,
            op(call.transpose.0),
            op(call.transpose.1),
            m,
            n,
            k,
            (&raw const one).cast(),
            a as _,
            real,
            lda,
            b as _,
            real,
            ldb,
            (&raw const zero).cast(),
            c as _,
            real,
            ldc,
            call.batch as i32,
            call.compute,
            ALGORITHM,
        )
    }
}

/// Matrices of a buffer in another order than they lie in.
const ORDER: [usize; 5] = [3, 0, 4, 2, 1];

#[test]
fn every_transposition_in_any_order_matches_a_plain_sum() {
    let Some(d) = device() else { return };
    let blas = Blas::new(&d);
    let (m, n, k) = (7, 5, 9);
    for transpose in [(false, false), (false, true), (true, false), (true, true)] {
        let shape = |transposed, rows, columns| match transposed {
            true => (columns, rows),
            false => (rows, columns),
        };
        let (ra, ca) = shape(transpose.0, m, k);
        let (rb, cb) = shape(transpose.1, k, n);
        let a = Stored::new("a", ra, ca, 5, 1);
        let b = Stored::new("b", rb, cb, 5, 2);
        let c = Stored::new("c", m, n, 5, 0);
        let (da, db) = (
            d.stream.clone_htod(&a.values).unwrap(),
            d.stream.clone_htod(&b.values).unwrap(),
        );
        let mut dc = d.stream.clone_htod(&c.values).unwrap();
        let starts = [
            da.device_ptr(&d.stream).0,
            db.device_ptr(&d.stream).0,
            dc.device_ptr_mut(&d.stream).0,
        ];
        // A in order, B and the results shuffled.
        let at = |operand: usize, stored: &Stored, i: usize| {
            starts[operand] + (i * stored.stride * 4) as u64
        };
        let lists: Vec<u64> = (0..5)
            .map(|i| at(0, &a, i))
            .chain(ORDER.iter().map(|i| at(1, &b, *i)))
            .chain((0..5).map(|i| at(2, &c, 4 - i)))
            .collect();
        let lists = d.stream.clone_htod(&lists).unwrap();
        let list = lists.device_ptr(&d.stream).0;
        let call = Call {
            transpose,
            sizes: [m, n, k],
            leading: [a.leading, b.leading, c.leading],
            lists: [list, list + 40, list + 80],
            batch: 5,
            compute: Compute::CUBLAS_COMPUTE_32F,
        };
        run(&blas, call).result().unwrap();
        let found = d.stream.clone_dtoh(&dc).unwrap();
        for (z, of_b) in ORDER.into_iter().enumerate() {
            for i in 0..m {
                for j in 0..n {
                    let terms =
                        (0..k).map(|p| a.at(z, i, p, transpose.0) * b.at(of_b, p, j, transpose.1));
                    let expected: f64 = terms.sum();
                    let value = found[(4 - z) * c.stride + j * c.leading + i];
                    assert!((f64::from(value) - expected).abs() < 1e-5);
                }
            }
        }
    }
}

/// Three buffers of 64 numbers and lists of two matrices of 4 x 4 in each.
struct Setup {
    buffers: Vec<cudarc::driver::CudaSlice<f32>>,
    lists: cudarc::driver::CudaSlice<u64>,
}

impl Setup {
    fn new(d: &Device, change: impl Fn(&mut [u64])) -> Self {
        let new = || d.stream.clone_htod(&[1.0f32; 64]).unwrap();
        let buffers: Vec<_> = (0..3).map(|_| new()).collect();
        let starts = [0, 1, 2].map(|i: usize| buffers[i].device_ptr(&d.stream).0);
        let mut lists: Vec<u64> = starts.iter().flat_map(|at| [*at, at + 64]).collect();
        change(&mut lists);
        let lists = d.stream.clone_htod(&lists).unwrap();
        Setup { buffers, lists }
    }

    fn call(&self, d: &Device) -> Call {
        let list = self.lists.device_ptr(&d.stream).0;
        Call {
            transpose: (false, false),
            sizes: [4, 4, 4],
            leading: [4; 3],
            lists: [list, list + 16, list + 32],
            batch: 2,
            compute: Compute::CUBLAS_COMPUTE_32F,
        }
    }
}

#[test]
fn lists_are_read_when_a_graph_runs() {
    let Some(d) = device() else { return };
    let blas = Blas::new(&d);
    let mut setup = Setup::new(&d, |_| {});
    let call = setup.call(&d);
    let mode = cudarc::driver::sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    d.stream.synchronize().unwrap();
    d.stream.begin_capture(mode).unwrap();
    run(&blas, call).result().unwrap();
    let flags =
        cudarc::driver::sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    let graph = d.stream.end_capture(flags).unwrap().unwrap();
    graph.launch().unwrap();
    let results = |setup: &Setup| d.stream.clone_dtoh(&setup.buffers[2]).unwrap();
    let found = results(&setup);
    assert!(found[..32].iter().all(|v| *v == 4.0) && found[32..].iter().all(|v| *v == 1.0));
    // The second result goes elsewhere now.
    let mut lists = d.stream.clone_dtoh(&setup.lists).unwrap();
    lists[5] += 128;
    d.stream.memcpy_htod(&lists, &mut setup.lists).unwrap();
    graph.launch().unwrap();
    let found = results(&setup);
    assert!(found[48..].iter().all(|v| *v == 4.0));
}

#[test]
fn wrong_lists_are_refused() {
    let name = test_name!();
    let finished = child(name, &[], |d| {
        let blas = Blas::new(d);
        let setup = Setup::new(d, |_| {});
        let good = setup.call(d);
        let [a, b, c] = good.lists;
        assert_eq!(run(&blas, good), cublasStatus_t::CUBLAS_STATUS_SUCCESS);
        let invalid = cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE;
        for (lists, leading) in [
            ([0, b, c], [4, 4, 4]),
            ([a, b + 4, c], [4, 4, 4]),
            ([a, b, c], [4, 4, 3]),
        ] {
            let call = Call {
                lists,
                leading,
                ..good
            };
            assert_eq!(run(&blas, call), invalid);
        }
        // No products need no lists.
        let none = Call {
            lists: [0; 3],
            batch: 0,
            ..good
        };
        assert_eq!(run(&blas, none), cublasStatus_t::CUBLAS_STATUS_SUCCESS);
        d.stream.synchronize().unwrap();
    });
    let Some(finished) = finished else { return };
    assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
    for text in [
        "Aarray is null",
        "is not a multiple of a pointer's 8 bytes",
        "the leading dimension of C is 3, at least 4 is needed",
    ] {
        assert!(finished.stderr.contains(text), "{}", finished.stderr);
    }
}

/// Runs a call in a child, which must fail while it runs with this status and a line with this text.
fn fails(
    name: &str,
    status: CUresult,
    text: &str,
    change: impl Fn(&mut [u64]),
    altered: impl FnOnce(Call) -> Call,
) {
    let finished = child(name, &[], |d| {
        let blas = Blas::new(d);
        let setup = Setup::new(d, &change);
        let call = altered(setup.call(d));
        assert_eq!(run(&blas, call), cublasStatus_t::CUBLAS_STATUS_SUCCESS);
        assert_eq!(d.stream.synchronize().unwrap_err().0, status);
    });
    let Some(finished) = finished else { return };
    assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
    assert!(finished.stderr.contains(text), "{}", finished.stderr);
}

#[test]
fn a_list_of_the_host_is_an_illegal_address() {
    let pointers = [0u64; 2];
    let host = pointers.as_ptr() as u64;
    let list = |call: Call| Call {
        lists: [call.lists[0], host, call.lists[2]],
        ..call
    };
    let status = CUresult::CUDA_ERROR_ILLEGAL_ADDRESS;
    fails(test_name!(), status, "Barray: reads", |_| {}, list);
}

#[test]
fn a_list_that_is_too_short_is_an_illegal_address() {
    let more = |call: Call| Call { batch: 3, ..call };
    let status = CUresult::CUDA_ERROR_ILLEGAL_ADDRESS;
    fails(test_name!(), status, "Carray: reads", |_| {}, more);
}

#[test]
fn a_null_pointer_in_a_list_is_an_illegal_address() {
    let status = CUresult::CUDA_ERROR_ILLEGAL_ADDRESS;
    let text = "product 1 of the lists: A is null";
    fails(test_name!(), status, text, |l| l[1] = 0, |call| call);
}

#[test]
fn a_matrix_beyond_its_buffer_is_an_illegal_address() {
    let status = CUresult::CUDA_ERROR_ILLEGAL_ADDRESS;
    let text = "product 1 of the lists: B: reads";
    fails(test_name!(), status, text, |l| l[3] += 160, |call| call);
}

#[test]
fn tensor_cores_need_matrices_at_multiples_of_16_bytes() {
    // Four summed positions need 4 bytes, eight need 16.
    let k = |k: usize| {
        move |call: Call| Call {
            sizes: [4, 2, k],
            leading: [4, k, 4],
            compute: Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
            ..call
        }
    };
    if let Some(d) = device() {
        let blas = Blas::new(&d);
        let setup = Setup::new(&d, |l| l[1] += 4);
        let call = k(4)(setup.call(&d));
        assert_eq!(run(&blas, call), cublasStatus_t::CUBLAS_STATUS_SUCCESS);
        d.stream.synchronize().unwrap();
    }
    let status = CUresult::CUDA_ERROR_MISALIGNED_ADDRESS;
    let text = "Aarray[1] is";
    fails(test_name!(), status, text, |l| l[1] += 4, k(8));
}

#[test]
fn results_of_a_list_that_overlap_are_found() {
    let status = CUresult::CUDA_ERROR_LAUNCH_FAILED;
    let text = "products of the lists: results overlap";
    fails(test_name!(), status, text, |l| l[5] -= 4, |call| call);
}

#[test]
fn a_result_over_another_products_operand_is_found() {
    let status = CUresult::CUDA_ERROR_LAUNCH_FAILED;
    let text = "a result overlaps a matrix of B";
    fails(test_name!(), status, text, |l| l[2] = l[5], |call| call);
}
