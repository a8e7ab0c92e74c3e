//! The parent's side: starting a child, waiting for its messages, finding it dead.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::Serialize;

use super::channel::Greeting;
use super::{Death, Ending, Limits, EXHAUSTED, SEPARATOR};

/// What is run as a worker: this very program, with arguments that make it one.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
}

impl Program {
    /// The running program under other arguments.
    ///
    /// # Errors
    /// When the system does not say which file that is.
    pub fn this<A: Into<OsString>>(arguments: impl IntoIterator<Item = A>) -> io::Result<Self> {
        // By this name Linux finds the same program even after a new build has replaced the file.
        let own = PathBuf::from("/proc/self/exe");
        let path = if cfg!(target_os = "linux") && own.exists() {
            own
        } else {
            std::env::current_exe()?
        };
        Ok(Program {
            path,
            arguments: arguments.into_iter().map(Into::into).collect(),
            variables: Vec::new(),
        })
    }

    /// The same with one more variable in its environment.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }
}

/// Where the worker's standard error goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errors {
    /// Its end is kept, for [`Death::said`].
    Kept,
    /// To this process's own.
    Shown,
}

/// Bytes of standard error that are kept.
const KEPT_BYTES: usize = 4096;

/// How often a waiting parent looks whether the child is still there.
const SLICE: Duration = Duration::from_millis(50);

/// How long the end of a child's messages may trail its death (somebody else may hold the pipe open).
const TRAIL: Duration = Duration::from_millis(500);

/// A child of this process. Dropping it kills it.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    messages: Receiver<String>,
    said: Arc<Mutex<VecDeque<u8>>>,
    readers: Vec<JoinHandle<()>>,
    exhausted: bool,
    limits: Limits,
}

impl Worker {
    /// Starts a worker on the named work. `keep` is a file that the child holds open as long as it lives
    /// (a lock).
    ///
    /// # Errors
    /// When the system cannot start another process.
    pub fn start(
        program: &Program,
        work: &str,
        limits: Limits,
        errors: Errors,
        keep: Option<&std::fs::File>,
    ) -> io::Result<Self> {
        let mut command = Command::new(&program.path);
        command
            .args(&program.arguments)
            .envs(program.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(match errors {
                Errors::Kept => Stdio::piped(),
                Errors::Shown => Stdio::inherit(),
            });
        isolate(&mut command, keep);
        let mut child = command.spawn()?;
        let (sender, messages) = channel();
        let mut readers = Vec::new();
        if let Some(out) = child.stdout.take() {
            readers.push(std::thread::spawn(move || {
                let mut out = BufReader::new(out);
                let mut line = Vec::new();
                while out.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                    let text = String::from_utf8_lossy(&line);
                    if let Some((_, message)) = text.split_once(SEPARATOR) {
                        if sender.send(message.to_owned()).is_err() {
                            return;
                        }
                    }
                    line.clear();
                }
            }));
        }
        let said = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(mut err) = child.stderr.take() {
            let said = said.clone();
            readers.push(std::thread::spawn(move || {
                let mut chunk = [0; 1024];
                while let Ok(n @ 1..) = err.read(&mut chunk) {
                    let mut kept = said.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.extend(&chunk[..n]);
                    let excess = kept.len().saturating_sub(KEPT_BYTES);
                    kept.drain(..excess);
                }
            }));
        }
        let mut worker = Worker {
            input: child.stdin.take(),
            child,
            messages,
            said,
            readers,
            exhausted: false,
            limits,
        };
        worker.send(&Greeting {
            work: work.to_owned(),
            limits,
        });
        Ok(worker)
    }

    /// Sends a message. A dead child is found by the next [`Worker::receive`].
    pub fn send(&mut self, message: &impl Serialize) {
        let Ok(mut line) = serde_json::to_vec(message) else {
            return;
        };
        line.push(b'\n');
        if let Some(input) = &mut self.input {
            let _ = input.write_all(&line).and_then(|()| input.flush());
        }
    }

