//! Compiling with it.

use crate::Usage;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{c_char, c_int, c_void, CString};
use std::path::Path;

/// A source that does not compile.
#[derive(Clone, Debug, thiserror::Error)]
#[error("NVRTC status {status} for {architecture}:\n{log}")]
pub struct CompileError {
    /// `nvrtcResult`.
    pub status: i32,
    /// For which architecture.
    pub architecture: String,
    /// The compiler's messages.
    pub log: String,
}

/// What a source became on one architecture.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// PTX.
    pub ptx: String,
    /// Machine code.
    pub cubin: Vec<u8>,
    /// The compiler's messages.
    pub log: String,
    /// Its kernels by name.
    pub kernels: Vec<Usage>,
}

type Program = *mut c_void;
type Create = unsafe extern "C" fn(
    *mut Program,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;
type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type Get = unsafe extern "C" fn(Program, *mut c_char) -> c_int;

/// The compiler.
#[derive(Debug)]
pub struct Nvrtc {
    create: Create,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
    compile: Compile,
    log: (Size, Get),
    ptx: (Size, Get),
    cubin: (Size, Get),
    version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int,
    architecture_count: unsafe extern "C" fn(*mut c_int) -> c_int,
    architectures: unsafe extern "C" fn(*mut c_int) -> c_int,
    // Last, so that it outlives the functions.
    _library: Library,
}

impl Nvrtc {
    /// Loads the compiler from its library.
    ///
    /// # Errors
    /// The file is no such library.
    pub fn load(path: &Path) -> Result<Self, libloading::Error> {
        // SAFETY: NVIDIA's library; names and types below are those of nvrtc.h.
        unsafe {
            let library = Library::open(Some(path), RTLD_NOW | RTLD_LOCAL)?;
            Ok(Nvrtc {
                create: *library.get(b"nvrtcCreateProgram\0")?,
                destroy: *library.get(b"nvrtcDestroyProgram\0")?,
                compile: *library.get(b"nvrtcCompileProgram\0")?,
                log: (
                    *library.get(b"nvrtcGetProgramLogSize\0")?,
                    *library.get(b"nvrtcGetProgramLog\0")?,
                ),
                ptx: (
                    *library.get(b"nvrtcGetPTXSize\0")?,
                    *library.get(b"nvrtcGetPTX\0")?,
                ),
                cubin: (
                    *library.get(b"nvrtcGetCUBINSize\0")?,
                    *library.get(b"nvrtcGetCUBIN\0")?,
                ),
                version: *library.get(b"nvrtcVersion\0")?,
                architecture_count: *library.get(b"nvrtcGetNumSupportedArchs\0")?,
                architectures: *library.get(b"nvrtcGetSupportedArchs\0")?,
                _library: library,
            })
        }
    }

    /// Major and minor version.
    pub fn version(&self) -> (i32, i32) {
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both are valid for a write.
        unsafe { (self.version)(&mut major, &mut minor) };
        (major, minor)
    }

    /// The compute capabilities that it compiles for, 80 for 8.0.
    pub fn architectures(&self) -> Vec<u32> {
        let mut count = 0;
        // SAFETY: valid for a write, then as many as it said.
        unsafe {
            (self.architecture_count)(&mut count);
            let mut all = vec![0; usize::try_from(count).unwrap_or(0)];
            (self.architectures)(all.as_mut_ptr());
            all.into_iter().map(|arch| arch as u32).collect()
        }
    }

    /// Compiles a source for one architecture, `"sm_80"`, with further options.
    ///
    /// # Errors
    /// The source is wrong, or an option, or the architecture is unknown; with the compiler's log.
    pub fn compile(
        &self,
        source: &str,
        architecture: &str,
        options: &[&str],
    ) -> Result<Compiled, CompileError> {
        let error = |status, log| CompileError {
            status,
            architecture: architecture.into(),
            log,
        };
        let text = CString::new(source).map_err(|e| error(-1, e.to_string()))?;
        let mut given = vec![
            format!("--gpu-architecture={architecture}"),
            "--ptxas-options=-v".into(),
        ];
        given.extend(options.iter().map(|option| option.to_string()));
        let given: Result<Vec<CString>, _> = given.into_iter().map(CString::new).collect();
        let given = given.map_err(|e| error(-1, e.to_string()))?;
        let pointers: Vec<*const c_char> = given.iter().map(|option| option.as_ptr()).collect();
        let mut program: Program = std::ptr::null_mut();
        // SAFETY: every pointer is valid for the call that gets it; the program is destroyed once, after
        // its last use.
        unsafe {
            let none = std::ptr::null();
            let status = (self.create)(
                &mut program,
                text.as_ptr(),
                c"kernels.cu".as_ptr(),
                0,
                none,
                none,
            );
            if status != 0 {
                return Err(error(status, String::new()));
            }
            let status = (self.compile)(program, pointers.len() as c_int, pointers.as_ptr());
            let log = string(self.read(program, self.log));
            let done = match status {
                0 => Ok(Compiled {
                    ptx: string(self.read(program, self.ptx)),
                    cubin: self.read(program, self.cubin),
                    kernels: Usage::read(&log),
                    log,
                }),
                _ => Err(error(status, log)),
            };
            (self.destroy)(&mut program);
            done
        }
    }

    /// # Safety
    /// The program exists.
    unsafe fn read(&self, program: Program, (size, get): (Size, Get)) -> Vec<u8> {
        let mut bytes = 0;
        // SAFETY: the caller's promise; the buffer is as long as the compiler asks.
        unsafe {
            if size(program, &mut bytes) != 0 {
                return vec![];
            }
            let mut buffer = vec![0u8; bytes];
            match get(program, buffer.as_mut_ptr().cast()) {
                0 => buffer,
                _ => vec![],
            }
        }
    }
}

/// A text without the 0 byte at its end.
fn string(mut bytes: Vec<u8>) -> String {
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
