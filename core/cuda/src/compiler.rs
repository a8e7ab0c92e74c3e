//! From CUDA C to machine code, and its cache on disk.
//!
//! Owns: NVRTC, the options, the files of the cache. Must not know: what the kernels do.
//!
//! A file is named by a digest of everything that its content depends on: source, architecture, options,
//! version of the compiler and the device's name. It begins with a digest of its content, so that a damaged
//! one is not loaded, and is written beside its place and renamed; a cache that cannot be written is only slower.

use crate::device::Device;
use crate::error::CudaError;
use crate::OPTIONS;
use cudarc::nvrtc::result as rtc;
use cudarc::nvrtc::sys;
use sha2::{Digest, Sha256};
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The compiler for one device.
#[derive(Clone, Debug)]
pub struct Compiler {
    architecture: String,
    version: (i32, i32),
    device: String,
    cache: Option<PathBuf>,
}

/// `$XDG_CACHE_HOME/ablate/cubins`, or the same under `~/.cache`.
pub fn default_cache() -> Option<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let home = || absolute("HOME").map(|home| home.join(".cache"));
    Some(
        absolute("XDG_CACHE_HOME")
            .or_else(home)?
            .join("ablate/cubins"),
    )
}

fn status(result: sys::nvrtcResult, call: &'static str) -> Result<(), CudaError> {
    match result {
        sys::nvrtcResult::NVRTC_SUCCESS => Ok(()),
        status => Err(CudaError::Call {
            call,
            status: format!("{status:?}"),
        }),
    }
}

impl Compiler {
    /// The compiler for a device; machine code is kept in `cache`, if one is given.
    ///
    /// # Errors
    /// NVRTC refuses to tell its version.
    pub fn new(device: &Device, cache: Option<PathBuf>) -> Result<Self, CudaError> {
        let (mut major, mut minor, mut count) = (0, 0, 0);
        // SAFETY: all are valid for a write; the list is as long as NVRTC says.
        let known = unsafe {
            status(sys::nvrtcVersion(&mut major, &mut minor), "nvrtcVersion")?;
            status(
                sys::nvrtcGetNumSupportedArchs(&mut count),
                "nvrtcGetNumSupportedArchs",
            )?;
            let mut known = vec![0; usize::try_from(count).unwrap_or(0)];
            if !known.is_empty() {
                status(
                    sys::nvrtcGetSupportedArchs(known.as_mut_ptr()),
                    "nvrtcGetSupportedArchs",
                )?;
            }
            known
        };
        let wanted = device.architecture as i32;
        // A device that is newer than the compiler gets the newest PTX, which its driver compiles.
        let architecture = match known.contains(&wanted) {
            true => format!("sm_{wanted}"),
            false => {
                let below = known.iter().copied().filter(|a| *a < wanted).max();
                format!("compute_{}", below.unwrap_or(wanted))
            }
        };
        Ok(Compiler {
            architecture,
            version: (major, minor),
            device: device.name.clone(),
            cache,
        })
    }

    /// For people: `NVRTC 12.9 for sm_80`.
    pub fn description(&self) -> String {
        let (major, minor) = self.version;
        format!("NVRTC {major}.{minor} for {}", self.architecture)
    }

    /// The image of a source: from the cache, else compiled and kept there.
    ///
    /// # Errors
    /// The source does not compile.
    pub fn image(&self, source: &str) -> Result<Vec<u8>, CudaError> {
        let folder = self.cache.as_ref();
        let file = folder.map(|folder| folder.join(self.file_name(source)));
        match file.and_then(|file| read(&file)) {
            Some(image) => Ok(image),
            None => self.renewed(source),
        }
    }

    /// As [`Compiler::image`], but compiled whatever the cache holds.
    ///
    /// # Errors
    /// The source does not compile.
    pub fn renewed(&self, source: &str) -> Result<Vec<u8>, CudaError> {
        let image = self.compile(source)?;
        if let Some(folder) = &self.cache {
            let file = folder.join(self.file_name(source));
            if let Err(e) = write(folder, &file, &image) {
                tracing::debug!(file = %file.display(), error = %e, "compiled kernels are not kept");
            }
        }
        Ok(image)
    }

