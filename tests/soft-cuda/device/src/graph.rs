//! Captures and graphs: work that is collected instead of queued, and queued as a whole later.
//!
//! A graph's work runs on the stream it is launched into; each further stream that took part in the
//! capture becomes a stream of the launch, so that branches are unordered again and races between them
//! are found.

use crate::clock::Mark;
use crate::context::Context;
use crate::counts::Sort;
use crate::refuse;
use crate::status::Refusal;
use crate::stream::{Stream, Work};
use std::collections::{BTreeMap, BTreeSet};
use std::thread::ThreadId;

/// `CU_STREAM_CAPTURE_MODE_RELAXED`.
const RELAXED: u32 = 2;
/// `CU_STREAM_CAPTURE_MODE_THREAD_LOCAL`.
const THREAD_LOCAL: u32 = 1;

/// A piece of captured work.
#[derive(Clone)]
pub struct Node {
    /// What it is.
    pub work: Work,
    /// The nodes that it comes after.
    pub after: Vec<usize>,
    /// The captured stream, 0 for the one where the capture began.
    pub branch: usize,
}

/// A capture in progress.
pub struct Capture {
    origin: u64,
    mode: u32,
    thread: ThreadId,
    nodes: Vec<Node>,
    /// For each captured stream, its branch and the nodes that its next work comes after.
    streams: BTreeMap<u64, (usize, Vec<usize>)>,
    invalid: bool,
}

impl Capture {
    /// The nodes that the next work of a stream comes after.
    pub fn frontier(&self, stream: u64) -> Vec<usize> {
        self.streams
            .get(&stream)
            .map(|(_, nodes)| nodes.clone())
            .unwrap_or_default()
    }
}

/// A captured graph, or an instantiated one.
#[derive(Clone, Default)]
pub struct Graph {
    /// Its work, each after what it depends on.
    pub nodes: Vec<Node>,
}

impl Context {
    /// Begins to capture a stream.
    ///
    /// # Errors
    /// The legacy default stream; a stream that is being captured already.
    pub fn begin_capture(&mut self, stream: u64, mode: u32) -> Result<(), Refusal> {
        let id = self.stream_id(stream)?;
        if mode > RELAXED {
            return Err(refuse!(INVALID_VALUE, "there is no capture mode {mode}"));
        }
        if id == 0 {
            return Err(refuse!(
                STREAM_CAPTURE_UNSUPPORTED,
                "the legacy default stream cannot be captured"
            ));
        }
        if self.stream(id)?.capture.is_some() {
            return Err(refuse!(
                INVALID_VALUE,
                "stream {id:#x} is being captured already"
            ));
        }
        let capture = self.captures.insert(Capture {
            origin: id,
            mode,
            thread: std::thread::current().id(),
            nodes: vec![],
            streams: BTreeMap::from([(id, (0, vec![]))]),
            invalid: false,
        });
        self.stream(id)?.capture = Some(capture);
        Ok(())
    }

    /// Ends a capture and keeps its graph.
    ///
    /// # Errors
    /// It was begun on another stream or thread, was spoilt, or has branches that were not joined.
    pub fn end_capture(&mut self, stream: u64) -> Result<u64, Refusal> {
        let id = self.stream_id(stream)?;
        let Some(handle) = self.stream(id)?.capture else {
            return Err(refuse!(
                INVALID_VALUE,
                "stream {id:#x} is not being captured"
            ));
        };
        let capture = self.captures.get(handle)?;
        if capture.origin != id {
            return Err(refuse!(
                STREAM_CAPTURE_UNMATCHED,
                "the capture began on stream {:#x} and must end there, not on {id:#x}",
                capture.origin
            ));
        }
        if capture.mode != RELAXED && capture.thread != std::thread::current().id() {
            return Err(refuse!(
                STREAM_CAPTURE_WRONG_THREAD,
                "the capture began on another thread"
            ));
        }
        let capture = self.captures.remove(handle)?;
        for captured in capture.streams.keys() {
            if let Some(stream) = self.streams.get_mut(captured) {
                stream.capture = None;
            }
        }
        if capture.invalid {
            return Err(refuse!(
                STREAM_CAPTURE_INVALIDATED,
                "an earlier call has spoilt the capture"
            ));
        }
        let joined = ancestors(&capture.nodes, &capture.frontier(id));
        if let Some(loose) = (0..capture.nodes.len()).find(|node| !joined.contains(node)) {
            return Err(refuse!(
                STREAM_CAPTURE_UNJOINED,
                "`{}` was captured on another stream, and the stream where the capture began \
                 never waits for it",
                capture.nodes[loose].work.label
            ));
        }
        Ok(self.graphs.insert(Graph {
            nodes: capture.nodes,
        }))
    }

