//! Matrix products by cuBLAS, and by cuBLASLt where they have an epilogue.

use crate::device::Stream;
use crate::epilogues::{Epilogues, Queue};
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

/// Bytes that an address must be a multiple of for tensor cores to load vectors from it.
const ALIGNMENT: u64 = 16;

static ONE: f32 = 1.0;
static ZERO: f32 = 0.0;

/// The library, bound to a stream.
#[derive(Debug)]
pub struct Products {
    handle: sys::cublasHandle_t,
    workspace: Memory,
    compute: sys::cublasComputeType_t,
    /// Nothing where cuBLASLt is not there.
    epilogues: Option<Epilogues>,
}

/// What a product is given beside its operands and result.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given {
    /// Device addresses of lists of pointers to all matrices of the operands and the result, where it is to be
    /// computed from such.
    pub lists: Option<[u64; 3]>,
    /// Number of [`Products::plan`] and address of the epilogue's vector, where it has one.
    pub epilogue: Option<(usize, u64)>,
}

impl Products {
    /// Opens the library on a stream, and cuBLASLt for `epilogues`. The device must be current.
    ///
    /// # Errors
    /// The library refuses, or there is no memory for its workspace.
    pub fn new(stream: &Stream, precision: Precision, epilogues: bool) -> Result<Self, CudaError> {
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
            epilogues: match epilogues {
                true => Some(Epilogues::new(precision, WORKSPACE_BYTES)?),
                false => None,
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

    /// Whether the library may be given lists of these addresses: where it rounds operands it uses tensor cores, and
    /// takes for granted that matrices of a list, which it does not see when it chooses a kernel, lie at multiples
    /// of 16 bytes (reference of `cublasGemmBatchedEx`).
    pub fn takes_lists(&self, lists: &[Vec<u64>; 3]) -> bool {
        let aligned = |address: &u64| address.is_multiple_of(ALIGNMENT);
        self.compute == sys::cublasComputeType_t::CUBLAS_COMPUTE_32F
            || lists.iter().flatten().all(aligned)
    }

    /// The number of the plan for a product with an epilogue, whose buffers lie at multiples of these bytes;
    /// nothing where the library does not do it.
    pub fn plan(&mut self, product: &LibraryProduct, alignment: [u64; 3]) -> Option<usize> {
        if product.storage != [Storage::F32; 3] {
            return None;
        }
        let first = product.offsets.first()?;
        let aligned = [0, 1, 2].map(|operand| {
            let bytes = first[operand].unsigned_abs() as u64 * size_of::<f32>() as u64;
            // The largest power of two of which both are multiples, as far as anyone asks.
            1 << (alignment[operand] | bytes | 256).trailing_zeros()
        });
        self.epilogues.as_mut()?.plan(product, aligned)
    }

    /// Queues a product of buffers at these addresses.
    ///
    /// # Errors
    /// The library refuses.
    ///
    /// # Safety
    /// The buffers, lists and vector are those of the product, and live until the stream has come past.
    pub unsafe fn run(
        &self,
        product: &LibraryProduct,
        addresses: [u64; 3],
        given: Given,
        stream: &Stream,
    ) -> Result<(), CudaError> {
        if let (Some((plan, vector)), Some(epilogues), Some(first)) =
            (given.epilogue, &self.epilogues, product.offsets.first())
        {
            let bytes = |operand: usize| first[operand] as i64 * size_of::<f32>() as i64;
            let at = [0, 1, 2].map(|i| addresses[i].wrapping_add_signed(bytes(i)));
            let queue = Queue {
                stream,
                workspace: self.workspace.address(),
            };
            // SAFETY: the caller's promise.
            return unsafe { epilogues.run(plan, at, vector, &queue) };
        }
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
        if let Some([a, b, c]) = given.lists {
            // SAFETY: the caller's promise.
            return unsafe {
                sys::cublasGemmBatchedEx(
                    self.handle,
                    op_a,
                    op_b,
                    m,
                    n,
                    k,
                    one,
                    a as *const _,
                    type_a,
                    lda,
                    b as *const _,
                    type_b,
                    ldb,
                    zero,
                    c as *const _,
                    type_c,
                    ldc,
                    product.matrices().count() as i32,
                    compute,
                    algorithm,
                )
            }
            .result()
            .call("cublasGemmBatchedEx");
        }
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
