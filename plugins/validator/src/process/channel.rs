//! The child's side of the channel.

use std::fs::File;
use std::io::{self, BufRead, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{exhaustion, Limits, SEPARATOR};

/// Both directions, as the child has them.
#[derive(Debug)]
pub struct Channel {
    /// To the parent.
    pub out: Outbox,
    /// From the parent.
    pub inbox: Inbox,
    /// What this process may use.
    pub limits: Limits,
}

/// What the parent says first.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Greeting {
    pub work: String,
    pub limits: Limits,
}

impl Channel {
    /// Takes standard input and output over for messages, and puts this process under the limits that
    /// the parent asks for. From here on, what anybody prints to standard output goes to standard error.
    /// Gives the name of the work, too. To be called once, before any plugin is opened.
    ///
    /// # Errors
    /// When there is no parent that speaks so.
    pub fn open() -> io::Result<(Self, String)> {
        let mut channel = Channel {
            out: Outbox {
                file: take_standard_output()?,
            },
            inbox: Inbox { _private: () },
            limits: Limits::NONE,
        };
        let Some(Greeting { work, limits }) = channel.inbox.receive()? else {
            return Err(io::Error::other("there is no parent to work for"));
        };
        channel.limits = limits;
        limits.enforce();
        if limits.memory_bytes.is_some() {
            exhaustion::report_to(&channel.out.file);
        }
        Ok((channel, work))
    }
}

/// Messages to the parent.
#[derive(Debug)]
pub struct Outbox {
    file: File,
}

impl Outbox {
    /// Sends one message.
    ///
    /// # Errors
    /// When the parent is gone.
    pub fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string(message).map_err(io::Error::other)?;
        // One write, so that a message is whole or not there.
        self.file
            .write_all(format!("{SEPARATOR}{text}\n").as_bytes())
    }
}

/// Messages from the parent.
#[derive(Debug)]
pub struct Inbox {
    _private: (),
}

impl Inbox {
    /// Waits for the next message; None when the parent is gone or has said its last.
    ///
    /// # Errors
    /// A line that is not the expected message.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line)? == 0 {
            return Ok(None);
        }
        serde_json::from_str(&line)
            .map(Some)
            .map_err(|e| io::Error::other(format!("the parent sent something else ({e}): {line}")))
    }
}

#[cfg(unix)]
fn take_standard_output() -> io::Result<File> {
    use std::os::fd::FromRawFd;
    io::stdout().flush()?;
    // SAFETY: plain system calls on the process's own descriptors; the new one belongs to nobody else.
    unsafe {
        let own = libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3);
        if own < 0 || libc::dup2(2, 1) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(File::from_raw_fd(own))
    }
}

#[cfg(not(unix))]
fn take_standard_output() -> io::Result<File> {
    use std::os::windows::io::{AsHandle, OwnedHandle};
    let handle: OwnedHandle = io::stdout().as_handle().try_clone_to_owned()?;
    Ok(File::from(handle))
}
