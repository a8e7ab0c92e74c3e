//! One instance of a capability: its pointer, its end, and errors of its calls.

use std::ffi::c_void;

use ablate_abi::{status, Host, Status, Str};
use ablate_train::PluginError;
use serde_json::Value;

use crate::context::{clear_errors, take_error};
use crate::tables::HOST;

type Create = unsafe extern "C" fn(*const Host, Str, *mut *mut c_void) -> Status;
type Destroy = unsafe extern "C" fn(*mut c_void);

/// An instance that is destroyed with this value.
pub(crate) struct Instance {
    name: String,
    raw: *mut c_void,
    destroy: Destroy,
}

// SAFETY: by the ABI an instance may move between threads; it is not used by two at once because
// `Instance` is not `Sync`.
unsafe impl Send for Instance {}

impl Instance {
    /// Makes an instance; the plugin's message where it refuses. A configuration of `null` counts as
    /// an empty object, which is what a bare `- nsp:` is in YAML.
    ///
    /// # Safety
    /// Both functions are those of one table whose plugin keeps the ABI.
    pub unsafe fn new(
        name: &str,
        create: Create,
        destroy: Destroy,
        config: &Value,
    ) -> Result<Self, String> {
        let text = if config.is_null() {
            "{}".to_owned()
        } else {
            config.to_string()
        };
        let mut raw = std::ptr::null_mut();
        clear_errors();
        // SAFETY: the host table is static; the text outlives the call; `raw` is writable.
        let code = unsafe { create(&raw const HOST, Str::new(&text), &mut raw) };
        if code == status::OK {
            Ok(Instance {
                name: name.to_owned(),
                raw,
                destroy,
            })
        } else {
            Err(take_error(code))
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls a function of the instance's table.
    pub fn call(
        &self,
        hook: &str,
        function: impl FnOnce(*mut c_void) -> Status,
    ) -> Result<(), PluginError> {
        clear_errors();
        match function(self.raw) {
            status::OK => Ok(()),
            code => Err(self.error(hook, take_error(code))),
        }
    }

    pub fn error(&self, hook: &str, message: impl ToString) -> PluginError {
        PluginError::new(&self.name, hook, message)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: made by the same table's `create`, destroyed once.
        unsafe { (self.destroy)(self.raw) };
    }
}
