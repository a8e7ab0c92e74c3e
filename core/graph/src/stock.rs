//! A graph that one of luminal's own compilers has rewritten, for its own device.
//!
//! Owns: handing a graph over to such a compiler and running what comes back. Must not know: which
//! compilers there are.

use crate::error::{GraphError, Result};
use crate::feeds::{Feeds, RandomKey};
use crate::graph::Graph;
use crate::load::Store;
use crate::reference::{Leaf, RunResult};
use crate::view::{read, View};
use luminal::op::Function;
use luminal::prelude::{Compiler, NodeIndex, Tensor as Value};
use std::collections::BTreeMap;

/// What a graph has become. It runs like [`Graph::run_reference`], as often as wanted.
pub struct StockProgram {
    luminal: Box<luminal::prelude::Graph>,
    store: Store,
    leaves: Vec<Leaf>,
    outputs: Vec<(String, NodeIndex, View)>,
    assigns: Vec<(String, NodeIndex, View)>,
}

impl Graph {
    /// Has a luminal compiler rewrite the graph. Nodes that no output and no assignment needs are
    /// taken out before, and leaves become luminal's own `Function`, which its compilers know as what
    /// comes from the host.
    ///
    /// # Errors
    /// As [`Graph::run_reference`].
    ///
    /// # Panics
    /// As the compiler does: luminal 0.2.0 has no error type.
    pub fn compile_stock(mut self, compiler: impl Compiler) -> Result<StockProgram> {
        self.check_sizes()?;
        let leaves = self.live_leaves()?;
        let live = self.live();
        for leaf in &leaves {
            let (store, slot) = (self.store.clone(), leaf.slot);
            let load = Function(
                format!("load {slot}"),
                Box::new(move |_| {
                    let value = store.borrow().get(&slot).cloned();
                    vec![Value::new(value.unwrap_or_default())]
                }),
            );
            if let Some(node) = self.luminal.graph.node_weight_mut(NodeIndex::new(slot)) {
                *node = Box::new(load);
            }
        }
        for dead in (0..live.len()).filter(|node| !live[*node]) {
            self.luminal.graph.remove_node(NodeIndex::new(dead));
        }
        let named = |(name, t): &(String, crate::Tensor)| (name.clone(), t.id, t.view.clone());
        let mut outputs: Vec<_> = self.outputs.iter().map(named).collect();
        let mut assigns: Vec<_> = self.assigns.iter().map(named).collect();
        for (_, root, _) in outputs.iter().chain(&assigns) {
            self.luminal.no_delete.insert(*root);
            self.luminal.to_retrieve.insert(*root);
        }
        let roots = outputs.iter_mut().chain(&mut assigns);
        let mut roots: Vec<&mut NodeIndex> = roots.map(|(_, root, _)| root).collect();
        self.luminal.compile(compiler, &mut roots);
        Ok(StockProgram {
            luminal: self.luminal,
            store: self.store,
            leaves,
            outputs,
            assigns,
        })
    }
}

impl StockProgram {
    /// Runs it and keeps nothing for the next run.
    ///
    /// # Errors
    /// A needed input or state is missing or has wrong values; a result did not come back to the host.
    ///
    /// # Panics
    /// As luminal does when a device refuses.
    pub fn run(
        &mut self,
        feeds: &Feeds,
        states: &BTreeMap<String, Vec<f32>>,
        key: RandomKey,
    ) -> Result<RunResult> {
        let mut values = vec![];
        for leaf in &self.leaves {
            values.push((leaf.slot, leaf.value(feeds, states, key)?));
        }
        self.store.borrow_mut().extend(values);
        // `execute` leaves out nodes that hold a tensor already.
        self.luminal.tensors.clear();
        self.luminal.execute();
        let result = RunResult {
            outputs: self.values(&self.outputs)?,
            assigned: self.values(&self.assigns)?,
        };
        self.luminal.tensors.clear();
        self.store.borrow_mut().clear();
        Ok(result)
    }

    fn values(&self, roots: &[(String, NodeIndex, View)]) -> Result<BTreeMap<String, Vec<f32>>> {
        let mut values = BTreeMap::new();
        for (name, root, view) in roots {
            let buffer = self
                .luminal
                .get_tensor_ref(*root, 0)
                .and_then(|tensor| tensor.data.as_any().downcast_ref::<Vec<f32>>())
                .ok_or_else(|| GraphError::UnknownName {
                    kind: "output",
                    name: name.clone(),
                })?;
            values.insert(name.clone(), read(buffer, view));
        }
        Ok(values)
    }

    /// Every node of the rewritten graph by the text that luminal gives it, with its count.
    pub fn operations(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for node in self.luminal.graph.node_weights() {
            *counts.entry(format!("{node:?}")).or_insert(0) += 1;
        }
        counts
    }
}
