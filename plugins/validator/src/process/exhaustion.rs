//! Telling a process that ran out of memory from one that merely crashed.
//!
//! A program that gets no memory dies in one of two ways: it calls abort (Rust and C++ do), or it follows a
//! null pointer (C that does not look). Both look like any other crash. So the child looks, in its
//! last moments, whether memory is still to be had, and leaves a note if not.

#[cfg(unix)]
pub(crate) use unix::report_to;

#[cfg(not(unix))]
pub(crate) fn report_to(_channel: &std::fs::File) {}

#[cfg(unix)]
mod unix {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::sync::atomic::{AtomicI32, Ordering};
    use std::sync::OnceLock;

    use super::super::EXHAUSTED;

    static CHANNEL: AtomicI32 = AtomicI32::new(-1);

    /// Less than this to be had counts as none.
    const ENOUGH_BYTES: usize = 64 << 20;

    /// Signals of a crash.
    const CRASHES: [libc::c_int; 3] = [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS];

    /// The handlers that were there before, in the order of [`CRASHES`].
    static EARLIER: OnceLock<[libc::sigaction; 3]> = OnceLock::new();

    /// Writes the note to this channel when the time comes.
    pub(crate) fn report_to(channel: &File) {
        CHANNEL.store(channel.as_raw_fd(), Ordering::Relaxed);
        // SAFETY: plain system calls on structures of this function; zeros are valid in them. The handler below
        // calls nothing that a signal handler must not.
        unsafe {
            EARLIER.get_or_init(|| {
                CRASHES.map(|signal| {
                    let mut earlier: libc::sigaction = std::mem::zeroed();
                    libc::sigaction(signal, std::ptr::null(), &mut earlier);
                    earlier
                })
            });
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = last_moments as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            for signal in CRASHES {
                libc::sigaction(signal, &action, std::ptr::null_mut());
            }
        }
    }

    /// Writes the note, then lets the crash go its way: the earlier handler is put back, and the
    /// instruction that crashed runs again (or abort raises its signal again).
    extern "C" fn last_moments(signal: libc::c_int) {
        // SAFETY: system calls that are allowed in a signal handler (mmap is one in practice on every
        // system that has it), on memory that nobody writes after `report_to`.
        unsafe {
            let probe = libc::mmap(
                std::ptr::null_mut(),
                ENOUGH_BYTES,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANON,
                -1,
                0,
            );
            if probe == libc::MAP_FAILED {
                let channel = CHANNEL.load(Ordering::Relaxed);
                libc::write(channel, EXHAUSTED.as_ptr().cast(), EXHAUSTED.len());
            } else {
                libc::munmap(probe, ENOUGH_BYTES);
            }
            for (known, earlier) in CRASHES.iter().zip(EARLIER.get().into_iter().flatten()) {
                if *known == signal {
                    libc::sigaction(signal, earlier, std::ptr::null_mut());
                }
            }
        }
    }
}
