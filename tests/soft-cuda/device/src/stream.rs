//! Streams: queues of work that runs as late as the program allows.
//!
//! Owns: queueing and running. Nothing runs when it is queued; a wait runs what it waits for and what
//! that depends on, and no more. So a program that forgets to wait reads what was there before.
//! Must not know: what a piece of work does.

use crate::clock::{Clock, Mark, Point};
use crate::context::Context;
use crate::counts::Sort;
use crate::refuse;
use crate::settings::{Order, When};
use crate::status::{Fault, Refusal};
use std::collections::VecDeque;
use std::sync::Arc;

/// A piece of work that runs now: where it stands and what comes before it.
pub struct Ready {
    /// Its place.
    pub point: Point,
    /// What comes before it.
    pub clock: Clock,
}

/// What a piece of work does. It may run many times, as part of a graph.
pub type Action = Arc<dyn Fn(&mut Context, &Ready) -> Result<(), Fault> + Send + Sync>;

/// A piece of work with its name for traces.
#[derive(Clone)]
pub struct Work {
    /// What the trace calls it.
    pub label: String,
    /// What it counts as.
    pub sort: Sort,
    /// What it does.
    pub action: Action,
}

impl Work {
    /// Names an action.
    pub fn new(
        sort: Sort,
        label: impl Into<String>,
        action: impl Fn(&mut Context, &Ready) -> Result<(), Fault> + Send + Sync + 'static,
    ) -> Self {
        Work {
            label: label.into(),
            sort,
            action: Arc::new(action),
        }
    }
}

struct Queued {
    work: Work,
    after: Vec<Point>,
    clock: Clock,
}

/// A queue.
pub struct Stream {
    /// Whether it and the legacy default stream wait for each other.
    pub blocking: bool,
    /// As given at its creation.
    pub priority: i32,
    /// The capture that takes its work, if one does.
    pub capture: Option<u64>,
    /// What everything queued so far comes after, itself included.
    pub clock: Clock,
    queue: VecDeque<Queued>,
    queued: u64,
    done: u64,
}

impl Stream {
    /// An empty queue.
    pub fn new(blocking: bool, priority: i32) -> Self {
        Stream {
            blocking,
            priority,
            capture: None,
            clock: Clock::default(),
            queue: VecDeque::new(),
            queued: 0,
            done: 0,
        }
    }

    /// Whether anything was ever queued.
    pub fn was_used(&self) -> bool {
        self.queued > 0
    }

    /// Whether all that was queued has run.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    fn mark(&self, id: u64) -> Mark {
        Mark {
            point: Point {
                stream: id,
                number: self.queued,
            },
            clock: self.clock.clone(),
        }
    }

    /// Throws away what is queued.
    pub fn abandon(&mut self) {
        self.queue.clear();
        self.done = self.queued;
        self.capture = None;
    }
}

impl Context {
    /// The stream of a handle; 0 and 1 are the legacy default stream.
    ///
    /// # Errors
    /// There is none.
    pub fn stream_id(&mut self, handle: u64) -> Result<u64, Refusal> {
        match handle {
            0 | 1 => Ok(0),
            // The calling thread's default stream, one for all threads here.
            2 => {
                self.streams
                    .entry(2)
                    .or_insert_with(|| Stream::new(true, 0));
                Ok(2)
            }
            _ => {
                self.stream_names.get(handle)?;
                Ok(handle)
            }
        }
    }

    /// The stream of an id that [`Context::stream_id`] has given.
    ///
    /// # Errors
    /// It has been destroyed since.
    pub fn stream(&mut self, id: u64) -> Result<&mut Stream, Refusal> {
        self.streams
            .get_mut(&id)
            .ok_or_else(|| refuse!(INVALID_HANDLE, "stream {id:#x} was destroyed"))
    }

    /// Queues work on a stream, or adds it to the graph that the stream is being captured into.
    ///
    /// # Errors
    /// The stream is unknown, or a capture forbids it. With [`When::Eager`], a fault of the work.
    pub fn submit(&mut self, stream: u64, work: Work) -> Result<(), Refusal> {
        let id = self.stream_id(stream)?;
        if self.stream(id)?.capture.is_some() {
            return self.capture_work(id, work);
        }
        self.refuse_implicit_capture(id)?;
        self.counts.add(work.sort);
        self.trace(&work.label);
        self.queue(id, work, &[])?;
        if self.settings.when == When::Eager {
            let last = self.last(id)?;
            self.run_to(last.point)?;
        }
        Ok(())
    }