    fn file_name(&self, source: &str) -> String {
        let (major, minor) = self.version;
        let mut hash = Sha256::new();
        for part in [
            source,
            &self.architecture,
            &self.device,
            &format!("{major}.{minor}"),
        ] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        OPTIONS.iter().for_each(|option| hash.update(option));
        let digest: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        format!("{digest}.cubin")
    }

    fn compile(&self, source: &str) -> Result<Vec<u8>, CudaError> {
        let architecture = format!("--gpu-architecture={}", self.architecture);
        // SAFETY: the program was compiled.
        with_compiled(source, &[architecture], |program| unsafe {
            self.output(program)
        })
    }

    /// Machine code, or PTX with its zero byte where the compiler does not know the device.
    ///
    /// # Safety
    /// The program was compiled.
    unsafe fn output(&self, program: sys::nvrtcProgram) -> Result<Vec<u8>, CudaError> {
        // SAFETY: the caller's promise; the buffers are as long as NVRTC says.
        unsafe {
            if !self.architecture.starts_with("sm_") {
                let ptx = rtc::get_ptx(program).map_err(|e| CudaError::Call {
                    call: "nvrtcGetPTX",
                    status: format!("{:?}", e.0),
                })?;
                return Ok(ptx.into_iter().map(|c| c as u8).collect());
            }
            let mut bytes = 0;
            status(
                sys::nvrtcGetCUBINSize(program, &mut bytes),
                "nvrtcGetCUBINSize",
            )?;
            let mut image = vec![0u8; bytes];
            status(
                sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast()),
                "nvrtcGetCUBIN",
            )?;
            Ok(image)
        }
    }
}

const DIGEST_BYTES: usize = 32;

/// The image in a file, if it is whole.
fn read(file: &Path) -> Option<Vec<u8>> {
    let content = std::fs::read(file).ok()?;
    let (digest, image) = content.split_at_checked(DIGEST_BYTES)?;
    (Sha256::digest(image)[..] == *digest).then(|| image.to_vec())
}

/// The messages of the compiler about a program.
///
/// # Safety
/// The program exists.
pub(crate) unsafe fn log(program: sys::nvrtcProgram) -> String {
    // SAFETY: the caller's promise.
    let log = unsafe { rtc::get_program_log(program) }.unwrap_or_default();
    let log: Vec<u8> = log.iter().map(|c| *c as u8).collect();
    let log = String::from_utf8_lossy(&log);
    log.trim_end_matches('\0').to_string()
}

/// Compiles a source with [`OPTIONS`] and `more`, and has the program read before it is destroyed.
///
/// # Errors
/// The source does not compile, or what `read` says.
pub(crate) fn with_compiled<T>(
    source: &str,
    more: &[String],
    read: impl FnOnce(sys::nvrtcProgram) -> Result<T, CudaError>,
) -> Result<T, CudaError> {
    let failed = |status: String, log: String| CudaError::Compile { status, log };
    let text = CString::new(source).map_err(|e| failed("a zero byte".into(), e.to_string()))?;
    let program = rtc::create_program(&text, Some(c"kernels.cu"));
    let program = program.map_err(|e| failed(format!("{:?}", e.0), String::new()))?;
    let options = OPTIONS.iter().map(|o| o.to_string());
    let options: Vec<String> = options.chain(more.iter().cloned()).collect();
    // SAFETY: the program exists until it is destroyed below, once.
    unsafe {
        let result = match rtc::compile_program(program, &options) {
            Ok(()) => read(program),
            Err(e) => Err(failed(format!("{:?}", e.0), log(program))),
        };
        let _ = rtc::destroy_program(program);
        result
    }
}

/// Writes a file so that it is whole or not there.
fn write(folder: &Path, file: &Path, image: &[u8]) -> std::io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    std::fs::create_dir_all(folder)?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let temporary = file.with_extension(format!("{}-{number}.part", std::process::id()));
    let content = [&Sha256::digest(image)[..], image].concat();
    let written =
        std::fs::write(&temporary, content).and_then(|()| std::fs::rename(&temporary, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}
