//! Modules: shared objects with compiled kernels.

use crate::context::Context;
use crate::emulator;
use crate::launch::SHARED_BYTES;
use crate::refuse;
use crate::status::Refusal;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use sha2::{Digest, Sha256};
use std::ffi::CStr;
use std::path::PathBuf;

/// `soft_run` of a module.
pub type Run = unsafe extern "C" fn(*const emulator::Kernel, *mut emulator::Launch);

/// A loaded module.
pub struct Module {
    /// Its file, for messages that look up a line.
    pub path: PathBuf,
    /// Runs a launch.
    pub run: Run,
    /// Where its code and constants lie.
    pub image: (u64, u64),
    /// Its static shared memory, two ranges of start and end.
    pub shared: [u64; 4],
    description: *const emulator::Module,
    functions: Vec<u64>,
    _library: Library,
}

// SAFETY: the description is constant memory of the library, which is never closed before.
unsafe impl Send for Module {}

/// A kernel.
#[derive(Clone, Debug)]
pub struct Function {
    /// The module that it belongs to.
    pub module: u64,
    /// Its name.
    pub name: String,
    /// The module's entry of it.
    pub kernel: *const emulator::Kernel,
    /// Bytes of each parameter.
    pub sizes: Vec<usize>,
    /// From `__launch_bounds__`, or the device's own limit.
    pub max_threads: u32,
    /// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
    pub max_dynamic_shared: u32,
}

// SAFETY: as for [`Module`]; nothing writes to the entry.
unsafe impl Send for Function {}
unsafe impl Sync for Function {}

impl Module {
    fn kernels(&self) -> &[emulator::Kernel] {
        // SAFETY: the table lies in the library, which lives as long as `self`.
        unsafe {
            let module = &*self.description;
            std::slice::from_raw_parts(module.kernels, module.kernel_count as usize)
        }
    }

    /// Bytes of static shared memory of a kernel. A module does not tell whose its memory is, so this
    /// is known where there is one kernel, and taken to be 0 where there are several.
    pub fn static_shared(&self) -> u64 {
        match self.kernels().len() {
            1 => self.shared[1] - self.shared[0] + self.shared[3] - self.shared[2],
            _ => 0,
        }
    }
}

/// Compute capability 8.0 as 80: a CUBIN runs on its own major version from its minor version on.
fn runs_on(cubin: u32, device: u32) -> bool {
    cubin / 10 == device / 10 && cubin <= device
}

impl Context {
    /// Loads a module from its image.
    ///
    /// # Errors
    /// It is no image of this device, or for another architecture.
    pub fn load_module(&mut self, image: &[u8], is_ptx: bool) -> Result<u64, Refusal> {
        let invalid = |e: String| refuse!(INVALID_IMAGE, "the image cannot be loaded: {e}");
        let digest = Sha256::digest(image);
        let name: String = digest[..12].iter().map(|b| format!("{b:02x}")).collect();
        std::fs::create_dir_all(&self.settings.cache).map_err(|e| invalid(e.to_string()))?;
        let path = self.settings.cache.join(format!("module-{name}.so"));
        if !path.is_file() {
            crate::nvrtc::write_atomically(&path, image).map_err(|e| invalid(e.to_string()))?;
        }
        // SAFETY: an object made by this crate, whose initialisers do nothing.
        let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
        let library = library.map_err(|e| invalid(e.to_string()))?;
        // SAFETY: the names and types are those of emulator/abi.h, whose version is checked.
        let (description, run, shared) = unsafe {
            let description = library
                .get::<*const emulator::Module>(b"soft_module\0")
                .map_err(|e| invalid(e.to_string()))?;
            let description: *const emulator::Module = description.into_raw().cast();
            if (*description).abi != emulator::ABI {
                return Err(invalid(
                    "it was compiled for another version of the device".into(),
                ));
            }
            let run = library
                .get::<Run>(b"soft_run\0")
                .map_err(|e| invalid(e.to_string()))?;
            let ranges = library
                .get::<unsafe extern "C" fn(*mut u64)>(b"soft_shared\0")
                .map_err(|e| invalid(e.to_string()))?;
            let mut shared = [0; 4];
            ranges(shared.as_mut_ptr());
            (description, *run, shared)
        };
        // SAFETY: checked above.
        let arch = unsafe { (*description).arch };
        let device = self.settings.arch;
        if !(if is_ptx {
            arch <= device
        } else {
            runs_on(arch, device)
        }) {
            return Err(refuse!(
                NO_BINARY_FOR_GPU,
                "the image is for sm_{arch}, this device is sm_{device}"
            ));
        }
        Ok(self.modules.insert(Module {
            image: extent(description.cast()),
            path,
            run,
            shared,
            description,
            functions: vec![],
            _library: library,
        }))
    }

    /// The kernel of a name.
    ///
    /// # Errors
    /// The module is unknown, or has no such kernel.
    pub fn function(&mut self, module: u64, name: &CStr) -> Result<u64, Refusal> {
        let found = self.modules.get(module)?;
        let fixed = found.static_shared();
        let is_named = |kernel: &&emulator::Kernel| {
            // SAFETY: names in the table are literals.
            unsafe { CStr::from_ptr(kernel.name) == name }
        };
        let Some(kernel) = found.kernels().iter().find(is_named) else {
            let names: Vec<_> = found
                .kernels()
                .iter()
                // SAFETY: as above.
                .map(|k| unsafe { CStr::from_ptr(k.name) }.to_string_lossy())
                .collect();
            return Err(refuse!(
                NOT_FOUND,
                "the module has no kernel {name:?}; extern \"C\" kernels in it: {}",
                names.join(", ")
            ));
        };
        // SAFETY: the table holds this many sizes.
        let sizes =
            unsafe { std::slice::from_raw_parts(kernel.sizes, kernel.param_count as usize) };
        let function = Function {
            module,
            name: name.to_string_lossy().into_owned(),
            kernel: &raw const *kernel,
            sizes: sizes.iter().map(|size| *size as usize).collect(),
            max_threads: match kernel.max_threads {
                0 => emulator::MAX_THREADS as u32,
                bound => bound,
            },
            max_dynamic_shared: SHARED_BYTES.saturating_sub(fixed as u32),
        };
        let handle = self.functions.insert(function);
        self.modules.get_mut(module)?.functions.push(handle);
        Ok(handle)
    }

    /// Unloads a module. What is queued runs first, as the driver does.
    ///
    /// # Errors
    /// It is unknown; the fault of the work.
    pub fn unload_module(&mut self, module: u64) -> Result<(), Refusal> {
        self.modules.get(module)?;
        self.wait_for_all()?;
        let gone = self.modules.remove(module)?;
        for function in gone.functions {
            self.functions.remove(function)?;
        }
        Ok(())
    }
}

/// From where to where the object is mapped that an address belongs to.
fn extent(address: *const libc::c_void) -> (u64, u64) {
    // SAFETY: `dladdr` fills the struct; the program headers of a mapped object lie where its ELF
    // header says.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(address, &mut info) == 0 {
            return (0, 0);
        }
        let base = info.dli_fbase as u64;
        let header = &*(info.dli_fbase as *const libc::Elf64_Ehdr);
        let table = (base + header.e_phoff) as *const libc::Elf64_Phdr;
        let entries = std::slice::from_raw_parts(table, usize::from(header.e_phnum));
        let loads = entries.iter().filter(|entry| entry.p_type == libc::PT_LOAD);
        let end = loads.map(|entry| entry.p_vaddr + entry.p_memsz).max();
        (base, base + end.unwrap_or(0))
    }
}