    /// Waits at most `time` for a message; None when there was none and the child is still there.
    ///
    /// # Errors
    /// The child is dead.
    pub fn poll<T: DeserializeOwned>(&mut self, time: Duration) -> Result<Option<T>, Death> {
        loop {
            match self.messages.recv_timeout(time) {
                Ok(text) if EXHAUSTED.ends_with(text.as_str()) => self.exhausted = true,
                Ok(text) => {
                    return serde_json::from_str(&text).map(Some).map_err(|e| {
                        self.kill();
                        self.death(Ending::Garbled {
                            detail: format!("{e} in {text}"),
                        })
                    })
                }
                Err(RecvTimeoutError::Timeout) => {
                    let Ok(Some(_)) = self.child.try_wait() else {
                        return Ok(None);
                    };
                    // Dead; what it said before may still be on the way.
                    match self.messages.recv_timeout(TRAIL) {
                        Ok(text) if EXHAUSTED.ends_with(text.as_str()) => self.exhausted = true,
                        Ok(text) => {
                            if let Ok(message) = serde_json::from_str(&text) {
                                return Ok(Some(message));
                            }
                        }
                        Err(_) => return Err(self.reap()),
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.reap()),
            }
        }
    }

    /// Waits for a message, at most as long as [`Limits::answer_s`] says.
    ///
    /// # Errors
    /// The child is dead, or was killed because it did not answer.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<T, Death> {
        let mut waited = Duration::ZERO;
        loop {
            let since = Instant::now();
            if let Some(message) = self.poll(SLICE)? {
                return Ok(message);
            }
            // A slice counts as one even where this process was stopped meanwhile, along with the child.
            waited += since.elapsed().min(2 * SLICE);
            if self
                .limits
                .answer_s
                .is_some_and(|limit| waited.as_secs_f64() > limit)
            {
                self.kill();
                let seconds = waited.as_secs();
                return Err(self.death(Ending::Silence { seconds }));
            }
        }
    }

    /// Tells the child that nothing more will come.
    pub fn close(&mut self) {
        self.input = None;
    }

    /// Waits for the child to end well after its last message.
    ///
    /// # Errors
    /// How it ended otherwise.
    pub fn leave(&mut self) -> Result<(), Death> {
        loop {
            match self.receive::<serde_json::Value>() {
                Ok(_) => {}
                Err(Death {
                    ending: Ending::Exit { code: 0 },
                    ..
                }) => return Ok(()),
                Err(death) => return Err(death),
            }
        }
    }

    /// Collects a child whose messages have ended.
    fn reap(&mut self) -> Death {
        self.input = None;
        let since = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break Ok(status),
                // It closed its end but lives on.
                Ok(None) if since.elapsed() > 4 * TRAIL => {
                    let _ = self.child.kill();
                    break self.child.wait();
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                Err(error) => break Err(error),
            }
        };
        match status {
            Ok(status) => self.death(Ending::of(status, self.exhausted, &self.limits)),
            Err(error) => self.death(Ending::Garbled {
                detail: error.to_string(),
            }),
        }
    }

    fn death(&mut self, ending: Ending) -> Death {
        // The last words come by another pipe; give them a moment.
        let since = Instant::now();
        while since.elapsed() < TRAIL && !self.readers.iter().all(JoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = said.iter().copied().collect();
        let said = String::from_utf8_lossy(&bytes).into_owned();
        // A Rust program that gets no memory says so before it aborts, even where a little is left.
        let refused = said.contains("memory allocation of");
        let ending = match ending {
            Ending::Signal { name } if name == "SIGABRT" && refused => Ending::Memory {
                allowed_bytes: self.limits.memory_bytes,
            },
            ending => ending,
        };
        Death { ending, said }
    }

    fn kill(&mut self) {
        #[cfg(unix)]
        if let Ok(group) = i32::try_from(self.child.id()) {
            // Whatever the child has started, too; see `isolate`.
            // SAFETY: a signal to the group that this process made and whose leader is not yet reaped.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.input = None;
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.kill();
        }
    }
}

/// A process group of its own, so that Ctrl-C reaches the parent alone, and the kept file.
#[cfg(unix)]
fn isolate(command: &mut Command, keep: Option<&std::fs::File>) {
    use std::os::fd::AsRawFd;
    use std::os::unix::process::CommandExt;
    command.process_group(0);
    if let Some(file) = keep {
        let descriptor = file.as_raw_fd();
        // SAFETY: runs between fork and exec and calls one system function that is allowed there; the
        // descriptor is open, as the file outlives the call of `spawn`.
        unsafe {
            command.pre_exec(move || {
                if libc::fcntl(descriptor, libc::F_SETFD, 0) < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
    }
}

#[cfg(not(unix))]
fn isolate(_command: &mut Command, _keep: Option<&std::fs::File>) {}
