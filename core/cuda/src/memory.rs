//! Memory of the device, and pinned memory of the host.
//!
//! Owns: allocations, freed when they are dropped, and copies. Must not know: what lies in them.

use crate::device::Stream;
use crate::error::{CudaError, Named};
use cudarc::driver::result as cu;
use cudarc::driver::sys::CUresult;

/// Memory of the device: 32-bit floats, or words.
#[derive(Debug)]
pub struct Memory {
    address: u64,
    len: usize,
}

impl Memory {
    /// Allocates room for `len` elements for `what`. The device must be current.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn new(len: usize, what: &str) -> Result<Self, CudaError> {
        if len == 0 {
            return Ok(Memory { address: 0, len });
        }
        let bytes = len * size_of::<f32>();
        // SAFETY: freed once, in `drop`.
        match unsafe { cu::malloc_sync(bytes) } {
            Ok(address) => Ok(Memory { address, len }),
            Err(e) if e.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                let (free, total) = cu::mem_get_info().call("cuMemGetInfo")?;
                Err(CudaError::OutOfMemory {
                    what: what.into(),
                    needed: bytes as u64,
                    free: free as u64,
                    total: total as u64,
                })
            }
            Err(e) => Err(e).call("cuMemAlloc"),
        }
    }

    /// Address of the first byte; 0 if it is empty.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Fills it from the host and waits for that.
    ///
    /// # Errors
    /// The driver refuses, or work before failed.
    pub fn write(&self, values: &[f32], stream: &Stream) -> Result<(), CudaError> {
        let values = &values[..values.len().min(self.len)];
        if values.is_empty() {
            return Ok(());
        }
        // SAFETY: the memory is at least as long; the host's values live until the stream has been
        // waited for.
        unsafe { cu::memcpy_htod_async(self.address, values, stream.0) }
            .call("cuMemcpyHtoDAsync")?;
        stream.wait()
    }

    /// Copies it to the host and waits for that.
    ///
    /// # Errors
    /// The driver refuses, or work before failed.
    pub fn read(&self, stream: &Stream) -> Result<Vec<f32>, CudaError> {
        let mut values = vec![0.0f32; self.len];
        if values.is_empty() {
            return Ok(values);
        }
        // SAFETY: as long as the memory; it lives until the stream has been waited for.
        let queued = unsafe { cu::memcpy_dtoh_async(&mut values, self.address, stream.0) };
        let done = stream.wait();
        queued.call("cuMemcpyDtoHAsync")?;
        done.map(|()| values)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.address != 0 {
            // SAFETY: allocated once, in `new`; the session has waited for all work.
            let _ = unsafe { cu::free_sync(self.address) };
        }
    }
}

/// Memory of the host that the device copies from and to by itself.
#[derive(Debug)]
pub struct Pinned {
    start: *mut f32,
    len: usize,
}

impl Pinned {
    /// Allocates room for `len` elements, zeros. The device must be current.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn new(len: usize) -> Result<Self, CudaError> {
        if len == 0 {
            let start = std::ptr::NonNull::dangling().as_ptr();
            return Ok(Pinned { start, len });
        }
        let bytes = len * size_of::<f32>();
        // SAFETY: freed once, in `drop`.
        let start = unsafe { cu::malloc_host(bytes, 0) }.call("cuMemHostAlloc")?;
        // SAFETY: as long as was asked for.
        unsafe { start.cast::<u8>().write_bytes(0, bytes) };
        Ok(Pinned {
            start: start.cast(),
            len,
        })
    }

    /// The values. The device must not be writing to them: wait first.
    pub fn as_slice(&self) -> &[f32] {
        // SAFETY: allocated with this length and initialised.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    /// The values. The device must not be using them: wait first.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: allocated with this length and initialised.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }

    /// Queues a copy of all of it to the device.
    ///
    /// # Errors
    /// The driver refuses.
    ///
    /// # Safety
    /// `to` is as long, and both live until the stream has come past.
    pub unsafe fn send(&self, to: u64, stream: &Stream) -> Result<(), CudaError> {
        if self.len == 0 {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { cu::memcpy_htod_async(to, self.as_slice(), stream.0) }.call("cuMemcpyHtoDAsync")
    }

    /// Queues a copy from the device to `at..at + len`.
    ///
    /// # Errors
    /// The driver refuses.
    ///
    /// # Safety
    /// `from` is as long, and both live until the stream has come past.
    pub unsafe fn receive(
        &mut self,
        at: usize,
        len: usize,
        from: u64,
        stream: &Stream,
    ) -> Result<(), CudaError> {
        let to = &mut self.as_mut_slice()[at..at + len];
        // SAFETY: the caller's promise.
        unsafe { cu::memcpy_dtoh_async(to, from, stream.0) }.call("cuMemcpyDtoHAsync")
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: allocated once, in `new`; the session has waited for all work.
            let _ = unsafe { cu::free_host(self.start.cast()) };
        }
    }
}
