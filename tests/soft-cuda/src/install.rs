//! The folder with the libraries.

use libloading::os::unix::{Library as Loaded, RTLD_GLOBAL, RTLD_NOW};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A library that the device stands in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Library {
    Driver,
    Nvrtc,
    Cublas,
    CublasLt,
}

impl Library {
    /// All of them.
    pub const ALL: [Library; 4] = [
        Library::Driver,
        Library::Nvrtc,
        Library::Cublas,
        Library::CublasLt,
    ];

    /// The file names under which programs look for it.
    fn files(self) -> [&'static str; 2] {
        match self {
            Library::Driver => ["libcuda.so", "libcuda.so.1"],
            Library::Nvrtc => ["libnvrtc.so", "libnvrtc.so.12"],
            Library::Cublas => ["libcublas.so", "libcublas.so.12"],
            Library::CublasLt => ["libcublasLt.so", "libcublasLt.so.12"],
        }
    }
}

/// Why there is no device here.
#[derive(Clone, Debug)]
pub struct Unavailable(pub String);

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// An installed device.
#[derive(Clone, Debug)]
pub struct SoftCuda {
    folder: PathBuf,
    cache: PathBuf,
    compiler: String,
}

/// The device with all its libraries. Where there can be none, says why on stdout and returns nothing:
/// the test is to end then.
///
/// # Panics
/// The machine has what is needed and the installation fails all the same.
pub fn installed() -> Option<&'static SoftCuda> {
    static INSTALLED: OnceLock<Option<SoftCuda>> = OnceLock::new();
    let soft = INSTALLED.get_or_init(|| match SoftCuda::install() {
        Ok(soft) => Some(soft),
        Err(unavailable) => {
            println!("SKIPPED: no software CUDA device: {unavailable}");
            None
        }
    });
    if soft.is_none() {
        println!("SKIPPED: no software CUDA device here");
    }
    soft.as_ref()
}

/// The linker's options by which a library finds the device beside it, before it looks into LD_LIBRARY_PATH: cargo puts
/// the target folder there, in which an older device may lie.
const BESIDE: &str = "--disable-new-dtags,-rpath,$ORIGIN";

impl SoftCuda {
    /// Installs the device with all its libraries. The folder lies in cargo's target folder and is kept.
    ///
    /// # Errors
    /// This is not Linux, or there is no C++ compiler.
    ///
    /// # Panics
    /// The library was not built (it is a dependency of this crate), or the compiler cannot link it.
    pub fn install() -> Result<Self, Unavailable> {
        Self::install_only(&Library::ALL)
    }

    /// As [`SoftCuda::install`], with some of the libraries only: for tests of what a program does when
    /// one is missing.
    ///
    /// # Errors
    /// As [`SoftCuda::install`].
    ///
    /// # Panics
    /// As [`SoftCuda::install`].
    pub fn install_only(libraries: &[Library]) -> Result<Self, Unavailable> {
        if !cfg!(target_os = "linux") {
            return Err(Unavailable("it needs Linux".into()));
        }
        let compiler = std::env::var("SOFT_CUDA_CXX").unwrap_or_else(|_| "c++".into());
        let version = Command::new(&compiler).arg("--version").output();
        if let Err(e) = version {
            return Err(Unavailable(format!(
                "there is no C++ compiler `{compiler}` ({e})"
            )));
        }
        let library = device_library();
        let bytes = std::fs::read(&library).expect("the device's library can be read");
        let names: Vec<&str> = libraries.iter().flat_map(|l| l.files()).collect();
        let mut hash = Sha256::new();
        hash.update(&bytes);
        hash.update(names.join(" "));
        hash.update(BESIDE);
        let digest = hash.finalize();
        let name: String = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
        // target/release/deps/<test> -> target/soft-cuda
        let target = library.ancestors().nth(3).unwrap_or(Path::new("/tmp"));
        let root = target.join("soft-cuda");
        let soft = SoftCuda {
            folder: root.join(name),
            cache: root.join("kernels"),
            compiler,
        };
        if !soft.folder.is_dir() {
            soft.fill(&bytes, &names);
        }
        Ok(soft)
    }

