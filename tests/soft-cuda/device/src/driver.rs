//! The one device of the process, behind one lock.
//!
//! Owns: initialisation, the primary context's life, and how a call ends: its status, and a line on
//! stderr if it was wrong.

use crate::context::{Context, CONTEXT};
use crate::counts::Counts;
use crate::refuse;
use crate::settings::Settings;
use crate::status::{say, Refusal, Status};
use std::cell::Cell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

/// What exists before there is a context.
pub struct Driver {
    settings: Option<Settings>,
    context: Option<Context>,
    users: u32,
    /// Counts of contexts that are gone.
    past: Counts,
}

static DRIVER: Mutex<Driver> = Mutex::new(Driver {
    settings: None,
    context: None,
    users: 0,
    past: Counts::NONE,
});

thread_local! {
    static CURRENT: Cell<bool> = const { Cell::new(false) };
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread has the context as its current one.
pub fn is_current() -> bool {
    CURRENT.get()
}

/// Makes the context this thread's current one, or none.
pub fn set_current(current: bool) {
    CURRENT.set(current);
}

/// Runs a host function of the program, which must not call back.
pub fn call_back(function: impl FnOnce()) {
    IN_CALLBACK.set(true);
    function();
    IN_CALLBACK.set(false);
}

/// Ends a call: its result as a status, its mistake on stderr.
pub fn conclude(name: &str, result: Result<(), Refusal>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(refusal) => {
            if !refusal.message.is_empty() {
                say(&format!("{name}: {}", refusal.message));
            }
            refusal.status.0
        }
    }
}

/// Runs a call that needs no context.
pub fn with_driver(name: &str, call: impl FnOnce(&mut Driver) -> Result<(), Refusal>) -> i32 {
    if IN_CALLBACK.get() {
        let refusal = refuse!(NOT_PERMITTED, "called from a host function of a stream");
        return conclude(name, Err(refusal));
    }
    let mut driver = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
    let result = catch_unwind(AssertUnwindSafe(|| call(&mut driver)));
    let result =
        result.unwrap_or_else(|_| Err(refuse!(UNKNOWN, "a defect of the software device")));
    conclude(name, result)
}

/// Runs a call that needs the driver to be initialised.
pub fn initialised(name: &str, call: impl FnOnce(&Settings) -> Result<(), Refusal>) -> i32 {
    with_driver(name, |driver| call(driver.settings()?))
}

/// Runs a call that needs the context to be current on this thread and unbroken.
pub fn with_context(name: &str, call: impl FnOnce(&mut Context) -> Result<(), Refusal>) -> i32 {
    with_driver(name, |driver| {
        let context = driver.context()?;
        match context.fault {
            Some(status) => Err(Refusal::quiet(status)),
            None => call(context),
        }
    })
}

/// As [`with_context`], for calls that must work in a broken context: those that tidy up.
pub fn tidying(name: &str, call: impl FnOnce(&mut Context) -> Result<(), Refusal>) -> i32 {
    with_driver(name, |driver| {
        let context = driver.context()?;
        let done = call(context);
        match context.fault {
            Some(status) => Err(Refusal::quiet(status)),
            None => done,
        }
    })
}

impl Driver {
    /// `cuInit`.
    ///
    /// # Errors
    /// The environment asks for what there is not.
    pub fn initialise(&mut self) -> Result<(), Refusal> {
        if self.settings.is_none() {
            let settings = Settings::read().map_err(|e| refuse!(INVALID_VALUE, "{e}"))?;
            self.settings = Some(settings);
        }
        Ok(())
    }

    /// What the environment says.
    ///
    /// # Errors
    /// `cuInit` was not called.
    pub fn settings(&self) -> Result<&Settings, Refusal> {
        self.settings
            .as_ref()
            .ok_or_else(|| refuse!(NOT_INITIALIZED, "cuInit was not called"))
    }

    /// The current context.
    ///
    /// # Errors
    /// There is none, or not on this thread.
    pub fn context(&mut self) -> Result<&mut Context, Refusal> {
        self.settings()?;
        if !is_current() {
            return Err(refuse!(
                INVALID_CONTEXT,
                "this thread has no current context (cuCtxSetCurrent)"
            ));
        }
        self.context
            .as_mut()
            .ok_or_else(|| refuse!(INVALID_CONTEXT, "the context was destroyed"))
    }

    /// `cuDevicePrimaryCtxRetain`.
    ///
    /// # Errors
    /// `cuInit` was not called.
    pub fn retain(&mut self) -> Result<u64, Refusal> {
        let settings = self.settings()?.clone();
        self.users += 1;
        self.context.get_or_insert_with(|| Context::new(&settings));
        Ok(CONTEXT)
    }

    /// `cuDevicePrimaryCtxRelease`: the last release destroys the context, and with it a fault.
    ///
    /// # Errors
    /// It was not retained.
    pub fn release(&mut self) -> Result<(), Refusal> {
        if self.users == 0 {
            return Err(refuse!(
                INVALID_CONTEXT,
                "the primary context is not retained"
            ));
        }
        self.users -= 1;
        if self.users == 0 {
            self.destroy();
        }
        Ok(())
    }

    /// Destroys the context whoever uses it.
    pub fn destroy(&mut self) {
        if let Some(context) = self.context.take() {
            self.past = self.past.plus(&context.counts);
        }
    }

    /// Whether there is a context.
    pub fn is_active(&self) -> bool {
        self.context.is_some()
    }

    /// What the device has done since the process began.
    pub fn counts(&self) -> Counts {
        match &self.context {
            Some(context) => self.past.plus(&context.counts),
            None => self.past,
        }
    }
}

/// The object behind an out-parameter.
///
/// # Errors
/// It is null.
///
/// # Safety
/// The pointer is null or valid for a write.
pub unsafe fn out<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T, Refusal> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_mut() }.ok_or_else(|| refuse!(INVALID_VALUE, "`{name}` is null"))
}

/// Writes to an out-parameter that may be left out.
///
/// # Safety
/// The pointer is null or valid for a write.
pub unsafe fn put<T>(pointer: *mut T, value: T) {
    if !pointer.is_null() {
        // SAFETY: the caller's promise.
        unsafe { pointer.write(value) };
    }
}

/// Whether a handle is the context's.
///
/// # Errors
/// It is another.
pub fn check_context(handle: u64) -> Result<(), Refusal> {
    if handle == CONTEXT {
        return Ok(());
    }
    Err(refuse!(INVALID_CONTEXT, "{handle:#x} is no context"))
}

/// Whether an ordinal is the device's.
///
/// # Errors
/// There is one device, 0.
pub fn check_device(device: i32) -> Result<(), Refusal> {
    if device == 0 {
        return Ok(());
    }
    Err(Refusal {
        status: Status::INVALID_DEVICE,
        message: format!("there is one device, 0; not {device}"),
    })
}
