//! Signals that ask the program to end: Ctrl-C, and on Unix SIGTERM (`kill`, a job scheduler, a machine
//! that shuts down) and SIGHUP (the terminal is closed). The first asks the run to save and end, the
//! second ends it at once.
//!
//! A signal that was ignored when the program began stays ignored: that is what `nohup` asks for, and a
//! shell script for its background jobs.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use crate::exit;

/// A flag that such a signal raises.
pub fn flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    let handler = move || {
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
        // The terminal may be gone, which must not keep the run from saving itself.
        let _ = writeln!(
            std::io::stderr(),
            "\ninterrupted: saving after this step (once more to end at once)"
        );
    };
    let ignored = ignored::look();
    // The feature `termination` adds SIGTERM and SIGHUP.
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::warn!("Ctrl-C and SIGTERM will not save the running trial: {error}");
    }
    ignored::keep(&ignored);
    flag
}

#[cfg(unix)]
mod ignored {
    /// The signals, of those that the handler takes, that this process was started to ignore.
    pub fn look() -> Vec<libc::c_int> {
        let ignored = |&signal: &libc::c_int| {
            // SAFETY: zeros are a valid `sigaction`; the call only writes the present action there.
            let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: as above; a null new action changes nothing.
            let found = unsafe { libc::sigaction(signal, std::ptr::null(), &mut now) };
            found == 0 && now.sa_sigaction == libc::SIG_IGN
        };
        [libc::SIGINT, libc::SIGTERM, libc::SIGHUP]
            .into_iter()
            .filter(ignored)
            .collect()
    }

    /// Ignores them again.
    pub fn keep(signals: &[libc::c_int]) {
        for &signal in signals {
            // SAFETY: SIG_IGN is valid for each of the three and runs no code of ours.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
    }
}

#[cfg(not(unix))]
mod ignored {
    /// There are no such signals here.
    pub fn look() -> Vec<i32> {
        Vec::new()
    }

    /// Nothing to ignore.
    pub fn keep(_: &[i32]) {}
}