    /// Adds work to the graph that a stream is being captured into.
    ///
    /// # Errors
    /// The capture was spoilt.
    pub fn capture_work(&mut self, stream: u64, work: Work) -> Result<(), Refusal> {
        let Some(handle) = self.stream(stream)?.capture else {
            return Ok(());
        };
        let capture = self.captures.get_mut(handle)?;
        if capture.invalid {
            return Err(refuse!(
                STREAM_CAPTURE_INVALIDATED,
                "an earlier call has spoilt the capture"
            ));
        }
        let number = capture.nodes.len();
        if let Some((branch, frontier)) = capture.streams.get_mut(&stream) {
            let after = std::mem::replace(frontier, vec![number]);
            capture.nodes.push(Node {
                work,
                after,
                branch: *branch,
            });
        }
        Ok(())
    }

    /// Makes a stream come after captured nodes, and part of their capture if it is not yet.
    ///
    /// # Errors
    /// The capture is over, or the stream belongs to another.
    pub fn join_capture(
        &mut self,
        stream: u64,
        handle: u64,
        nodes: &[usize],
    ) -> Result<(), Refusal> {
        let own = self.stream(stream)?.capture;
        if self.captures.get(handle).is_err() {
            return Err(refuse!(
                INVALID_VALUE,
                "the event was last recorded in a capture that is over"
            ));
        }
        if own.is_some_and(|own| own != handle) {
            return Err(refuse!(
                STREAM_CAPTURE_MERGE,
                "the event and the stream belong to two captures"
            ));
        }
        if stream == 0 {
            return Err(refuse!(
                STREAM_CAPTURE_IMPLICIT,
                "the legacy default stream cannot wait for captured work"
            ));
        }
        self.stream(stream)?.capture = Some(handle);
        let capture = self.captures.get_mut(handle)?;
        let branch = capture.streams.len();
        let (_, frontier) = capture
            .streams
            .entry(stream)
            .or_insert_with(|| (branch, vec![]));
        frontier.extend(
            nodes
                .iter()
                .filter(|node| !frontier.contains(node))
                .copied()
                .collect::<Vec<_>>(),
        );
        Ok(())
    }

    /// Spoils the capture that a stream takes part in, if there is one.
    ///
    /// # Errors
    /// The stream is unknown.
    pub fn invalidate_capture(&mut self, stream: u64) -> Result<(), Refusal> {
        if let Some(handle) = self.stream(stream)?.capture {
            self.captures.get_mut(handle)?.invalid = true;
        }
        Ok(())
    }

    /// Refuses work of the legacy default stream while a blocking stream is being captured.
    ///
    /// # Errors
    /// That is so.
    pub fn refuse_implicit_capture(&mut self, stream: u64) -> Result<(), Refusal> {
        let capturing = |s: &Stream| s.blocking && s.capture.is_some();
        if stream == 0 && self.streams.values().any(capturing) {
            self.captures.values_mut().for_each(|c| c.invalid = true);
            return Err(refuse!(
                STREAM_CAPTURE_IMPLICIT,
                "work on the legacy default stream while a blocking stream is being captured"
            ));
        }
        Ok(())
    }

