//! The data thread: while a step runs, the windows after it are prepared.
//!
//! Owns the thread, the order of its work, the buffers that go round, and what becomes of its errors.
//! Must not know graphs beyond their shapes, the device, or the record.
//!
//! The trainer asks, the thread answers in the order of the questions. At most [`DEPTH`] windows are
//! asked for ahead, so the memory is bounded; nobody ever waits for room. Batches, labels and
//! capacities are a function of the windows' order alone, so the numbers do not depend on how far the
//! thread is ahead. Each window brings the cursor behind it: a checkpoint knows the next window to
//! *train*, whatever else is prepared. An error or a panic of the thread is kept in its window's place
//! and arrives at that window's step; what was asked for earlier, and evaluations, still come.

use std::any::Any;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::mpsc::{channel, sync_channel, Receiver, Sender, SyncSender};
use std::thread::JoinHandle;

use ablate_graph::Feeds;

use crate::batch::{BatchSource, SourceError};
use crate::error::TrainError;
use crate::graphs::{scale_name, ForwardShape};
use crate::objective::Objective;
use crate::stopping::Split;
use crate::window::{grow, label, label_window, Labelled};

/// Windows that are prepared ahead of the one that trains.
pub(crate) const DEPTH: usize = 2;

/// A micro-batch that a program can run as it is.
#[derive(Debug)]
pub(crate) struct Ready {
    /// Which program it needs.
    pub shape: ForwardShape,
    /// The program's inputs.
    pub feeds: Feeds,
    /// Units of each objective in this micro-batch.
    pub units: Vec<f64>,
}

/// The micro-batches of one step.
#[derive(Debug)]
pub(crate) struct ReadyWindow {
    /// At least one, all of the same capacities.
    pub batches: Vec<Ready>,
    /// Real tokens of the window.
    pub tokens: u64,
    /// The source's cursor behind this window: where the next one begins.
    pub next: serde_json::Value,
}

/// What the data thread works with.
pub(crate) struct DataParts {
    pub source: Box<dyn BatchSource>,
    /// Instances of its own: the trainer's build graphs meanwhile.
    pub objectives: Vec<Box<dyn Objective>>,
    /// Capacities in use: training, evaluation.
    pub capacities: [Vec<usize>; 2],
    /// Whether micro-batches are packed, see [`Labelled::packed`].
    pub packed: bool,
}

enum Failure {
    Error(TrainError),
    Panic(Box<dyn Any + Send>),
}

impl Failure {
    /// The error; a panic goes on here, as if the work had been done on this thread.
    fn arrive(self) -> TrainError {
        match self {
            Failure::Error(error) => error,
            Failure::Panic(payload) => resume_unwind(payload),
        }
    }
}

type Reply<T> = Result<T, Failure>;

enum Request {
    /// The next window; the buffers of a used one may serve again.
    Window(Option<ReadyWindow>),
    /// All micro-batches of a split, then `None`.
    Evaluation(Split, SyncSender<Reply<Option<Ready>>>),
}

/// The trainer's end of the data thread.
pub(crate) struct Prefetcher {
    /// None once the thread is to end.
    requests: Option<Sender<Request>>,
    windows: Receiver<Reply<ReadyWindow>>,
    thread: Option<JoinHandle<()>>,
    /// Taken out of the queue to be looked at, not trained yet.
    peeked: Option<ReadyWindow>,
    /// Used, its buffers free.
    spent: Option<ReadyWindow>,
}

impl Prefetcher {
    /// Starts the thread; it begins with the first windows at once.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(parts: DataParts) -> Result<Self, TrainError> {
        let (requests, inbox) = channel();
        // The thread never blocks here: no more than DEPTH windows are ever asked for.
        let (outbox, windows) = sync_channel(DEPTH);
        let worker = Worker::new(parts);
        let thread = std::thread::Builder::new()
            .name("ablate-data".to_owned())
            .spawn(move || worker.serve(&inbox, outbox))
            .map_err(|e| TrainError::Setup(format!("cannot start the data thread: {e}")))?;
        let prefetcher = Prefetcher {
            requests: Some(requests),
            windows,
            thread: Some(thread),
            peeked: None,
            spent: None,
        };
        for _ in 0..DEPTH {
            prefetcher.ask(Request::Window(None))?;
        }
        Ok(prefetcher)
    }

    /// The next window, which stays the next.
    ///
    /// # Errors
    /// What went wrong when it was prepared.
    pub fn peek(&mut self) -> Result<&ReadyWindow, TrainError> {
        let window = match self.peeked.take() {
            Some(window) => window,
            None => self.receive()?,
        };
        Ok(self.peeked.insert(window))
    }

    /// The next window.
    ///
    /// # Errors
    /// What went wrong when it was prepared.
    pub fn next(&mut self) -> Result<ReadyWindow, TrainError> {
        let window = match self.peeked.take() {
            Some(window) => window,
            None => self.receive()?,
        };
        let spent = self.spent.take();
        self.ask(Request::Window(spent))?;
        Ok(window)
    }

    /// Gives a trained window's buffers back.
    pub fn recycle(&mut self, window: ReadyWindow) {
        self.spent = Some(window);
    }

    /// The micro-batches of a held-out split, prepared ahead like windows.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn evaluation(&self, split: Split) -> Result<Evaluation, TrainError> {
        let (to, batches) = sync_channel(DEPTH);
        self.ask(Request::Evaluation(split, to))?;
        Ok(Evaluation { batches })
    }

    fn ask(&self, request: Request) -> Result<(), TrainError> {
        self.requests
            .as_ref()
            .and_then(|requests| requests.send(request).ok())
            .ok_or_else(gone)
    }

    fn receive(&self) -> Result<ReadyWindow, TrainError> {
        match self.windows.recv() {
            Ok(reply) => reply.map_err(Failure::arrive),
            Err(_) => Err(gone()),
        }
    }
}

