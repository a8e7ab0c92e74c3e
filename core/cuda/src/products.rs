//! Matrix products by cuBLAS.

use crate::device::Stream;
use crate::error::{CudaError, Named};
use crate::memory::Memory;
use crate::print::LibraryProduct;
use crate::Precision;
use ablate_compiler::program::Storage;
use cudarc::cublas::result as blas;
use cudarc::cublas::sys;

/// Scratch memory of the library, as NVIDIA recommends for its largest devices. Given by us, so that the
/// library allocates nothing while a graph is captured and always chooses alike.
const WORKSPACE_BYTES: usize = 32 << 20;

static ONE: f32 = 1.0;
static ZERO: f32 = 0.0;

/// The library, bound to a stream.
#[derive(Debug)]
pub struct Products {
    handle: sys::cublasHandle_t,
    workspace: Memory,
    compute: sys::cublasComputeType_t,
}

impl Products {
    /// Opens the library on a stream. The device must be current.
    ///
    /// # Errors
    /// The library refuses, or there is no memory for its workspace.
    pub fn new(stream: &Stream, precision: Precision) -> Result<Self, CudaError> {
        use sys::cublasComputeType_t as Compute;
        let workspace = Memory::new(WORKSPACE_BYTES / size_of::<f32>(), "cuBLAS's workspace")?;
        let products = Products {
            handle: blas::create_handle().call("cublasCreate")?,
            workspace,
            compute: match precision {
                Precision::F32 => Compute::CUBLAS_COMPUTE_32F,
                Precision::Tf32 => Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
                Precision::Bf16 => Compute::CUBLAS_COMPUTE_32F_FAST_16BF,
            },
        };
        // SAFETY: handle, stream and workspace live as long as the session. Setting the stream resets the
        // workspace, so it comes first.
        unsafe {
            blas::set_stream(products.handle, stream.0.cast()).call("cublasSetStream")?;
            let address = products.workspace.address() as *mut _;
            sys::cublasSetWorkspace_v2(products.handle, address, WORKSPACE_BYTES)
                .result()
                .call("cublasSetWorkspace")?;
        }
        Ok(products)
    }

    /// Bytes of the workspace.
    pub fn workspace_bytes(&self) -> u64 {
        WORKSPACE_BYTES as u64
    }

    /// Queues a product of buffers at these addresses.
    ///
    /// # Errors
    /// The library refuses.
    ///
    /// # Safety
    /// The buffers are those of the product, and live until the stream has come past.
    pub unsafe fn run(
        &self,
        product: &LibraryProduct,
        addresses: [u64; 3],
    ) -> Result<(), CudaError> {
        use sys::cublasOperation_t as Op;
        let op = |transposed| {
            if transposed {
                Op::CUBLAS_OP_T
            } else {
                Op::CUBLAS_OP_N
            }
        };
        let [op_a, op_b] = product.transposed.map(op);
        // All of them fit: the printer made sure.
        let [m, n, k] = product.sizes.map(|size| size as i32);
        let [lda, ldb, ldc] = product.leading.map(|leading| leading as i32);
        let [stride_a, stride_b, stride_c] = product.strides.map(|stride| stride as i64);
        let data_type = |storage| match storage {
            Storage::F32 => sys::cudaDataType::CUDA_R_32F,
            Storage::Bf16 => sys::cudaDataType::CUDA_R_16BF,
        };
        let [type_a, type_b, type_c] = product.storage.map(data_type);
        // Rounded operands are multiplied as they are; what is rounded on the way is f32 in memory.
        let compute = match product.storage {
            [Storage::F32, ..] => self.compute,
            _ => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let algorithm = sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT;
        let (one, zero) = ((&raw const ONE).cast(), (&raw const ZERO).cast());
        for offsets in &product.offsets {
            let at = |i: usize| {
                let bytes = product.storage[i].bytes() as i64;
                addresses[i].wrapping_add_signed(offsets[i] as i64 * bytes)
            };
            let (a, b, c) = (at(0) as *const _, at(1) as *const _, at(2) as *mut _);
            // SAFETY: the caller's promise; the compiler verified that products stay inside of their
            // buffers.
            let queued = unsafe {
                match product.batch {
                    1 => blas::gemm_ex(
                        self.handle,
                        op_a,
                        op_b,
                        m,
                        n,
                        k,
                        one,
                        a,
                        type_a,
                        lda,
                        b,
                        type_b,
                        ldb,
                        zero,
                        c,
                        type_c,
                        ldc,
                        compute,
                        algorithm,
                    ),
                    batch => blas::gemm_strided_batched_ex(
                        self.handle,
                        op_a,
                        op_b,
                        m,
                        n,
                        k,
                        one,
                        a,
                        type_a,
                        lda,
                        stride_a,
                        b,
                        type_b,
                        ldb,
                        stride_b,
                        zero,
                        c,
                        type_c,
                        ldc,
                        stride_c,
                        batch as i32,
                        compute,
                        algorithm,
                    ),
                }
            };
            queued.call("cublasGemmEx")?;
        }
        Ok(())
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        // SAFETY: created once; the session has waited for all work.
        let _ = unsafe { blas::destroy_handle(self.handle) };
    }
}
