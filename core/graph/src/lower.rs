//! From luminal's graph to plain data: the ops and trackers are read back from luminal, so that
//! compilers see exactly what stock luminal would run.

use crate::error::{GraphError, Result};
use crate::graph::Graph;
use crate::ir::{Lowered, Node, Op};
use crate::load::Load;
use crate::tensor::Tensor;
use crate::view::View;
use luminal::op::{self as stock, Operator};
use luminal::prelude::NodeIndex;

impl Graph {
    /// The graph as compilers read it: the nodes that an output or an assignment needs, in
    /// topological order (the order they were made in).
    ///
    /// # Errors
    /// [`GraphError::ForeignNode`] if the luminal graph holds a node that is no primitive.
    pub fn lower(&self) -> Result<Lowered> {
        let live = self.live();
        let mut number = vec![usize::MAX; live.len()];
        let mut lowered = Lowered::default();
        for (i, facts) in self.facts.iter().enumerate() {
            if !live[i] {
                continue;
            }
            number[i] = lowered.nodes.len();
            let (op, inputs) = self.read_node(NodeIndex::new(i))?;
            lowered.nodes.push(Node {
                op,
                inputs: inputs.into_iter().map(|(n, v)| (number[n], v)).collect(),
                shape: facts.shape.clone(),
                scope: facts.scope.clone(),
                phase: facts.phase,
                stop_gradient: facts.stop_gradient,
            });
        }
        let root = |(name, t): &(String, Tensor)| (name.clone(), number[t.node()], t.view.clone());
        lowered.outputs = self.outputs.iter().map(root).collect();
        lowered.assigns = self.assigns.iter().map(root).collect();
        Ok(lowered)
    }

    /// Whether any of `roots` is computed from `of`, or is a view of it.
    ///
    /// # Errors
    /// None for tensors of this graph.
    pub fn depends(&self, roots: &[&Tensor], of: &Tensor) -> Result<bool> {
        self.own("depends", of)?;
        for t in roots {
            self.own("depends", t)?;
        }
        let live = self.reached(roots.iter().map(|t| t.node()));
        Ok(live[of.node()])
    }

    /// Which nodes an output or an assignment needs.
    pub(crate) fn live(&self) -> Vec<bool> {
        let roots = self.outputs.iter().chain(&self.assigns);
        self.reached(roots.map(|(_, t)| t.node()))
    }

    /// Which nodes these are computed from, themselves included.
    fn reached(&self, roots: impl Iterator<Item = usize>) -> Vec<bool> {
        let mut live = vec![false; self.facts.len()];
        for node in roots {
            live[node] = true;
        }
        // operands are made before their consumers
        for i in (0..live.len()).rev() {
            if live[i] {
                for (source, _, _) in self.luminal.get_sources(NodeIndex::new(i)) {
                    live[source.index()] = true;
                }
            }
        }
        live
    }

    /// Op and operands of a node.
    pub(crate) fn read_node(&self, id: NodeIndex) -> Result<(Op, Vec<(usize, View)>)> {
        let foreign = |detail: String| GraphError::ForeignNode {
            node: id.index(),
            detail,
        };
        let Some(weight) = self.luminal.graph.node_weight(id) else {
            return Err(foreign("no such node".to_owned()));
        };
        let op = read_op(weight.as_ref()).ok_or_else(|| foreign(format!("{weight:?}")))?;
        let inputs = self
            .luminal
            .get_sources(id)
            .into_iter()
            .map(|(source, _, tracker)| {
                let view = View::from_tracker(&tracker)
                    .ok_or_else(|| foreign("a symbolic shape".to_owned()))?;
                Ok((source.index(), view))
            })
            .collect::<Result<_>>()?;
        Ok((op, inputs))
    }
}

fn read_op(op: &dyn Operator) -> Option<Op> {
    let any = op.as_any();
    if let Some(load) = any.downcast_ref::<Load>() {
        return Some(Op::Load(load.kind.clone()));
    }
    if let Some(constant) = any.downcast_ref::<stock::Constant>() {
        return match constant.0 {
            stock::ConstantValue::Float(value) => Some(Op::Constant(value)),
            stock::ConstantValue::Expression(_) => None,
        };
    }
    if let Some(reduce) = any.downcast_ref::<stock::SumReduce>() {
        return Some(Op::SumReduce(reduce.0));
    }
    if let Some(reduce) = any.downcast_ref::<stock::MaxReduce>() {
        return Some(Op::MaxReduce(reduce.0));
    }
    macro_rules! plain {
        ($($name:ident),*) => {
            $(if any.is::<stock::$name>() { return Some(Op::$name); })*
        };
    }
    plain!(Log2, Exp2, Sin, Sqrt, Recip, Add, Mul, Mod, LessThan, Contiguous);
    None
}
