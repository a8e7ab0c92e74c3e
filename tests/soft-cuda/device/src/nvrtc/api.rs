//! NVRTC's functions, as a program calls them. What each does is told by NVIDIA's NVRTC documentation.
#![allow(missing_docs, clippy::missing_safety_doc)]

use super::compile::compile;
use super::options::{Options, ARCHITECTURES};
use super::Outcome;
use crate::image::to_ptx;
use crate::settings::Settings;
use crate::status::say;
use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

#[derive(Default)]
struct Program {
    name: String,
    source: String,
    log: String,
    /// The object, for which architecture, and whether that was a real one.
    compiled: Option<(Vec<u8>, u32, bool)>,
}

static PROGRAMS: Mutex<BTreeMap<u64, Program>> = Mutex::new(BTreeMap::new());

/// Runs a call; its outcome, with a line on stderr unless the program can read the reason in its log.
fn call(
    name: &str,
    act: impl FnOnce(&mut BTreeMap<u64, Program>) -> Result<(), (Outcome, String)>,
) -> i32 {
    let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    let done = catch_unwind(AssertUnwindSafe(|| act(&mut programs)));
    let done = done.unwrap_or_else(|_| {
        Err((
            Outcome::InternalError,
            "a defect of the software device".into(),
        ))
    });
    match done {
        Ok(()) => Outcome::Success as i32,
        Err((outcome, message)) => {
            if !message.is_empty() {
                say(&format!("{name}: {message}"));
            }
            outcome as i32
        }
    }
}

fn found(
    programs: &mut BTreeMap<u64, Program>,
    handle: u64,
) -> Result<&mut Program, (Outcome, String)> {
    let unknown = (
        Outcome::InvalidProgram,
        format!("{handle:#x} is no program"),
    );
    programs.get_mut(&handle).ok_or(unknown)
}

fn not_null<T>(pointer: *mut T, name: &str) -> Result<*mut T, (Outcome, String)> {
    if pointer.is_null() {
        return Err((Outcome::InvalidInput, format!("`{name}` is null")));
    }
    Ok(pointer)
}

