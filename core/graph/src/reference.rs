//! Running a graph on stock luminal, unmodified: the oracle of the other backends.
//!
//! luminal's kernels cost some 160 ns an element and write out every product, so this is for tiny
//! shapes.

use crate::error::{GraphError, Result};
use crate::feeds::{state_value, Feeds, RandomKey};
use crate::graph::Graph;
use crate::ir::{LoadKind, Op};
use crate::tensor::Tensor;
use crate::view::read;
use ablate_random::Stream;
use luminal::prelude::NodeIndex;
use std::collections::BTreeMap;

/// What a run leaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunResult {
    /// Row-major values of the outputs, by name.
    pub outputs: BTreeMap<String, Vec<f32>>,
    /// New values of the assigned states, by name.
    pub assigned: BTreeMap<String, Vec<f32>>,
}

/// A leaf of a graph: where the store keeps its value, and what that is.
pub(crate) struct Leaf {
    pub slot: usize,
    pub kind: LoadKind,
    pub shape: Vec<usize>,
}

impl Leaf {
    /// Its value in a run.
    pub fn value(
        &self,
        feeds: &Feeds,
        states: &BTreeMap<String, Vec<f32>>,
        key: RandomKey,
    ) -> Result<Vec<f32>> {
        let elements = self.shape.iter().product();
        Ok(match &self.kind {
            LoadKind::State { name, .. } => state_value(states, name, &self.shape)?.to_vec(),
            LoadKind::Input { name, index_bound } => {
                feeds.checked(name, &self.shape, *index_bound)?.to_vec()
            }
            LoadKind::Uniform { stream } => {
                let mut value = vec![0.0; elements];
                Stream::new(key.seed, stream).fill_uniform(key.step, 0, &mut value);
                value
            }
            LoadKind::Iota => (0..elements).map(|i| i as f32).collect(),
        })
    }
}

impl Graph {
    /// Runs the graph with luminal's own `execute()` and keeps nothing for the next run.
    ///
    /// # Errors
    /// A needed input or state is missing or has wrong values; a node has more than 2^31 - 1
    /// elements (luminal computes indices in 32 bits).
    pub fn run_reference(
        &mut self,
        feeds: &Feeds,
        states: &BTreeMap<String, Vec<f32>>,
        key: RandomKey,
    ) -> Result<RunResult> {
        self.check_sizes()?;
        self.fill_store(feeds, states, key)?;
        // `execute` leaves out nodes that hold a tensor already, and knows only the nodes of its
        // last sort
        self.luminal.tensors.clear();
        self.luminal.no_delete.clear();
        let roots: Vec<NodeIndex> = self
            .outputs
            .iter()
            .chain(&self.assigns)
            .map(|(_, t)| t.id)
            .collect();
        self.luminal.no_delete.extend(roots);
        self.luminal.compile((), ());
        self.luminal.execute();
        let result = RunResult {
            outputs: self.read_roots(&self.outputs)?,
            assigned: self.read_roots(&self.assigns)?,
        };
        self.luminal.tensors.clear();
        self.store.borrow_mut().clear();
        Ok(result)
    }

    /// luminal computes indices in 32 bits.
    pub(crate) fn check_sizes(&self) -> Result<()> {
        for facts in &self.facts {
            let elements: usize = facts.shape.iter().product();
            if elements > i32::MAX as usize {
                return Err(GraphError::TooLarge {
                    elements,
                    scope: facts.scope.clone(),
                });
            }
        }
        Ok(())
    }

    fn fill_store(
        &mut self,
        feeds: &Feeds,
        states: &BTreeMap<String, Vec<f32>>,
        key: RandomKey,
    ) -> Result<()> {
        let mut store = self.store.borrow_mut();
        store.clear();
        for leaf in self.live_leaves()? {
            store.insert(leaf.slot, leaf.value(feeds, states, key)?);
        }
        Ok(())
    }

    /// The leaves that an output or an assignment needs.
    pub(crate) fn live_leaves(&self) -> Result<Vec<Leaf>> {
        let live = self.live();
        let mut leaves = vec![];
        for (slot, facts) in self.facts.iter().enumerate().filter(|(i, _)| live[*i]) {
            if let (Op::Load(kind), _) = self.read_node(NodeIndex::new(slot))? {
                leaves.push(Leaf {
                    slot,
                    kind,
                    shape: facts.shape.clone(),
                });
            }
        }
        Ok(leaves)
    }

    fn read_roots(&self, roots: &[(String, Tensor)]) -> Result<BTreeMap<String, Vec<f32>>> {
        let mut values = BTreeMap::new();
        for (name, t) in roots {
            let buffer = self
                .luminal
                .get_tensor_ref(t.id, 0)
                .and_then(|tensor| tensor.data.as_any().downcast_ref::<Vec<f32>>())
                .ok_or_else(|| GraphError::UnknownName {
                    kind: "output",
                    name: name.clone(),
                })?;
            values.insert(name.clone(), read(buffer, &t.view));
        }
        Ok(values)
    }
}
