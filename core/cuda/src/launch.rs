//! One piece of work on the device, with its addresses.

use crate::device::Stream;
use crate::error::{CudaError, Named};
use crate::print::LibraryProduct;
use crate::products::{Given, Products};
use cudarc::driver::result as cu;
use cudarc::driver::sys;

/// One piece of work with its addresses.
#[derive(Debug)]
pub enum Launch {
    /// A kernel.
    Kernel {
        /// The kernel.
        function: sys::CUfunction,
        /// Blocks.
        grid: u32,
        /// Threads of a block.
        block: u32,
        /// Bytes of dynamic shared memory.
        shared: u32,
        /// Addresses that it is given.
        arguments: Vec<u64>,
    },
    /// A matrix product.
    Product {
        /// Its layout.
        product: LibraryProduct,
        /// First bytes of the operands' buffers and the result's.
        addresses: [u64; 3],
        /// What else it is given.
        given: Given,
    },
    /// A copy on the device.
    Copy {
        /// Source.
        from: u64,
        /// Destination.
        to: u64,
        /// Bytes.
        bytes: usize,
    },
}

impl Launch {
    /// Queues it.
    ///
    /// # Errors
    /// The driver or the library refuses.
    ///
    /// # Safety
    /// What lies at the addresses is what the kernel was printed for, and lives until the stream has come past.
    pub unsafe fn queue(&self, stream: &Stream, products: &Products) -> Result<(), CudaError> {
        // SAFETY: the caller's promise; a kernel is given as many addresses as it was printed with.
        unsafe {
            match self {
                Launch::Kernel {
                    function,
                    grid,
                    block,
                    shared,
                    arguments,
                } => {
                    // The driver copies the addresses before it returns.
                    let mut pointers: Vec<*mut std::ffi::c_void> = arguments
                        .iter()
                        .map(|a| (&raw const *a).cast_mut().cast())
                        .collect();
                    let (grid, block) = ((*grid, 1, 1), (*block, 1, 1));
                    cu::launch_kernel(*function, grid, block, *shared, stream.0, &mut pointers)
                        .call("cuLaunchKernel")
                }
                Launch::Product {
                    product,
                    addresses,
                    given,
                } => products.run(product, *addresses, *given, stream),
                Launch::Copy { from, to, bytes } => {
                    cu::memcpy_dtod_async(*to, *from, *bytes, stream.0).call("cuMemcpyDtoDAsync")
                }
            }
        }
    }
}
