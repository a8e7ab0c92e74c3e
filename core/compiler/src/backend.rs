//! What a device must be able to do: compile graphs and run them over states that it keeps.
//!
//! Owns: the traits [`Backend`] and [`Session`] and their error type. Must not know: any device, any
//! model, any training loop. Every backend passes the one conformance suite in `tests/conformance`.

use crate::profile::{KernelTime, SessionMemory};
use ablate_graph::{Feeds, Graph, GraphError, RandomKey};

/// Names a program that a [`Session`] has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProgramId(pub usize);

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
/// handed over for each run; outputs can be read until the same program runs again.
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