    /// Puts work at a stream's end, after the marks given.
    ///
    /// # Errors
    /// The stream is unknown.
    pub fn queue(&mut self, id: u64, work: Work, after: &[Mark]) -> Result<Mark, Refusal> {
        let mut after = after.to_vec();
        // The legacy default stream and every blocking stream wait for each other.
        let blocking = self.stream(id)?.blocking;
        if id == 0 {
            let others = self
                .streams
                .iter()
                .filter(|(other, s)| **other != 0 && s.blocking);
            after.extend(others.map(|(other, s)| s.mark(*other)));
        } else if blocking {
            after.push(self.last(0)?);
        }
        let mut clock = self.host.clone();
        for mark in &after {
            clock.join(&mark.clock);
        }
        let stream = self.stream(id)?;
        clock.join(&stream.clock);
        stream.queued += 1;
        let point = Point {
            stream: id,
            number: stream.queued,
        };
        stream.clock = clock.clone();
        stream.clock.advance(point);
        let mark = stream.mark(id);
        stream.queue.push_back(Queued {
            work,
            after: after.iter().map(|mark| mark.point).collect(),
            clock,
        });
        Ok(mark)
    }

    /// The mark at a stream's end.
    ///
    /// # Errors
    /// The stream is unknown.
    pub fn last(&mut self, id: u64) -> Result<Mark, Refusal> {
        Ok(self.stream(id)?.mark(id))
    }

    /// Whether the work at a point has run.
    pub fn has_run(&self, point: Point) -> bool {
        self.streams
            .get(&point.stream)
            .is_none_or(|s| s.done >= point.number)
    }

    /// Runs one piece of a stream's work, and before it all that it depends on.
    ///
    /// # Errors
    /// The fault of the work.
    pub fn step(&mut self, id: u64) -> Result<(), Refusal> {
        let Some(next) = self.streams.get_mut(&id).and_then(|s| s.queue.pop_front()) else {
            return Ok(());
        };
        for point in &next.after {
            self.run_to(*point)?;
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        stream.done += 1;
        let ready = Ready {
            point: Point {
                stream: id,
                number: stream.done,
            },
            clock: next.clock,
        };
        let done = (next.work.action)(self, &ready);
        if let Err(mut fault) = done.and_then(|()| self.memory.verify()) {
            fault.message = format!("{}: {}", next.work.label, fault.message);
            self.break_down(&fault);
            return Err(fault.into());
        }
        Ok(())
    }

    /// Runs a stream up to a point.
    ///
    /// # Errors
    /// The fault of the work.
    pub fn run_to(&mut self, point: Point) -> Result<(), Refusal> {
        while !self.has_run(point) {
            self.step(point.stream)?;
        }
        Ok(())
    }

    /// The host waits for a mark: all before it has run, and comes before all that is queued later.
    ///
    /// # Errors
    /// The fault of the work.
    pub fn wait_for(&mut self, mark: &Mark) -> Result<(), Refusal> {
        self.counts.waits += 1;
        self.come_past(mark)
    }

    /// All before a mark has run, and comes before all that the host queues later.
    ///
    /// # Errors
    /// The fault of the work.
    pub fn come_past(&mut self, mark: &Mark) -> Result<(), Refusal> {
        self.run_to(mark.point)?;
        self.host.join(&mark.clock);
        if self.streams.values().all(Stream::is_idle) {
            self.history.forget(&self.host);
        }
        Ok(())
    }

    /// The host waits for a whole stream.
    ///
    /// # Errors
    /// The fault of the work.
    pub fn wait_for_stream(&mut self, id: u64) -> Result<(), Refusal> {
        let last = self.last(id)?;
        self.wait_for(&last)
    }

    /// The host waits for everything. Streams that nothing orders are run in the chosen order.
    ///
    /// # Errors
    /// The fault of the work.
    pub fn wait_for_all(&mut self) -> Result<(), Refusal> {
        let mut ids: Vec<u64> = self.streams.keys().copied().collect();
        match self.settings.order {
            Order::Forward => {}
            Order::Reverse => ids.reverse(),
            Order::Shuffled(seed) => ids.sort_by_key(|id| mix(seed ^ id)),
        }
        for id in ids {
            // A graph's own streams go away when it has run.
            if self.streams.contains_key(&id) {
                self.wait_for_stream(id)?;
            }
        }
        // Streams that were destroyed while they had work.
        let names = &self.stream_names;
        self.streams
            .retain(|id, stream| *id <= 2 || names.get(*id).is_ok() || !stream.is_idle());
        Ok(())
    }
}

/// SplitMix64's output function: spreads nearby numbers.
pub fn mix(seed: u64) -> u64 {
    let x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
