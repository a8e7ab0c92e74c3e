//! What can go wrong with a device.

use ablate_compiler::BackendError;
use cudarc::cublas::result::CublasError;
use cudarc::driver::result::DriverError;

/// Everything that a CUDA device can refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    /// A library is not on this machine.
    #[error("{library} is missing ({file} was not found by the dynamic linker); {advice}")]
    MissingLibrary {
        /// For people.
        library: &'static str,
        /// File that was looked for.
        file: &'static str,
        /// What to install.
        advice: &'static str,
    },
    /// A library lacks a function.
    #[error("{library} is too old: it has no `{function}`; {advice}")]
    OldLibrary {
        /// For people.
        library: &'static str,
        /// The first function that is not there.
        function: String,
        /// What to install.
        advice: &'static str,
    },
    /// There is no device.
    #[error(
        "the CUDA driver finds no device; see `nvidia-smi`, and CUDA_VISIBLE_DEVICES if it is set"
    )]
    NoDevice,
    /// The device is of a kind that kernels are not made for.
    #[error("{name} has compute capability {major}.{minor}, at least 7.0 is needed")]
    OldDevice {
        /// The device.
        name: String,
        /// Compute capability.
        major: i32,
        /// Compute capability.
        minor: i32,
    },
    /// Device memory ran out.
    #[error(
        "{what} needs {} of device memory, {} of {} are free; lower train.batch_size (and raise \
         train.accumulate to keep the batch) or data.sequence_length, take a smaller model, or free memory \
         that other processes hold (`nvidia-smi`)",
        Bytes(*needed), Bytes(*free), Bytes(*total)
    )]
    OutOfMemory {
        /// What was to be allocated.
        what: String,
        /// Bytes.
        needed: u64,
        /// Bytes free before.
        free: u64,
        /// Bytes of the device.
        total: u64,
    },
    /// A kernel does not compile: a defect of the printer.
    #[error(
        "NVRTC refuses kernels ({status}); this is a defect of Ablate, please report it:\n{log}"
    )]
    Compile {
        /// NVRTC's status.
        status: String,
        /// The compiler's messages.
        log: String,
    },
    /// Any other call that failed.
    #[error("{call} failed: {status}")]
    Call {
        /// What was called.
        call: &'static str,
        /// The status in the library's words.
        status: String,
    },
}

impl<T> Named<T> for Result<T, cudarc::cublaslt::result::CublasError> {
    fn call(self, call: &'static str) -> Result<T, CudaError> {
        self.map_err(|e| CudaError::Call {
            call,
            status: format!("{:?}", e.0),
        })
    }
}

/// A number of bytes for people.
pub(crate) struct Bytes(pub u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0..=9_999 => write!(f, "{} bytes", self.0),
            10_000..=9_999_999 => write!(f, "{:.1} KiB", self.0 as f64 / 1024.0),
            _ => write!(f, "{:.1} MiB", self.0 as f64 / (1 << 20) as f64),
        }
    }
}

impl From<CudaError> for BackendError {
    fn from(error: CudaError) -> Self {
        BackendError::Device {
            device: "cuda".into(),
            reason: error.to_string(),
        }
    }
}

/// Names the call of a failed status.
pub(crate) trait Named<T> {
    fn call(self, call: &'static str) -> Result<T, CudaError>;
}

impl<T> Named<T> for Result<T, DriverError> {
    fn call(self, call: &'static str) -> Result<T, CudaError> {
        self.map_err(|e| CudaError::Call {
            call,
            status: format!("{:?}", e.0),
        })
    }
}

impl<T> Named<T> for Result<T, CublasError> {
    fn call(self, call: &'static str) -> Result<T, CudaError> {
        self.map_err(|e| CudaError::Call {
            call,
            status: format!("{:?}", e.0),
        })
    }
}
