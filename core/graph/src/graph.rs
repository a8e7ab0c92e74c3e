//! The graph: luminal's graph, the side tables that luminal has no place for, scopes and roots.

use crate::error::{GraphError, Result};
use crate::ir::Phase;
use crate::load::Store;
use crate::tensor::Tensor;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// What luminal's nodes do not carry.
#[derive(Clone, Debug)]
pub(crate) struct NodeFacts {
    pub shape: Vec<usize>,
    pub scope: Arc<str>,
    pub phase: Phase,
    pub stop_gradient: bool,
}

/// A stock luminal graph under construction. Not `Send`: luminal keeps raw pointers.
pub struct Graph {
    /// Boxed: luminal's `Constant` points into it.
    pub(crate) luminal: Box<luminal::prelude::Graph>,
    pub(crate) number: u64,
    /// By node number; nodes are never removed.
    pub(crate) facts: Vec<NodeFacts>,
    pub(crate) store: Store,
    scopes: Vec<String>,
    scope: Arc<str>,
    phase: Phase,
    pub(crate) scalars: HashMap<u32, Tensor>,
    pub(crate) iotas: HashMap<usize, Tensor>,
    pub(crate) states: HashMap<String, Tensor>,
    pub(crate) inputs: HashMap<String, Tensor>,
    /// Results of look-ups that are known already, by the nodes of table and index, and whether they
    /// were asked for.
    pub(crate) known_rows: HashMap<(usize, usize), (Tensor, bool)>,
    pub(crate) streams: HashSet<String>,
    pub(crate) parameters: Vec<(String, Tensor)>,
    pub(crate) outputs: Vec<(String, Tensor)>,
    pub(crate) assigns: Vec<(String, Tensor)>,
}