    /// Refuses a call that waits or allocates while a capture forbids such calls to this thread.
    ///
    /// # Errors
    /// That is so; the capture is spoilt.
    pub fn refuse_during_capture(&mut self, what: &str) -> Result<(), Refusal> {
        let here = std::thread::current().id();
        let mut forbidden = false;
        for capture in self.captures.values_mut() {
            let applies = match capture.mode {
                RELAXED => false,
                THREAD_LOCAL => capture.thread == here,
                _ => true,
            };
            capture.invalid |= applies;
            forbidden |= applies;
        }
        if forbidden {
            return Err(refuse!(
                STREAM_CAPTURE_UNSUPPORTED,
                "{what} while a stream is being captured"
            ));
        }
        Ok(())
    }

    /// Refuses to wait for a stream that is being captured.
    ///
    /// # Errors
    /// That is so; the capture is spoilt.
    pub fn refuse_captured(&mut self, stream: u64) -> Result<(), Refusal> {
        if self.stream(stream)?.capture.is_none() {
            return Ok(());
        }
        self.invalidate_capture(stream)?;
        Err(refuse!(
            STREAM_CAPTURE_UNSUPPORTED,
            "waiting for stream {stream:#x}, which is being captured"
        ))
    }

    /// Queues all work of an instantiated graph on a stream.
    ///
    /// # Errors
    /// Graph or stream are unknown, or the stream is being captured (child graphs are not supported).
    pub fn launch_graph(&mut self, exec: u64, stream: u64) -> Result<(), Refusal> {
        let id = self.stream_id(stream)?;
        let graph = self.execs.get(exec)?.clone();
        if self.stream(id)?.capture.is_some() {
            return Err(refuse!(
                NOT_SUPPORTED,
                "a graph launched into a stream that is being captured"
            ));
        }
        self.refuse_implicit_capture(id)?;
        self.counts.graphs += 1;
        self.trace(&format!("graph of {} nodes", graph.nodes.len()));
        let start = self.last(id)?;
        let mut branches = BTreeMap::from([(0, id)]);
        let mut marks: Vec<Mark> = vec![];
        for node in &graph.nodes {
            let stream = match branches.get(&node.branch) {
                Some(stream) => *stream,
                None => {
                    let name = self.stream_names.insert(());
                    self.streams.insert(name, Stream::new(false, 0));
                    branches.insert(node.branch, name);
                    name
                }
            };
            let mut after: Vec<Mark> = node.after.iter().map(|i| marks[*i].clone()).collect();
            after.push(start.clone());
            self.counts.add(node.work.sort);
            self.trace(&node.work.label);
            marks.push(self.queue(stream, node.work.clone(), &after)?);
        }
        // The stream goes on when every branch has ended. The branches' streams are dropped then.
        let ends: Vec<Mark> = marks.clone();
        let gone: Vec<u64> = branches.into_values().filter(|s| *s != id).collect();
        if !gone.is_empty() {
            let work = Work::new(Sort::Other, "end of graph", move |cx, _| {
                for stream in &gone {
                    cx.drop_stream(*stream);
                }
                Ok(())
            });
            self.queue(id, work, &ends)?;
        }
        Ok(())
    }

    /// Forgets a stream without work.
    pub fn drop_stream(&mut self, id: u64) {
        self.streams.remove(&id);
        let _ = self.stream_names.remove(id);
    }
}

/// The nodes given and all that they come after.
fn ancestors(nodes: &[Node], of: &[usize]) -> BTreeSet<usize> {
    let mut found: BTreeSet<usize> = of.iter().copied().collect();
    for node in (0..nodes.len()).rev() {
        if found.contains(&node) {
            found.extend(nodes[node].after.iter().copied());
        }
    }
    found
}
