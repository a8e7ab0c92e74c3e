//! Memory that holds machine code.
//!
//! Owns: mapping, filling and protecting it: never writable and executable at once.

use std::io;

/// The registers' arguments: pointers, numbers, twice the columns of a row.
#[cfg(target_arch = "x86_64")]
pub type Function = unsafe extern "sysv64" fn(*const *mut f32, *mut f32, usize);
/// Never called: there is no code for other processors.
#[cfg(not(target_arch = "x86_64"))]
pub type Function = unsafe extern "C" fn(*const *mut f32, *mut f32, usize);

/// Executable memory; lives as long as the functions in it are called.
#[derive(Debug)]
pub struct Code {
    start: *mut u8,
    bytes: usize,
}

// SAFETY: the memory is never written after `new`.
unsafe impl Send for Code {}
// SAFETY: as above.
unsafe impl Sync for Code {}

impl Code {
    /// Maps code.
    ///
    /// # Errors
    /// The system has no memory left or forbids code that was not loaded from a file.
    #[cfg(unix)]
    pub fn new(code: &[u8]) -> io::Result<Code> {
        let bytes = code.len().max(1).next_multiple_of(4096);
        // SAFETY: a private anonymous mapping at a place of the system's choice touches nothing else.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = Code {
            start: start.cast(),
            bytes,
        };
        // SAFETY: the mapping is as long as the code at least, and nobody else knows it yet.
        let protected = unsafe {
            std::ptr::copy_nonoverlapping(code.as_ptr(), memory.start, code.len());
            libc::mprotect(start, bytes, libc::PROT_READ | libc::PROT_EXEC)
        };
        match protected {
            0 => Ok(memory),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Code cannot be mapped here.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(unix))]
    pub fn new(_code: &[u8]) -> io::Result<Code> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    /// The function that starts at a byte of the code.
    ///
    /// # Safety
    /// A function of this type starts there, and it is not called after `self` is gone.
    pub unsafe fn function(&self, at: usize) -> Function {
        // SAFETY: the caller's promise.
        unsafe { std::mem::transmute::<*mut u8, Function>(self.start.wrapping_add(at)) }
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with these bounds.
        #[cfg(unix)]
        unsafe {
            libc::munmap(self.start.cast(), self.bytes);
        }
    }
}
