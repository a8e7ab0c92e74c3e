//! How a process ended, in words.

use std::fmt;
use std::process::ExitStatus;

use serde::{Deserialize, Serialize};

use super::Limits;

/// The end of a process that was still needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It called exit, or returned from main.
    Exit {
        /// The exit code.
        code: i32,
    },
    /// A signal ended it.
    Signal {
        /// `SIGSEGV`, or its number where it has no common name.
        name: String,
    },
    /// It used up its processor time.
    Processor {
        /// How much it had for one request.
        seconds: u64,
    },
    /// It gave no answer in time, and was killed.
    Silence {
        /// How long it was waited for.
        seconds: u64,
    },
    /// It wanted more memory than it may have.
    Memory {
        /// How much it may have, where that is known.
        allowed_bytes: Option<u64>,
    },
    /// It said something that is no message.
    Garbled {
        /// Why.
        detail: String,
    },
}

impl Ending {
    /// Reads what the system says. `exhausted`: the process left a note that no memory was left.
    pub(crate) fn of(status: ExitStatus, exhausted: bool, limits: &Limits) -> Self {
        let memory = Ending::Memory {
            allowed_bytes: limits.memory_bytes,
        };
        #[cfg(unix)]
        if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
            return match signal {
                libc::SIGXCPU => Ending::Processor {
                    seconds: limits.processor_s.unwrap_or(0),
                },
                _ if exhausted => memory,
                _ => Ending::Signal {
                    name: signal_name(signal),
                },
            };
        }
        if exhausted {
            return memory;
        }
        Ending::Exit {
            code: status.code().unwrap_or(-1),
        }
    }

    /// The signal's meaning, where it has one that helps.
    fn explained(&self) -> &'static str {
        let Ending::Signal { name } = self else {
            return "";
        };
        match name.as_str() {
            "SIGSEGV" | "SIGBUS" => " (it touched memory that is not its own)",
            "SIGABRT" => {
                " (it gave up: an assertion, or a panic or exception that left a function)"
            }
            "SIGILL" => " (it ran an instruction that this processor does not have)",
            "SIGFPE" => " (it divided a whole number by zero)",
            "SIGKILL" => " (killed from outside; the system does this when memory runs out)",
            _ => "",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Exit { code } => write!(
                f,
                "it ended the whole process by itself, with exit code {code}"
            ),
            Ending::Signal { name } => write!(f, "it was ended by {name}{}", self.explained()),
            Ending::Processor { seconds } => write!(
                f,
                "it computed for {seconds} s without an end (an endless loop, most likely)"
            ),
            Ending::Silence { seconds } => {
                write!(f, "it gave no answer in {seconds} s and was killed")
            }
            Ending::Memory {
                allowed_bytes: Some(bytes),
            } => write!(f, "it ran out of memory ({bytes} bytes allowed)"),
            Ending::Memory { .. } => f.write_str("it ran out of memory"),
            Ending::Garbled { detail } => write!(f, "it broke the connection: {detail}"),
        }
    }
}

/// An end with the last words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// How.
    pub ending: Ending,
    /// The end of what it wrote to standard error, where that was kept.
    pub said: String,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ending.fmt(f)?;
        match self.said.trim().lines().last() {
            Some(line) => write!(f, "; its last words: `{}`", line.trim()),
            None => Ok(()),
        }
    }
}

#[cfg(unix)]
fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGSYS => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
