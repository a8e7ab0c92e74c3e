//! What a device must be able to do: compile graphs and run them over states that it keeps.
//!
//! Owns: the traits [`Backend`] and [`Session`] and their error type. Must not know: any device, any
//! model, any training loop. Every backend passes the one conformance suite in `tests/conformance`.

use crate::profile::{KernelTime, SessionMemory};
use ablate_graph::{Feeds, Graph, GraphError, RandomKey};

/// Names a program that a [`Session`] has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProgramId(pub usize);

/// Outputs of one run that are read later; made by [`Session::keep`], taken by [`Session::read`].
#[derive(Debug)]
pub enum Kept {
    /// Copied at once, one output after the other.
    Values(Vec<f32>),
    /// Of a run that may still be queued.
    Queued {
        /// The program that ran.
        program: ProgramId,
        /// The session's own number of the place that the outputs of this run go to.
        place: usize,
        /// First element and length of each output there.
        parts: Vec<(usize, usize)>,
    },
}

/// Everything that can go wrong between a graph and its results.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The graph itself is wrong, or a feed does not fit it.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The compiler could not lower the graph, or found one of its own invariants broken.
    #[error(transparent)]
    Compile(#[from] crate::CompileError),
    /// A state that a program reads was never set.
    #[error("state `{name}` is read by the program but was never set; call `set_state` first")]
    MissingState {
        /// Name of the state.
        name: String,
    },
    /// A state has another length than a program expects.
    #[error("state `{name}` holds {found} elements, the program expects {expected}")]
    StateLength {
        /// Name of the state.
        name: String,
        /// Elements that the program expects.
        expected: usize,
        /// Elements that the state holds.
        found: usize,
    },
    /// A feed is missing or of the wrong length, or an index is out of its bound.
    #[error("input `{name}`: {reason}")]
    Feed {
        /// Name of the input.
        name: String,
        /// What is wrong with what was fed.
        reason: String,
    },
    /// No such output, state or program.
    #[error("no {what} called `{name}`; there are: {known}")]
    Unknown {
        /// `output`, `state` or `program`.
        what: &'static str,
        /// The name that was asked for.
        name: String,
        /// What exists, comma-separated.
        known: String,
    },
    /// The device cannot be used.
    #[error("{device}: {reason}")]
    Device {
        /// Name of the backend.
        device: String,
        /// Why, and what to do.
        reason: String,
    },
}

/// A device that runs graphs.
pub trait Backend: Send + Sync {
    /// Short name, as in a recipe's `device`.
    fn name(&self) -> &str;
    /// One line for people: device, threads, instruction sets.
    fn description(&self) -> String;
    /// What whoever chose this backend should know about the choice, in one sentence; as a rule nothing.
    fn advice(&self) -> Option<&str> {
        None
    }
    /// Starts an empty session.
    ///
    /// # Errors
    /// The device is missing or refuses.
    fn session(&self) -> Result<Box<dyn Session>, BackendError>;
}

/// Programs and the states that they share by name.
///
/// States (parameters, gradients, optimizer slots) live in the session between runs; feeds are
/// handed over for each run; outputs can be read until the same program runs again, or later if they are kept.
pub trait Session {
    /// Compiles a graph.
    ///
    /// # Errors
    /// The graph cannot be compiled, or a state of the same name has another length.
    fn load(&mut self, graph: Graph) -> Result<ProgramId, BackendError>;

    /// Creates or overwrites a state.
    ///
    /// # Errors
    /// The state exists with another length.
    fn set_state(&mut self, name: &str, values: &[f32]) -> Result<(), BackendError>;

    /// Copies a state out.
    ///
    /// # Errors
    /// There is no such state.
    fn state(&self, name: &str) -> Result<Vec<f32>, BackendError>;

    /// Runs a program once. Every read inside the run sees the states as they were before it;
    /// afterwards each assigned state holds its new value. A state that is assigned but never read
    /// need not be set before.
    ///
    /// # Errors
    /// A feed or state is missing or does not fit.
    fn run(
        &mut self,
        program: ProgramId,
        feeds: &Feeds,
        key: RandomKey,
    ) -> Result<(), BackendError>;

    /// An output of the last run, row-major.
    ///
    /// # Errors
    /// There is no such output.
    fn output(&self, program: ProgramId, name: &str) -> Result<&[f32], BackendError>;

    /// Keeps outputs of the last run of a program, in the order of `names`, for [`Session::read`]: later
    /// runs, of this program too, leave them alone. A session that queues its runs waits for nothing
    /// here; others need no more than this default, which copies them at once.
    ///
    /// # Errors
    /// There is no such output.
    fn keep(&mut self, program: ProgramId, names: &[String]) -> Result<Kept, BackendError> {
        let mut values = Vec::with_capacity(names.len());
        for name in names {
            values.extend_from_slice(self.output(program, name)?);
        }
        Ok(Kept::Values(values))
    }

    /// What was kept, one output after the other. Waits for the run where that is needed; where runs
    /// end in their order, whoever reads the last one first waits once for all.
    ///
    /// # Errors
    /// The run failed, or was another session's.
    fn read(&mut self, kept: Kept) -> Result<Vec<f32>, BackendError> {
        match kept {
            Kept::Values(values) => Ok(values),
            Kept::Queued { program, .. } => Err(BackendError::Unknown {
                what: "kept run",
                name: program.0.to_string(),
                known: String::new(),
            }),
        }
    }

    /// The program as text: what `ablate graph --program` prints.
    ///
    /// # Errors
    /// There is no such program.
    fn program_text(&self, program: ProgramId) -> Result<String, BackendError>;

    /// Floating-point operations of the contractions of one run (two per multiply-add).
    fn flops(&self, program: ProgramId) -> f64;

    /// Measures each kernel of the runs from now on, or stops measuring. What was measured stays
    /// until it is switched on again. A backend that cannot measure ignores it.
    fn set_profiling(&mut self, _on: bool) {}

    /// The kernels of a program in the order of execution with the time they took while
    /// profiling was on; empty from a backend that cannot measure, and for an unknown program.
    fn profile(&self, _program: ProgramId) -> Vec<KernelTime> {
        Vec::new()
    }

    /// Memory that the session holds; zeros from a backend that does not know.
    fn memory(&self) -> SessionMemory {
        SessionMemory::default()
    }
}
