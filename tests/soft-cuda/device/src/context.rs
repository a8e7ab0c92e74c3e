//! The device's one context: everything that a program has made on it.
//!
//! Owns: the state behind the driver's and cuBLAS's calls. How work is queued and run is in
//! [`crate::stream`], how it is captured in [`crate::graph`].

use crate::blas::Handle;
use crate::clock::{Clock, History};
use crate::counts::Counts;
use crate::emulator::{Range, MAX_THREADS, STACK_BYTES};
use crate::event::Event;
use crate::graph::{Capture, Graph};
use crate::handles::Handles;
use crate::memory::{Memory, Turn};
use crate::module::{Function, Module};
use crate::settings::Settings;
use crate::status::{say, Fault, Status};
use crate::stream::{Ready, Stream};
use std::collections::BTreeMap;
use std::io::Write as _;

/// Handle of the primary context.
pub const CONTEXT: u64 = 0x5c00_0001_0000;
/// Handle of the device's one memory pool.
pub const POOL: u64 = 0x5c00_0002_0000;

/// See the module's documentation.
pub struct Context {
    /// What the environment says.
    pub settings: Settings,
    /// All memory.
    pub memory: Memory,
    /// Every stream by its handle, the legacy default stream as 0.
    pub streams: BTreeMap<u64, Stream>,
    /// Hands out streams' handles.
    pub stream_names: Handles<()>,
    /// Events.
    pub events: Handles<Event>,
    /// Loaded modules.
    pub modules: Handles<Module>,
    /// Their kernels.
    pub functions: Handles<Function>,
    /// Captures in progress.
    pub captures: Handles<Capture>,
    /// Captured graphs.
    pub graphs: Handles<Graph>,
    /// Instantiated graphs.
    pub execs: Handles<Graph>,
    /// cuBLAS handles.
    pub blas: Handles<Handle>,
    /// What the host has waited for.
    pub host: Clock,
    /// What has run and may have to be compared with.
    pub history: History,
    /// The fault that ended this context, if one has.
    pub fault: Option<Status>,
    /// Work done so far.
    pub counts: Counts,
    /// Stream priorities and pool attributes that a program may set and read again.
    pub pool_attributes: BTreeMap<u32, u64>,
    /// Stacks for the threads of a block.
    pub stacks: Vec<u8>,
    serial: u32,
}

impl Context {
    /// An empty context.
    pub fn new(settings: &Settings) -> Self {
        Context {
            memory: Memory::new(settings.memory_bytes, settings.checks),
            settings: settings.clone(),
            streams: BTreeMap::from([(0, Stream::new(true, 0))]),
            stream_names: Handles::new("stream", 3),
            events: Handles::new("event", 4),
            modules: Handles::new("module", 5),
            functions: Handles::new("function", 6),
            captures: Handles::new("capture", 7),
            graphs: Handles::new("graph", 8),
            execs: Handles::new("executable graph", 9),
            blas: Handles::new("cuBLAS handle", 10),
            host: Clock::default(),
            history: History::default(),
            fault: None,
            counts: Counts::default(),
            pool_attributes: BTreeMap::new(),
            stacks: vec![],
            serial: 0,
        }
    }

    /// Takes serials for work that runs now.
    pub fn turn(&mut self, ready: &Ready, serials: u32) -> Turn {
        let first = self.serial + 1;
        self.serial += serials;
        let last = self.serial;
        self.history.add(ready.point, Range { first, last });
        Turn {
            serial: first,
            unordered: self.history.unordered(ready.point, &ready.clock),
            several_streams: self.streams.values().filter(|s| s.was_used()).count() > 1,
        }
    }

    /// The lowest address of the threads' stacks.
    pub fn stacks(&mut self) -> *mut u8 {
        if self.stacks.is_empty() {
            // Zeroed pages are taken from the system when they are first touched.
            self.stacks = vec![0; (MAX_THREADS + 1) * STACK_BYTES];
        }
        let start = self.stacks.as_mut_ptr();
        // SAFETY: one stack more than needed was allocated, which covers the alignment.
        unsafe { start.add(start.align_offset(STACK_BYTES)) }
    }

    /// Ends the context: whatever is queued will never run.
    pub fn break_down(&mut self, fault: &Fault) {
        say(&fault.message);
        self.fault = Some(fault.status);
        for stream in self.streams.values_mut() {
            stream.abandon();
        }
    }

    /// Writes a line to the trace, if there is one.
    pub fn trace(&self, line: &str) {
        let Some(path) = &self.settings.trace else {
            return;
        };
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path);
        if let Err(e) = file.and_then(|mut file| writeln!(file, "{line}")) {
            say(&format!("{}: {e}", path.display()));
        }
    }
}
