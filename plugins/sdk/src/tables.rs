//! The host's tables, copied once at creation, and the guard around every call from the host.

use std::panic::{catch_unwind, AssertUnwindSafe};

use ablate_abi::{
    absent, read_sized, status, BatchApi, DeclareApi, GraphApi, Host, ModelApi, PretrainedApi,
    RandomApi, Sink, SizeGated, Status, Str, BATCH_API, DECLARE_API, GRAPH_API, MODEL_API,
    PRETRAINED_API, RANDOM_API,
};

use crate::{Error, Result};

/// Everything the host offers; what an older host lacks is null and reported when it is used.
#[derive(Clone, Copy)]
pub(crate) struct Tables {
    pub host: Host,
    pub random: RandomApi,
    pub declare: DeclareApi,
    pub batch: BatchApi,
    pub model: ModelApi,
    pub graph: GraphApi,
    pub pretrained: PretrainedApi,
}

impl Tables {
    /// # Safety
    /// `host` is null or the table of a host that keeps the ABI.
    pub unsafe fn new(host: *const Host) -> Result<Self> {
        // SAFETY: the caller's promise.
        let host = unsafe { read_sized(host) }
            .map_err(|e| Error::Other(format!("the host's table cannot be used: {e:?}")))?;
        Ok(Tables {
            random: extension(&host, RANDOM_API),
            declare: extension(&host, DECLARE_API),
            batch: extension(&host, BATCH_API),
            model: extension(&host, MODEL_API),
            graph: extension(&host, GRAPH_API),
            pretrained: extension(&host, PRETRAINED_API),
            host,
        })
    }

    /// `Ok` for status 0, else the host's message.
    pub fn check(&self, code: Status) -> Result<()> {
        if code == status::OK {
            return Ok(());
        }
        // SAFETY: the function needs nothing; its view is copied before the next host call.
        let message = self
            .host
            .last_error
            .and_then(|f| unsafe { f().get() }.map(str::to_owned));
        Err(Error::Host {
            status: code,
            message: message
                .filter(|m| !m.is_empty())
                .unwrap_or_else(|| format!("the host refused with status {code} and no message")),
        })
    }

    pub fn write(&self, sink: *mut Sink, bytes: &[u8]) -> Result<()> {
        let write = self.host.write.ok_or(Error::Unsupported("host.write"))?;
        // SAFETY: the sink is the one of the running call; the bytes outlive the call.
        self.check(unsafe { write(sink, bytes.as_ptr(), bytes.len()) })
    }
}

fn extension<T: SizeGated>(host: &Host, id: &'static str) -> T {
    let Some(get) = host.get_extension else {
        return absent();
    };
    // SAFETY: by the ABI the table behind an id has that id's type and lives until the process ends.
    unsafe { read_sized(get(Str::new(id)).cast::<T>()) }.unwrap_or_else(|_| absent())
}

/// Runs `body` for the host: no panic leaves, an error's message is left with the host.
pub(crate) fn guard(host: &Host, body: impl FnOnce() -> Result<()>) -> Status {
    // A panic ends this call with an error, after which the host does not use the instance for
    // training any more; so no broken invariant is observed.
    let (code, message) = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return status::OK,
        Ok(Err(error)) => (error.status(), error.to_string()),
        Err(payload) => {
            let text = payload
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "without a message".to_owned());
            // The payload's own drop could panic again, outside of any guard.
            std::mem::forget(payload);
            (status::PANIC, format!("the plugin panicked: {text}"))
        }
    };
    if let Some(set_error) = host.set_error {
        // SAFETY: the host copies the text before it returns.
        unsafe { set_error(Str::new(&message)) };
    }
    code
}

/// Importance of a [`log`] line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is doubtful.
    Warn,
    /// Worth knowing.
    Info,
    /// For the author of the plugin.
    Debug,
}

thread_local! {
    static LOG: std::cell::Cell<Option<unsafe extern "C" fn(u32, Str)>> =
        const { std::cell::Cell::new(None) };
}

/// Lets [`log`] reach the host from this thread.
pub(crate) fn enable_log(host: &Host) {
    LOG.set(host.log);
}

/// Writes a line to the host's log; silently nothing outside of a call from the host.
pub fn log(level: Level, message: &str) {
    let level = match level {
        Level::Error => ablate_abi::level::ERROR,
        Level::Warn => ablate_abi::level::WARN,
        Level::Info => ablate_abi::level::INFO,
        Level::Debug => ablate_abi::level::DEBUG,
    };
    if let Some(log) = LOG.get() {
        // SAFETY: the host's tables live until the process ends, and it copies the text.
        unsafe { log(level, Str::new(message)) };
    }
}
