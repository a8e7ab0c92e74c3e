//! Kernels that are loaded into the device, by name.

use crate::compiler::Compiler;
use crate::error::{CudaError, Named};
use crate::print::{KernelSource, PRELUDE};
use cudarc::driver::result::{function, module};
use cudarc::driver::sys;
use std::collections::BTreeMap;
use std::ffi::CString;

/// Shared memory that a block has without asking for more (CUDA C++ Programming Guide).
const SHARED_BYTES: u32 = 48 << 10;

/// Every kernel of a session, each compiled once.
#[derive(Debug, Default)]
pub struct Modules {
    modules: Vec<sys::CUmodule>,
    functions: BTreeMap<String, sys::CUfunction>,
}

impl Modules {
    /// Compiles and loads those kernels that are not here yet, as one module. The device must be current.
    ///
    /// # Errors
    /// A kernel does not compile, or the driver does not load the module.
    pub fn add<'a>(
        &mut self,
        kernels: impl Iterator<Item = &'a KernelSource>,
        compiler: &Compiler,
    ) -> Result<(), CudaError> {
        let fresh: BTreeMap<&str, &KernelSource> = kernels
            .filter(|k| !self.functions.contains_key(&k.entry))
            .map(|k| (k.entry.as_str(), k))
            .collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let mut source = PRELUDE.to_string();
        for kernel in fresh.values() {
            source.push('\n');
            source.push_str(&kernel.body);
        }
        // SAFETY: an image is a whole module, or PTX with its zero byte.
        let load = |image: &[u8]| unsafe { module::load_data(image.as_ptr().cast()) };
        let loaded = match load(&compiler.image(&source)?) {
            Ok(module) => module,
            // A file of the cache that is damaged.
            Err(_) => load(&compiler.renewed(&source)?).call("cuModuleLoadData")?,
        };
        self.modules.push(loaded);
        for (entry, kernel) in fresh {
            let name = CString::new(entry).map_err(|e| CudaError::Call {
                call: "cuModuleGetFunction",
                status: e.to_string(),
            })?;
            // SAFETY: the module was loaded just now and is kept.
            let function = unsafe { module::get_function(loaded, name) };
            let function = function.call("cuModuleGetFunction")?;
            if kernel.dynamic_shared_bytes > SHARED_BYTES {
                let most =
                    sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                let bytes = kernel.dynamic_shared_bytes as i32;
                // SAFETY: the function is there.
                unsafe { function::set_function_attribute(function, most, bytes) }
                    .call("cuFuncSetAttribute")?;
            }
            self.functions.insert(entry.to_string(), function);
        }
        Ok(())
    }

    /// A kernel that was added.
    pub fn function(&self, entry: &str) -> Option<sys::CUfunction> {
        self.functions.get(entry).copied()
    }
}

impl Drop for Modules {
    fn drop(&mut self) {
        for module in &self.modules {
            // SAFETY: loaded once; the session has waited for all work.
            let _ = unsafe { module::unload(*module) };
        }
    }
}