impl Drop for Prefetcher {
    /// Ends the thread, after the window that it is working on, so that plugins are never called once
    /// the trial is over.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // Its panics are caught in there; a second way to tell them is not needed.
            let _ = thread.join();
        }
    }
}

/// Micro-batches of a held-out split.
pub(crate) struct Evaluation {
    batches: Receiver<Reply<Option<Ready>>>,
}

impl Evaluation {
    /// The next one; `None` after the last.
    ///
    /// # Errors
    /// What went wrong when it was prepared.
    pub fn next(&self) -> Result<Option<Ready>, TrainError> {
        match self.batches.recv() {
            Ok(reply) => reply.map_err(Failure::arrive),
            Err(_) => Err(gone()),
        }
    }
}

fn gone() -> TrainError {
    TrainError::Setup("the data thread has ended; what it met was told before".to_owned())
}

struct Worker {
    source: Box<dyn BatchSource>,
    objectives: Vec<Box<dyn Objective>>,
    capacities: [Vec<usize>; 2],
    packed: bool,
    names: Vec<String>,
    /// Input and weight of each objective.
    scales: Vec<(String, f64)>,
}

impl Worker {
    fn new(parts: DataParts) -> Self {
        let DataParts {
            source,
            objectives,
            capacities,
            packed,
        } = parts;
        Worker {
            names: objectives.iter().map(|o| o.name().to_owned()).collect(),
            scales: objectives
                .iter()
                .map(|o| (scale_name(o.name()), o.weight()))
                .collect(),
            source,
            objectives,
            capacities,
            packed,
        }
    }

    fn serve(mut self, requests: &Receiver<Request>, windows: SyncSender<Reply<ReadyWindow>>) {
        // What a source delivers behind a failure may be anything, so it is not asked again. The sender
        // goes with it: who waits for a window behind the failure hears that there is none.
        let mut windows = Some(windows);
        while let Ok(request) = requests.recv() {
            match request {
                Request::Window(spent) => {
                    let Some(to) = &windows else { continue };
                    let reply = caught(|| self.window(spent));
                    let failed = reply.is_err();
                    if to.send(reply).is_err() {
                        return;
                    }
                    if failed {
                        windows = None;
                    }
                }
                Request::Evaluation(split, to) => {
                    let end = caught(|| {
                        self.evaluation(split, &to)?;
                        Ok(None)
                    });
                    // Nobody there means that the evaluation was given up.
                    let _ = to.send(end);
                }
            }
        }
    }

    fn window(&mut self, spent: Option<ReadyWindow>) -> Result<ReadyWindow, TrainError> {
        let window =
            label_window(&mut self.objectives, self.source.next_window()?)?.packed(self.packed);
        if window.batches.is_empty() {
            return Err(SourceError::new("there is a window without a batch").into());
        }
        for batch in &window.batches {
            make_room(&mut self.capacities[0], batch);
        }
        let mut buffers = spent.into_iter().flat_map(|w| w.batches);
        let mut batches = Vec::with_capacity(window.batches.len());
        for batch in &window.batches {
            let mut ready = ready(batch, &self.names, &self.capacities[0], buffers.next());
            for ((name, weight), &units) in self.scales.iter().zip(&window.units) {
                let scale = if units > 0.0 { weight / units } else { 0.0 };
                ready.feeds.set_from(name, &[scale as f32]);
            }
            batches.push(ready);
        }
        Ok(ReadyWindow {
            batches,
            tokens: window.tokens,
            next: self.source.cursor(),
        })
    }

    fn evaluation(
        &mut self,
        split: Split,
        to: &SyncSender<Reply<Option<Ready>>>,
    ) -> Result<(), TrainError> {
        let Worker {
            source,
            objectives,
            capacities,
            packed,
            names,
            ..
        } = self;
        for batch in source.evaluation(split)? {
            let batch = label(objectives, batch)?.packed(*packed);
            make_room(&mut capacities[1], &batch);
            let ready = ready(&batch, names, &capacities[1], None);
            if to.send(Ok(Some(ready))).is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn caught<T>(work: impl FnOnce() -> Result<T, TrainError>) -> Reply<T> {
    // After a panic no window is asked of the source again, and an evaluation begins afresh.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::Error(error)),
        Err(payload) => Err(Failure::Panic(payload)),
    }
}

fn make_room(capacities: &mut Vec<usize>, batch: &Labelled) {
    let limit = batch.batch.batch * batch.batch.seq;
    *capacities = grow(capacities, &batch.predictions(), limit);
}

/// Inputs of a micro-batch, in the buffers of a used one where it had the same.
fn ready(batch: &Labelled, names: &[String], capacities: &[usize], used: Option<Ready>) -> Ready {
    let shape = ForwardShape::of(batch, capacities);
    let mut feeds = match used {
        Some(used) if used.shape.features == shape.features => used.feeds,
        _ => Feeds::new(),
    };
    batch.fill(&mut feeds, names, capacities);
    Ready {
        shape,
        feeds,
        units: batch.units.clone(),
    }
}
