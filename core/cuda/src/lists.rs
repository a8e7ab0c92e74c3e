//! Lists of pointers on the device, from which products of batches are computed that no stride describes.
//!
//! Owns: their memory, one piece for all lists of a program. Must not know: what is multiplied.

use crate::device::Stream;
use crate::error::{CudaError, Named};
use crate::memory::Memory;
use cudarc::driver::result as cu;

/// Memory of the device for lists of pointers, one after another.
#[derive(Debug)]
pub struct Lists {
    memory: Memory,
}

impl Lists {
    /// Room for this many pointers. The device must be current.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn new(pointers: usize) -> Result<Self, CudaError> {
        let words = pointers * size_of::<u64>() / size_of::<f32>();
        let memory = Memory::new(words, "the addresses of batched products")?;
        Ok(Lists { memory })
    }

    /// Where a pointer will lie.
    pub fn address_of(&self, pointer: usize) -> u64 {
        self.memory.address() + (pointer * size_of::<u64>()) as u64
    }

    /// Copies pointers to the device, of which there must be no more than there is room for, and waits for that.
    ///
    /// # Errors
    /// The driver refuses, or work before failed.
    pub fn write(&self, pointers: &[u64], stream: &Stream) -> Result<(), CudaError> {
        let room = self.memory.len() * size_of::<f32>() / size_of::<u64>();
        let pointers = &pointers[..pointers.len().min(room)];
        if pointers.is_empty() {
            return Ok(());
        }
        // SAFETY: cut to what fits; the pointers live until the stream has been waited for.
        unsafe { cu::memcpy_htod_async(self.memory.address(), pointers, stream.0) }
            .call("cuMemcpyHtoDAsync")?;
        stream.wait()
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        (self.memory.len() * size_of::<f32>()) as u64
    }
}
