//! How much a process may use.

use serde::{Deserialize, Serialize};

/// Bounds of a process. None is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Address space.
    pub memory_bytes: Option<u64>,
    /// Processor time of one request, in whole seconds, all threads together. It finds an endless loop
    /// however busy the machine is.
    pub processor_s: Option<u64>,
    /// Time for one answer, in seconds during which the waiting process itself could run: it finds
    /// waiting for something that never comes, and does not count a machine that sleeps.
    pub answer_s: Option<f64>,
}

/// Processor seconds of one request unless said otherwise.
const PROCESSOR_S: u64 = 20;

/// What waits without computing is given this much longer, as other programs may have the processor.
const PATIENCE: f64 = 6.0;
/// And this much in any case.
const PATIENCE_S: f64 = 30.0;

impl Limits {
    /// No bounds.
    pub const NONE: Limits = Limits {
        memory_bytes: None,
        processor_s: None,
        answer_s: None,
    };

    /// Bounds for trying a plugin: half of the machine's memory, and time enough for anything that is
    /// not endless. The variables `ABLATE_PLUGIN_SECONDS` and `ABLATE_PLUGIN_BYTES` set others.
    pub fn for_plugins() -> Self {
        let variable = |name: &str| -> Option<u64> {
            let value = std::env::var(name).ok()?.parse().ok()?;
            (value > 0).then_some(value)
        };
        let half = physical_memory().map(|bytes| (bytes / 2).max(1 << 30));
        let memory_bytes = variable("ABLATE_PLUGIN_BYTES").or(half);
        let seconds = variable("ABLATE_PLUGIN_SECONDS").unwrap_or(PROCESSOR_S);
        Limits {
            memory_bytes,
            ..Limits::NONE
        }
        .with_seconds(seconds)
    }

    /// The same with other bounds on time.
    #[must_use]
    pub fn with_seconds(self, seconds: u64) -> Self {
        Limits {
            processor_s: Some(seconds),
            answer_s: Some(PATIENCE_S + seconds as f64 * PATIENCE),
            ..self
        }
    }

    /// Bounds the calling process; what the system refuses stays unbounded.
    pub(crate) fn enforce(&self) {
        #[cfg(unix)]
        {
            // A crash here is a finding, not something to leave a memory image of.
            set(libc::RLIMIT_CORE, 0, 0);
            if let Some(bytes) = self.memory_bytes {
                set(libc::RLIMIT_AS, bytes, bytes);
            }
        }
        if let Some(seconds) = self.processor_s {
            grant_processor(seconds);
        }
        #[cfg(target_os = "linux")]
        if self.answer_s.is_some() {
            // Who waits for an answer kills what hangs; should it die first, this does.
            // SAFETY: a plain system call about this process.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        }
    }
}

/// Lets the calling process use this much more processor time, counted from now.
pub fn grant_processor(seconds: u64) {
    #[cfg(unix)]
    {
        let mut used = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the structure is writable; zeros are valid where the call fails.
        let used = unsafe {
            libc::getrusage(libc::RUSAGE_SELF, used.as_mut_ptr());
            used.assume_init()
        };
        let used = used.ru_utime.tv_sec + used.ru_stime.tv_sec;
        let soft = u64::try_from(used).unwrap_or(0) + 1 + seconds;
        set(libc::RLIMIT_CPU, soft, u64::MAX);
    }
    #[cfg(not(unix))]
    let _ = seconds;
}

#[cfg(unix)]
#[allow(clippy::unnecessary_cast)] // The types differ between systems.
fn set(resource: libc::c_uint, soft: u64, hard: u64) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: plain system calls on a structure of this function. A refusal leaves things as they are.
    unsafe {
        if libc::getrlimit(resource as _, &mut limit) == 0 {
            limit.rlim_max = limit.rlim_max.min(hard as libc::rlim_t);
            limit.rlim_cur = (soft as libc::rlim_t).min(limit.rlim_max);
            libc::setrlimit(resource as _, &limit);
        }
    }
}

#[cfg(unix)]
fn physical_memory() -> Option<u64> {
    // SAFETY: plain questions to the system.
    let (pages, size) = unsafe {
        (
            libc::sysconf(libc::_SC_PHYS_PAGES),
            libc::sysconf(libc::_SC_PAGESIZE),
        )
    };
    u64::try_from(pages)
        .ok()?
        .checked_mul(u64::try_from(size).ok()?)
}

#[cfg(not(unix))]
fn physical_memory() -> Option<u64> {
    None
}
