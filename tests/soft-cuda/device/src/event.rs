//! Events: marks in streams that can be waited for.

use crate::clock::Mark;
use crate::context::Context;
use crate::counts::Sort;
use crate::refuse;
use crate::status::{Refusal, Status};
use crate::stream::Work;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: u32 = 2;

/// An event.
#[derive(Debug, Default)]
pub struct Event {
    flags: u32,
    mark: Option<Mark>,
    /// The capture in which it was last recorded, with the nodes that it stands for.
    captured: Option<(u64, Vec<usize>)>,
    reached: Arc<Mutex<Option<Instant>>>,
}

impl Event {
    /// An event that was never recorded.
    pub fn new(flags: u32) -> Self {
        Event {
            flags,
            ..Event::default()
        }
    }
}

impl Context {
    /// Records an event at a stream's end.
    ///
    /// # Errors
    /// Event or stream are unknown, or a capture forbids it.
    pub fn record_event(&mut self, event: u64, stream: u64) -> Result<(), Refusal> {
        let id = self.stream_id(stream)?;
        self.events.get(event)?;
        if let Some(capture) = self.stream(id)?.capture {
            let nodes = self.captures.get(capture)?.frontier(id);
            self.events.get_mut(event)?.captured = Some((capture, nodes));
            return Ok(());
        }
        self.refuse_implicit_capture(id)?;
        let reached = Arc::new(Mutex::new(None));
        let slot = reached.clone();
        let work = Work::new(Sort::Other, "event", move |_, _| {
            if let Ok(mut time) = slot.lock() {
                *time = Some(Instant::now());
            }
            Ok(())
        });
        let mark = self.queue(id, work, &[])?;
        let event = self.events.get_mut(event)?;
        event.mark = Some(mark);
        event.captured = None;
        event.reached = reached;
        Ok(())
    }

    /// Makes what is queued on a stream from now on come after an event. An event that was never
    /// recorded is no obstacle.
    ///
    /// # Errors
    /// Event or stream are unknown, or a capture forbids it.
    pub fn wait_event(&mut self, stream: u64, event: u64) -> Result<(), Refusal> {
        let id = self.stream_id(stream)?;
        let found = self.events.get(event)?;
        let (mark, captured) = (found.mark.clone(), found.captured.clone());
        if let Some((capture, nodes)) = captured {
            return self.join_capture(id, capture, &nodes);
        }
        if self.stream(id)?.capture.is_some() {
            let Some(mark) = mark else { return Ok(()) };
            self.invalidate_capture(id)?;
            return Err(refuse!(
                STREAM_CAPTURE_ISOLATION,
                "a stream that is being captured waits for event {event:#x}, which was recorded \
                 outside of the capture (work {} of stream {:#x})",
                mark.point.number,
                mark.point.stream
            ));
        }
        self.refuse_implicit_capture(id)?;
        if let Some(mark) = mark {
            let work = Work::new(Sort::Other, "wait", |_, _| Ok(()));
            self.queue(id, work, &[mark])?;
        }
        Ok(())
    }

    /// The host waits for an event.
    ///
    /// # Errors
    /// The event is unknown or captured; the fault of the work.
    pub fn synchronise_event(&mut self, event: u64) -> Result<(), Refusal> {
        match self.usable(event)? {
            Some(mark) => self.wait_for(&mark),
            None => Ok(()),
        }
    }

    /// Whether an event has been reached. Asking lets its stream do one more piece of work, so that a
    /// program that asks until it is will get there.
    ///
    /// # Errors
    /// The event is unknown or captured; it has not been reached; the fault of the work.
    pub fn query_event(&mut self, event: u64) -> Result<(), Refusal> {
        let Some(mark) = self.usable(event)? else {
            return Ok(());
        };
        if self.has_run(mark.point) {
            return self.come_past(&mark);
        }
        self.step(mark.point.stream)?;
        Err(Refusal::quiet(Status::NOT_READY))
    }

    /// Milliseconds between two events.
    ///
    /// # Errors
    /// One is unknown, without timing, never recorded, or not reached.
    pub fn elapsed(&self, start: u64, end: u64) -> Result<f32, Refusal> {
        let time = |handle: u64| {
            let event = self.events.get(handle)?;
            if event.flags & DISABLE_TIMING != 0 {
                return Err(refuse!(
                    INVALID_HANDLE,
                    "event {handle:#x} was made without timing"
                ));
            }
            if event.mark.is_none() {
                return Err(refuse!(
                    INVALID_HANDLE,
                    "event {handle:#x} was never recorded"
                ));
            }
            let reached = event.reached.lock().ok().and_then(|time| *time);
            reached.ok_or(Refusal::quiet(Status::NOT_READY))
        };
        let (start, end) = (time(start)?, time(end)?);
        let seconds = match end.checked_duration_since(start) {
            Some(after) => after.as_secs_f32(),
            None => -start.duration_since(end).as_secs_f32(),
        };
        Ok(seconds * 1e3)
    }

    fn usable(&self, event: u64) -> Result<Option<Mark>, Refusal> {
        let found = self.events.get(event)?;
        if found.captured.is_some() {
            return Err(refuse!(
                CAPTURED_EVENT,
                "event {event:#x} was last recorded in a capture: the host cannot wait for it"
            ));
        }
        Ok(found.mark.clone())
    }
}
