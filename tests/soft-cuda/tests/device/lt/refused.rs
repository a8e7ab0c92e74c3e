//! cuBLASLt: descriptors and algorithms that are turned down.

use super::Matmul;
use crate::support::{child, device};
use ablate_soft_cuda::test_name;
use cudarc::cublaslt::result;
use cudarc::cublaslt::sys::{
    self, cublasComputeType_t as Compute, cublasLtEpilogue_t as Epilogue,
    cublasLtMatmulDescAttributes_t as DescAttribute,
    cublasLtMatmulPreferenceAttributes_t as PrefAttribute,
    cublasLtMatrixLayoutAttribute_t as LayoutAttribute, cublasStatus_t, cudaDataType as Type,
};
use cudarc::driver::DevicePtr;

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
fn epilogues_that_do_not_go_with_their_matrices_are_turned_down() {
    let name = test_name!();
    let finished = child(name, &[], |d| {
        let invalid = Err(cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE);
        let unsupported = Err(cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED);
        let buffers: Vec<_> = (0..4)
            .map(|_| d.stream.alloc_zeros::<f32>(1000).unwrap())
            .collect();
        let [a, b, to, bias] = [0, 1, 2, 3].map(|i| buffers[i].device_ptr(&d.stream).0);
        let new = |kind, epilogue: Epilogue, at: u64| {
            let matmul = Matmul::new(
                kind,
                Compute::CUBLAS_COMPUTE_32F,
                (8, 4, 8),
                (false, false),
                [8, 8, 8],
            );
            matmul.set(
                DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE,
                &(epilogue as u32),
            );
            matmul.set(DescAttribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &at);
            matmul
        };
        let (f32_, bf16) = (Type::CUDA_R_32F, Type::CUDA_R_16BF);
        let added = Epilogue::CUBLASLT_EPILOGUE_BIAS;
        let batched = |matmul: &Matmul, counts: [i32; 3]| {
            for (layout, count) in [matmul.a, matmul.b, matmul.d].into_iter().zip(counts) {
                let attribute = LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
                matmul.set_layout(layout, attribute, &count);
                let attribute = LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET;
                matmul.set_layout(layout, attribute, &64i64);
            }
        };
        let run = |matmul: &Matmul| matmul.run(d, 1.0, 0.0, a, b, to);
        assert_eq!(run(&new(f32_, added, bias)), Ok(()));
        assert_eq!(run(&new(f32_, added, bias + 2)), invalid);
        // A bias in single precision for a result in bfloat16.
        let wide = new(bf16, added, bias);
        wide.set(
            DescAttribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
            &(f32_ as i32),
        );
        assert_eq!(run(&wide), unsupported);
        let rows = new(f32_, added, bias);
        rows.set_layout(rows.d, LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_ORDER, &1i32);
        assert_eq!(run(&rows), unsupported);
        let uneven = new(f32_, added, bias);
        batched(&uneven, [2, 1, 2]);
        assert_eq!(run(&uneven), invalid);
        let even = new(f32_, added, bias);
        batched(&even, [2, 2, 2]);
        assert_eq!(run(&even), Ok(()));
        let gradient = new(f32_, Epilogue::CUBLASLT_EPILOGUE_BGRADB, bias);
        assert_eq!(run(&gradient), Ok(()));
        batched(&gradient, [2, 2, 2]);
        assert_eq!(run(&gradient), unsupported);
        d.stream.synchronize().unwrap();
    });
    let Some(finished) = finished else { return };
    assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
    for text in [
        "a bias of F32 with D of Bf16",
        "epilogue 4 with a row-major D",
        "batch counts of A, B, C, D: [2, 1, 2], 2",
        "bias gradients of a batch",
    ] {
        assert!(
            finished.stderr.contains(text),
            "`{text}` is missing in:\n{}",
            finished.stderr
        );
    }
}

#[test]
fn a_bias_beyond_its_buffer_is_an_illegal_address() {
    let name = test_name!();
    let finished = child(name, &[], |d| {
        let buffers: Vec<_> = (0..4)
            .map(|_| d.stream.alloc_zeros::<f32>(64).unwrap())
            .collect();
        let [a, b, to, bias] = [0, 1, 2, 3].map(|i| buffers[i].device_ptr(&d.stream).0);
        let matmul = Matmul::new(
            Type::CUDA_R_32F,
            Compute::CUBLAS_COMPUTE_32F,
            (8, 4, 8),
            (false, false),
            [8, 8, 8],
        );
        matmul.set(
            DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE,
            &(Epilogue::CUBLASLT_EPILOGUE_BIAS as u32),
        );
        // Seven of the eight numbers are there.
        let at = bias + 57 * 4;
        matmul.set(DescAttribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &at);
        assert_eq!(matmul.run(d, 1.0, 0.0, a, b, to), Ok(()));
        let status = cudarc::driver::sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS;
        assert_eq!(d.stream.synchronize().unwrap_err().0, status);
    });
    let Some(finished) = finished else { return };
    assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
    assert!(
        finished.stderr.contains("bias: reads"),
        "{}",
        finished.stderr
    );
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
