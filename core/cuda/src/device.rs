//! The device: its context, what it is, and the objects that live in it.
//!
//! Owns: handles of the driver, released when they are dropped. Must not know: programs.

use crate::error::{CudaError, Named};
use crate::libraries;
use cudarc::driver::result as cu;
use cudarc::driver::sys;
use std::sync::Arc;

/// A device with its primary context, retained.
#[derive(Debug)]
pub struct Device {
    number: sys::CUdevice,
    context: sys::CUcontext,
    /// As the driver calls it.
    pub name: String,
    /// Compute capability: 80 for 8.0.
    pub architecture: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Shared memory that a block may ask for at most.
    pub shared_bytes: u32,
}

// SAFETY: a context may be used by any thread that has made it current, which every entry point does; the
// driver's functions are thread-safe.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Device {
    /// Opens the first device.
    ///
    /// # Errors
    /// A library is missing, there is no device, or it is too old.
    pub fn open() -> Result<Arc<Device>, CudaError> {
        libraries::check()?;
        let none = |e: cu::DriverError| match e.0 {
            sys::CUresult::CUDA_ERROR_NO_DEVICE => CudaError::NoDevice,
            status => CudaError::Call {
                call: "cuInit",
                status: format!("{status:?}"),
            },
        };
        cu::init().map_err(none)?;
        if cu::device::get_count().map_err(none)? == 0 {
            return Err(CudaError::NoDevice);
        }
        let number = cu::device::get(0).call("cuDeviceGet")?;
        let name = cu::device::get_name(number).call("cuDeviceGetName")?;
        use sys::CUdevice_attribute_enum as Attribute;
        let attribute = |attribute| {
            // SAFETY: the device is there.
            unsafe { cu::device::get_attribute(number, attribute) }.call("cuDeviceGetAttribute")
        };
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let shared = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        if major < 7 {
            return Err(CudaError::OldDevice { name, major, minor });
        }
        // SAFETY: the device is there; released once, in `drop`.
        let context =
            unsafe { cu::primary_ctx::retain(number) }.call("cuDevicePrimaryCtxRetain")?;
        let mut device = Device {
            number,
            context,
            name,
            architecture: (major * 10 + minor) as u32,
            memory_bytes: 0,
            shared_bytes: u32::try_from(shared).unwrap_or(0),
        };
        device.make_current()?;
        device.memory_bytes = cu::mem_get_info().call("cuMemGetInfo")?.1 as u64;
        Ok(Arc::new(device))
    }

    /// Makes the context that of this thread.
    ///
    /// # Errors
    /// The driver refuses: the device is lost.
    pub fn make_current(&self) -> Result<(), CudaError> {
        // SAFETY: the context is retained as long as this lives.
        unsafe { cu::ctx::set_current(self.context) }.call("cuCtxSetCurrent")
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: retained once, in `open`. A lost device cannot be released; nothing is to be done then.
        let _ = unsafe { cu::primary_ctx::release(self.number) };
    }
}

/// A queue of work in order.
#[derive(Debug)]
pub struct Stream(pub sys::CUstream);

impl Stream {
    /// A new one. The device must be current.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn new() -> Result<Self, CudaError> {
        let kind = cu::stream::StreamKind::NonBlocking;
        Ok(Stream(cu::stream::create(kind).call("cuStreamCreate")?))
    }

    /// Waits for everything that was queued.
    ///
    /// # Errors
    /// Some of it failed.
    pub fn wait(&self) -> Result<(), CudaError> {
        // SAFETY: the stream is there.
        unsafe { cu::stream::synchronize(self.0) }.call("cuStreamSynchronize")
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: created once, in `new`.
        let _ = unsafe { cu::stream::destroy(self.0) };
    }
}

/// A mark in a stream.
#[derive(Debug)]
pub struct Event(sys::CUevent);

impl Event {
    /// A new one, which keeps the time if `timed`. The device must be current.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn new(timed: bool) -> Result<Self, CudaError> {
        let flags = match timed {
            true => sys::CUevent_flags::CU_EVENT_DEFAULT,
            false => sys::CUevent_flags::CU_EVENT_DISABLE_TIMING,
        };
        Ok(Event(cu::event::create(flags).call("cuEventCreate")?))
    }

    /// Marks the end of what is queued now.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn record(&self, stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: both are there.
        unsafe { cu::event::record(self.0, stream.0) }.call("cuEventRecord")
    }

    /// Whether the stream has come to the mark; also if it was never recorded.
    ///
    /// # Errors
    /// Work before the mark failed.
    pub fn is_reached(&self) -> Result<bool, CudaError> {
        // SAFETY: the event is there.
        match unsafe { cu::event::query(self.0) } {
            Err(e) if e.0 == sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            reached => reached.call("cuEventQuery").map(|()| true),
        }
    }

    /// Waits until the stream has come to the mark; at once if it was never recorded.
    ///
    /// # Errors
    /// Work before the mark failed.
    pub fn wait(&self) -> Result<(), CudaError> {
        // SAFETY: the event is there.
        unsafe { cu::event::synchronize(self.0) }.call("cuEventSynchronize")
    }

    /// Seconds between two marks that the stream has passed.
    ///
    /// # Errors
    /// One was not passed, or keeps no time.
    pub fn seconds_until(&self, end: &Event) -> Result<f64, CudaError> {
        // SAFETY: both are there.
        let milliseconds =
            unsafe { cu::event::elapsed(self.0, end.0) }.call("cuEventElapsedTime")?;
        Ok(f64::from(milliseconds) * 1e-3)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: created once, in `new`.
        let _ = unsafe { cu::event::destroy(self.0) };
    }
}