#[no_mangle]
pub unsafe extern "C" fn nvrtcVersion(major: *mut c_int, minor: *mut c_int) -> i32 {
    call("nvrtcVersion", |_| unsafe {
        *not_null(major, "major")? = 12;
        *not_null(minor, "minor")? = 9;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn nvrtcGetNumSupportedArchs(count: *mut c_int) -> i32 {
    call("nvrtcGetNumSupportedArchs", |_| unsafe {
        *not_null(count, "numArchs")? = ARCHITECTURES.len() as c_int;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn nvrtcGetSupportedArchs(archs: *mut c_int) -> i32 {
    call("nvrtcGetSupportedArchs", |_| unsafe {
        not_null(archs, "supportedArchs")?;
        for (i, arch) in ARCHITECTURES.iter().enumerate() {
            *archs.add(i) = *arch as c_int;
        }
        Ok(())
    })
}

#[no_mangle]
pub extern "C" fn nvrtcGetErrorString(result: i32) -> *const c_char {
    let text: &CStr = match result {
        0 => c"NVRTC_SUCCESS",
        1 => c"NVRTC_ERROR_OUT_OF_MEMORY",
        2 => c"NVRTC_ERROR_PROGRAM_CREATION_FAILURE",
        3 => c"NVRTC_ERROR_INVALID_INPUT",
        4 => c"NVRTC_ERROR_INVALID_PROGRAM",
        5 => c"NVRTC_ERROR_INVALID_OPTION",
        6 => c"NVRTC_ERROR_COMPILATION",
        9 => c"NVRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION",
        11 => c"NVRTC_ERROR_INTERNAL_ERROR",
        _ => c"NVRTC_ERROR unknown",
    };
    text.as_ptr()
}

/// Headers given by name are not taken: sources are whole.
#[no_mangle]
pub unsafe extern "C" fn nvrtcCreateProgram(
    program: *mut u64,
    source: *const c_char,
    name: *const c_char,
    header_count: c_int,
    _headers: *const *const c_char,
    _header_names: *const *const c_char,
) -> i32 {
    call("nvrtcCreateProgram", |programs| unsafe {
        not_null(program, "prog")?;
        not_null(source.cast_mut(), "src")?;
        if header_count != 0 {
            let text = "headers by name are not part of the software device";
            return Err((Outcome::InvalidInput, text.into()));
        }
        let text = |p: *const c_char| CStr::from_ptr(p).to_string_lossy().into_owned();
        let handle = programs
            .last_key_value()
            .map_or(0x5c00_00f0_0000, |(last, _)| last + 16);
        programs.insert(
            handle,
            Program {
                name: if name.is_null() {
                    "default_program".into()
                } else {
                    text(name)
                },
                source: text(source),
                ..Program::default()
            },
        );
        *program = handle;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn nvrtcDestroyProgram(program: *mut u64) -> i32 {
    call("nvrtcDestroyProgram", |programs| unsafe {
        let handle = *not_null(program, "prog")?;
        found(programs, handle)?;
        programs.remove(&handle);
        // The documentation says that the handle is set to null. cudarc passes a shared reference, so
        // this leaves it alone.
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn nvrtcCompileProgram(
    program: u64,
    count: c_int,
    options: *const *const c_char,
) -> i32 {
    call("nvrtcCompileProgram", |programs| {
        let program = found(programs, program)?;
        let count = usize::try_from(count).unwrap_or(0);
        if count > 0 {
            not_null(options.cast_mut(), "options")?;
        }
        let given: Vec<String> = (0..count)
            // SAFETY: the caller's promise.
            .map(|i| unsafe { CStr::from_ptr(*options.add(i)) })
            .map(|option| option.to_string_lossy().into_owned())
            .collect();
        program.compiled = None;
        let options = match Options::read(&given) {
            Ok(options) => options,
            Err(text) => {
                program.log = format!("nvrtc: error: {text}\n");
                return Err((Outcome::InvalidOption, String::new()));
            }
        };
        let settings = Settings::read().map_err(|e| (Outcome::InternalError, e))?;
        match compile(&settings, &program.name, &program.source, &options) {
            Ok(object) => {
                program.log.clear();
                program.compiled = Some((object, options.arch, options.is_real));
                Ok(())
            }
            Err(log) => {
                program.log = log;
                Err((Outcome::Compilation, String::new()))
            }
        }
    })
}

impl Program {
    fn output(&self, kind: Output) -> Result<Vec<u8>, (Outcome, String)> {
        if kind == Output::Log {
            return Ok([self.log.as_bytes(), b"\0"].concat());
        }
        let Some((object, arch, is_real)) = &self.compiled else {
            let text = "the program was not compiled";
            return Err((Outcome::InvalidProgram, text.into()));
        };
        match (kind, is_real) {
            (Output::Cubin, true) => Ok(object.clone()),
            // As documented: none for a virtual architecture.
            (Output::Cubin, false) => Ok(vec![]),
            _ => Ok([to_ptx(object, *arch).as_bytes(), b"\0"].concat()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Ptx,
    Cubin,
    Log,
}

macro_rules! outputs {
    ($($size:ident, $get:ident: $kind:ident;)*) => {$(
        #[no_mangle]
        pub unsafe extern "C" fn $size(program: u64, bytes: *mut usize) -> i32 {
            call(stringify!($size), |programs| unsafe {
                let output = found(programs, program)?.output(Output::$kind)?;
                *not_null(bytes, "size")? = output.len();
                Ok(())
            })
        }

        #[no_mangle]
        pub unsafe extern "C" fn $get(program: u64, to: *mut u8) -> i32 {
            call(stringify!($get), |programs| unsafe {
                let output = found(programs, program)?.output(Output::$kind)?;
                output.as_ptr().copy_to(not_null(to, "output")?, output.len());
                Ok(())
            })
        }
    )*};
}

outputs! {
    nvrtcGetPTXSize, nvrtcGetPTX: Ptx;
    nvrtcGetCUBINSize, nvrtcGetCUBIN: Cubin;
    nvrtcGetProgramLogSize, nvrtcGetProgramLog: Log;
}
