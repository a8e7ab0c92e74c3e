//! The driver's status codes, and the two ways in which something goes wrong.
//!
//! A [`Refusal`] is the answer to a call that asks for something wrong. A [`Fault`] is work that fails
//! while it runs; it stays with the context, as on a device.

use std::ffi::CStr;

/// A `CUresult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub i32);

macro_rules! statuses {
    ($($name:ident = $value:literal, $text:literal;)*) => {
        #[allow(missing_docs)]
        impl Status {
            $(pub const $name: Status = Status($value);)*
        }

        /// Name and text of a status, as the driver gives them.
        fn texts(status: Status) -> Option<(&'static CStr, &'static CStr)> {
            let pair: (&str, &str) = match status.0 {
                $($value => (concat!("CUDA_ERROR_", stringify!($name), "\0"), concat!($text, "\0")),)*
                _ => return None,
            };
            let name = if status == Status::SUCCESS { "CUDA_SUCCESS\0" } else { pair.0 };
            let c = |text: &'static str| CStr::from_bytes_with_nul(text.as_bytes()).ok();
            Some((c(name)?, c(pair.1)?))
        }
    };
}

statuses! {
    SUCCESS = 0, "no error";
    INVALID_VALUE = 1, "invalid argument";
    OUT_OF_MEMORY = 2, "out of memory";
    NOT_INITIALIZED = 3, "initialization error";
    NO_DEVICE = 100, "no CUDA-capable device is detected";
    INVALID_DEVICE = 101, "invalid device ordinal";
    INVALID_IMAGE = 200, "device kernel image is invalid";
    INVALID_CONTEXT = 201, "invalid device context";
    NO_BINARY_FOR_GPU = 209, "no kernel image is available for execution on the device";
    INVALID_PTX = 218, "a PTX JIT compilation failed";
    UNSUPPORTED_PTX_VERSION = 222, "the provided PTX was compiled with an unsupported toolchain.";
    FILE_NOT_FOUND = 301, "file not found";
    OPERATING_SYSTEM = 304, "OS call failed or operation not supported on this OS";
    INVALID_HANDLE = 400, "invalid resource handle";
    NOT_FOUND = 500, "named symbol not found";
    NOT_READY = 600, "device not ready";
    ILLEGAL_ADDRESS = 700, "an illegal memory access was encountered";
    LAUNCH_OUT_OF_RESOURCES = 701, "too many resources requested for launch";
    LAUNCH_TIMEOUT = 702, "the launch timed out and was terminated";
    ASSERT = 710, "device-side assert triggered";
    HOST_MEMORY_ALREADY_REGISTERED = 712, "part or all of the requested memory range is already mapped";
    HOST_MEMORY_NOT_REGISTERED = 713, "pointer does not correspond to a registered memory region";
    MISALIGNED_ADDRESS = 716, "misaligned address";
    LAUNCH_FAILED = 719, "unspecified launch failure";
    NOT_PERMITTED = 800, "operation not permitted";
    NOT_SUPPORTED = 801, "operation not supported";
    STREAM_CAPTURE_UNSUPPORTED = 900, "operation not permitted when stream is capturing";
    STREAM_CAPTURE_INVALIDATED = 901, "operation failed due to a previous error during capture";
    STREAM_CAPTURE_MERGE = 902, "operation would result in a merge of separate capture sequences";
    STREAM_CAPTURE_UNMATCHED = 903, "capture was not ended in the same stream as it began";
    STREAM_CAPTURE_UNJOINED = 904, "capturing stream has unjoined work";
    STREAM_CAPTURE_ISOLATION = 905, "dependency created on uncaptured work in another stream";
    STREAM_CAPTURE_IMPLICIT = 906, "operation would make the legacy stream depend on a capturing blocking stream";
    CAPTURED_EVENT = 907, "operation not permitted on an event last recorded in a capturing stream";
    STREAM_CAPTURE_WRONG_THREAD = 908, "attempt to terminate a thread-local capture sequence from another thread";
    UNKNOWN = 999, "unknown error";
}

impl Status {
    /// Name and text, as the driver gives them, if there is such a status here.
    pub fn describe(self) -> Option<(&'static CStr, &'static CStr)> {
        texts(self)
    }
}

/// A call that is turned down.
#[derive(Debug)]
pub struct Refusal {
    /// What the caller gets.
    pub status: Status,
    /// What stderr gets; nothing when this is an answer and no mistake ("not ready").
    pub message: String,
}

impl Refusal {
    /// An answer without a line on stderr.
    pub fn quiet(status: Status) -> Self {
        Refusal {
            status,
            message: String::new(),
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        // The fault was written when it happened.
        Refusal::quiet(fault.status)
    }
}

/// Work that failed while it ran.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What every later call of the context gets.
    pub status: Status,
    /// What stderr gets.
    pub message: String,
}

/// Builds a [`Refusal`]: a status of [`Status`] by name, then a format.
#[macro_export]
macro_rules! refuse {
    ($status:ident, $($format:tt)+) => {
        $crate::status::Refusal {
            status: $crate::status::Status::$status,
            message: format!($($format)+),
        }
    };
}

/// Writes a line to stderr under the device's name.
pub fn say(text: &str) {
    eprintln!("soft-cuda: {text}");
}