    /// Makes the folder: the library itself, and a small one for each name that needs it.
    fn fill(&self, library: &[u8], names: &[&str]) {
        let mut building = self.folder.clone().into_os_string();
        building.push(format!(".{}", std::process::id()));
        let building = PathBuf::from(building);
        std::fs::create_dir_all(&building).expect("the target folder takes a new one");
        std::fs::write(building.join("libsoft_cuda.so"), library).expect("it takes a file");
        for name in names {
            let run = Command::new(&self.compiler)
                .args([
                    "-shared",
                    "-nostdlib",
                    "-x",
                    "c++",
                    "/dev/null",
                    "-x",
                    "none",
                ])
                .arg("-o")
                .arg(building.join(name))
                .arg(format!("-Wl,-soname,{name},--no-as-needed,{BESIDE}"))
                .arg("-L")
                .arg(&building)
                .arg("-lsoft_cuda")
                .output()
                .expect("the compiler starts");
            let messages = String::from_utf8_lossy(&run.stderr);
            assert!(run.status.success(), "linking {name}: {messages}");
        }
        // Another process may have been faster, with the same result.
        if std::fs::rename(&building, &self.folder).is_err() {
            let _ = std::fs::remove_dir_all(&building);
        }
        assert!(self.folder.is_dir(), "{}", self.folder.display());
    }

    /// Where the libraries lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A folder for what a program keeps of compiled kernels, beside the device. There is one for each setting of
    /// `SOFT_CUDA_CHECKS`: kernels compiled with one setting must not run under another.
    pub fn images(&self) -> PathBuf {
        let checks = std::env::var("SOFT_CUDA_CHECKS").unwrap_or_else(|_| "access".into());
        self.folder.with_extension(format!("{checks}-images"))
    }

    /// What a process must have in its environment when it starts.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut path = self.folder.clone().into_os_string();
        if let Some(rest) = std::env::var_os("LD_LIBRARY_PATH") {
            path.push(":");
            path.push(rest);
        }
        vec![
            ("LD_LIBRARY_PATH", path),
            ("SOFT_CUDA_CACHE", self.cache.clone().into_os_string()),
        ]
    }

    /// A command that finds the libraries.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.envs(self.environment());
        command
    }

    /// Loads the libraries into this process, for good. Must come before cudarc is used.
    ///
    /// # Panics
    /// The linker refuses one.
    pub fn load(&self) {
        static LOADED: OnceLock<Vec<Loaded>> = OnceLock::new();
        LOADED.get_or_init(|| {
            if std::env::var_os("SOFT_CUDA_CACHE").is_none() {
                // Read by the device when it is first used. No test changes the environment while
                // another reads it: this runs once, before the device does anything.
                std::env::set_var("SOFT_CUDA_CACHE", &self.cache);
            }
            let files = std::fs::read_dir(&self.folder).expect("the folder was made");
            let files = files.filter_map(|entry| entry.ok().map(|e| e.path()));
            files
                .map(|file| {
                    // SAFETY: the device's initialisers do nothing but what the Rust runtime does.
                    let loaded = unsafe { Loaded::open(Some(&file), RTLD_NOW | RTLD_GLOBAL) };
                    loaded.unwrap_or_else(|e| panic!("{}: {e}", file.display()))
                })
                .collect()
        });
    }

    /// The settings with which a child runs its kernels under the address sanitizer, if the compiler
    /// has it: its library must be loaded before everything else.
    pub fn address_sanitizer(&self) -> Option<Vec<(&'static str, String)>> {
        let run = Command::new(&self.compiler)
            .arg("-print-file-name=libasan.so")
            .output()
            .ok()?;
        let path = String::from_utf8_lossy(&run.stdout).trim().to_string();
        // The compiler repeats the name when it has no such file. The file may be a linker script.
        let path = std::fs::canonicalize(&path).ok()?;
        Some(vec![
            ("SOFT_CUDA_CHECKS", "address".into()),
            ("LD_PRELOAD", path.to_string_lossy().into_owned()),
            // Rust's own runtime frees nothing at the end.
            (
                "ASAN_OPTIONS",
                "detect_leaks=0:detect_stack_use_after_return=0".into(),
            ),
        ])
    }
}

/// The shared library that cargo has built beside the test that runs.
fn device_library() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    let mut folders = program.ancestors().skip(1).take(2);
    let found = folders.find_map(|folder| {
        let candidates = [
            folder.join("deps/libsoft_cuda.so"),
            folder.join("libsoft_cuda.so"),
        ];
        candidates.into_iter().find(|path| path.is_file())
    });
    found.unwrap_or_else(|| panic!("no libsoft_cuda.so beside {}", program.display()))
}