impl Default for Graph {
    fn default() -> Self {
        Graph::new()
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Graph({} nodes)", self.facts.len())
    }
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Graph {
            luminal: Box::new(luminal::prelude::Graph::new()),
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            facts: Vec::new(),
            store: Store::default(),
            scopes: Vec::new(),
            scope: Arc::from(""),
            phase: Phase::Forward,
            scalars: HashMap::new(),
            iotas: HashMap::new(),
            states: HashMap::new(),
            inputs: HashMap::new(),
            known_rows: HashMap::new(),
            streams: HashSet::new(),
            parameters: Vec::new(),
            outputs: Vec::new(),
            assigns: Vec::new(),
        }
    }

    /// Number of nodes, dead ones included.
    pub fn node_count(&self) -> usize {
        self.facts.len()
    }

    /// The stock luminal graph. Loads of this crate read zeros outside of
    /// [`Graph::run_reference`].
    pub fn luminal(&self) -> &luminal::prelude::Graph {
        &self.luminal
    }

    // ---- scopes and phases

    /// Nodes made from now on are labelled with one more name: in `encoder`, after
    /// `push_scope("layer.0")`, with `encoder.layer.0`.
    pub fn push_scope(&mut self, name: &str) {
        self.scopes.push(name.to_owned());
        self.scope = Arc::from(self.scopes.join("."));
    }

    /// Undoes the last [`Graph::push_scope`].
    pub fn pop_scope(&mut self) {
        self.scopes.pop();
        self.scope = Arc::from(self.scopes.join("."));
    }

    /// Runs `build` inside a scope.
    pub fn scoped<R>(&mut self, name: &str, build: impl FnOnce(&mut Graph) -> R) -> R {
        self.push_scope(name);
        let result = build(self);
        self.pop_scope();
        result
    }

    /// The label that nodes get now.
    pub fn scope(&self) -> Arc<str> {
        self.scope.clone()
    }

    /// The phase that nodes get now.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Runs `build` with nodes labelled as part of `phase`.
    pub fn in_phase<R>(&mut self, phase: Phase, build: impl FnOnce(&mut Graph) -> R) -> R {
        let before = std::mem::replace(&mut self.phase, phase);
        let result = build(self);
        self.phase = before;
        result
    }

    /// Runs `build` under exactly this label and phase (autodiff labels a cotangent like its node).
    pub(crate) fn labelled<R>(
        &mut self,
        scope: Arc<str>,
        phase: Phase,
        build: impl FnOnce(&mut Graph) -> R,
    ) -> R {
        let before = std::mem::replace(&mut self.scope, scope);
        let result = self.in_phase(phase, build);
        self.scope = before;
        result
    }

    // ---- roots

    /// `t` is read back after a run under this name. Any view.
    ///
    /// # Errors
    /// [`GraphError::Duplicate`] if the name is taken.
    pub fn output(&mut self, name: &str, t: &Tensor) -> Result<()> {
        self.own("output", t)?;
        if self.outputs.iter().any(|(n, _)| n == name) {
            return Err(GraphError::Duplicate {
                kind: "output",
                name: name.to_owned(),
            });
        }
        self.outputs.push((name.to_owned(), t.clone()));
        Ok(())
    }

    /// After the run, `state` holds `value`; all reads inside the run see the old value.
    ///
    /// # Errors
    /// If `state` is no state, is assigned already, or has another shape than `value`.
    pub fn assign(&mut self, state: &Tensor, value: &Tensor) -> Result<()> {
        self.own("assign", state)?;
        self.own("assign", value)?;
        let name = self.state_name(state).ok_or(GraphError::NotWhole {
            op: "assign",
            shape: state.shape(),
            scope: self.scope(),
        })?;
        if state.shape() != value.shape() {
            return Err(self.shape_error(
                "assign",
                &[state, value],
                format!("the value of `{name}` needs the shape of the state"),
            ));
        }
        if self.assigns.iter().any(|(n, _)| *n == name) {
            return Err(GraphError::Duplicate {
                kind: "assignment",
                name,
            });
        }
        self.assigns.push((name, value.clone()));
        Ok(())
    }

    /// Names and tensors of the outputs, in the order they were declared.
    pub fn outputs(&self) -> &[(String, Tensor)] {
        &self.outputs
    }

    // ---- checks shared by all ops

    pub(crate) fn own(&self, op: &'static str, t: &Tensor) -> Result<()> {
        if t.graph == self.number {
            Ok(())
        } else {
            Err(GraphError::OtherGraph {
                op,
                scope: self.scope(),
            })
        }
    }

    pub(crate) fn shape_error(
        &self,
        op: &'static str,
        operands: &[&Tensor],
        detail: impl Into<String>,
    ) -> GraphError {
        GraphError::Shape {
            op,
            shapes: operands.iter().map(|t| t.shape()).collect(),
            scope: self.scope(),
            detail: detail.into(),
        }
    }

    pub(crate) fn value_error(&self, op: &'static str, detail: impl Into<String>) -> GraphError {
        GraphError::Value {
            op,
            detail: detail.into(),
            scope: self.scope(),
        }
    }

    /// Checks that `axis` is one of `t`'s.
    pub(crate) fn axis(&self, op: &'static str, t: &Tensor, axis: usize) -> Result<()> {
        self.own(op, t)?;
        if axis < t.rank() {
            Ok(())
        } else {
            Err(GraphError::Axis {
                op,
                axis,
                rank: t.rank(),
                scope: self.scope(),
            })
        }
    }

    /// Checks that a tracker can hold `rank` dims.
    pub(crate) fn rank(&self, op: &'static str, rank: usize) -> Result<()> {
        if rank <= crate::view::MAX_RANK {
            Ok(())
        } else {
            Err(GraphError::Rank {
                op,
                rank,
                scope: self.scope(),
            })
        }
    }

    /// Checks a shape: at most six dims, each between 1 and i32::MAX - 1, and a product that fits.
    pub(crate) fn check_shape(&self, op: &'static str, shape: &[usize]) -> Result<()> {
        self.rank(op, shape.len())?;
        let fits = shape.iter().all(|n| (1..i32::MAX as usize).contains(n))
            && shape
                .iter()
                .try_fold(1usize, |n, s| n.checked_mul(*s))
                .is_some_and(|n| n <= isize::MAX as usize);
        if fits {
            Ok(())
        } else {
            Err(GraphError::Shape {
                op,
                shapes: vec![shape.to_vec()],
                scope: self.scope(),
                detail: "every size must be at least 1 and fit in 31 bits".to_owned(),
            })
        }
    }
}
