//! Reverse-mode differentiation over the primitives; gradients are ordinary nodes of the graph.
//!
//! Owns: the walk from the loss back, the adjoint of a view, and the sums of what several consumers
//! send. The derivative of each op is in [`rules`].
//!
//! A tensor that the loss does not reach is an error, and so is an op without a rule: a training
//! loop whose gradient silently stops somewhere still sees its loss fall.

mod rules;

use crate::error::{GraphError, Result};
use crate::graph::Graph;
use crate::ir::Phase;
use crate::tensor::Tensor;
use crate::view::View;
use luminal::prelude::NodeIndex;
use rules::{rule_of, Rule, Site};
use std::collections::HashMap;

/// What the consumers of a node sent back.
struct Parts {
    first: Tensor,
    rest: Vec<Tensor>,
}

impl Parts {
    fn new(first: Tensor) -> Self {
        Parts {
            first,
            rest: Vec::new(),
        }
    }
}

impl Graph {
    /// The derivatives of a `loss` of one element with respect to each of `wrt`, in the shape of
    /// each. The new nodes belong to [`Phase::Backward`] and carry the scope of the node that they
    /// differentiate.
    ///
    /// Definitions at the edges: comparisons have gradient zero; a maximum shares its gradient evenly
    /// among ties; nothing flows through [`Graph::stop_gradient`].
    ///
    /// # Errors
    /// [`GraphError::Unreached`] names every tensor that no gradient flows to,
    /// [`GraphError::NoRule`] an op on the way that has none (the remainder),
    /// [`GraphError::NotWhole`] a tensor of `wrt` that is a view of something larger.
    pub fn gradients(&mut self, loss: &Tensor, wrt: &[Tensor]) -> Result<Vec<Tensor>> {
        self.own("gradients", loss)?;
        if loss.elements() != 1 || !loss.view.is_plain() {
            return Err(self.shape_error("gradients", &[loss], "wants a loss of one element"));
        }
        for t in wrt {
            self.own("gradients", t)?;
            if !t.view.is_plain() {
                return Err(GraphError::NotWhole {
                    op: "gradients",
                    shape: t.shape(),
                    scope: self.scope(),
                });
            }
        }
        let needed = self.needed(loss.node() + 1, wrt)?;
        let mut parts: HashMap<usize, Parts> = HashMap::new();
        if needed[loss.node()] {
            let one = self.scalar(1.0);
            let shape = self.facts[loss.node()].shape.clone();
            parts.insert(loss.node(), Parts::new(self.reshape(&one, &shape)?));
        }
        let mut found: HashMap<usize, Tensor> = HashMap::new();
        for node in (0..=loss.node()).rev() {
            let Some(parts_here) = parts.remove(&node) else {
                continue;
            };
            let scope = self.facts[node].scope.clone();
            let cotangent = self.labelled(scope, Phase::Backward, |g| -> Result<Tensor> {
                let cotangent = g.total(parts_here)?;
                g.send_back(node, &cotangent, &needed, &mut parts)?;
                Ok(cotangent)
            })?;
            if wrt.iter().any(|t| t.node() == node) {
                found.insert(node, cotangent);
            }
        }
        let missing: Vec<String> = wrt
            .iter()
            .filter(|t| !found.contains_key(&t.node()))
            .map(|t| self.describe(t))
            .collect();
        if !missing.is_empty() {
            return Err(GraphError::Unreached {
                parameters: missing,
            });
        }
        let mut gradients = Vec::with_capacity(wrt.len());
        for t in wrt {
            if let Some(gradient) = found.get(&t.node()) {
                gradients.push(self.reshape(&gradient.clone(), &t.shape())?);
            }
        }
        Ok(gradients)
    }

    /// Which of the first `count` nodes depend on `wrt` in a way that a gradient flows through.
    fn needed(&self, count: usize, wrt: &[Tensor]) -> Result<Vec<bool>> {
        let mut needed = vec![false; count];
        for t in wrt.iter().filter(|t| t.node() < count) {
            needed[t.node()] = true;
        }
        for i in 0..count {
            if needed[i] || self.facts[i].stop_gradient {
                continue;
            }
            let (op, inputs) = self.read_node(NodeIndex::new(i))?;
            needed[i] = !matches!(rule_of(&op), Rule::Zero)
                && inputs.iter().any(|(source, _)| needed[*source]);
        }
        Ok(needed)
    }

    /// Sum of the cotangents that a node's consumers sent.
    fn total(&mut self, parts: Parts) -> Result<Tensor> {
        let mut total = parts.first;
        for part in parts.rest {
            total = self.add(&total, &part)?;
        }
        Ok(total)
    }

    /// Sends `cotangent`, of the node's shape, on to the operands that need one.
    fn send_back(
        &mut self,
        node: usize,
        cotangent: &Tensor,
        needed: &[bool],
        parts: &mut HashMap<usize, Parts>,
    ) -> Result<()> {
        let id = NodeIndex::new(node);
        let (op, inputs) = self.read_node(id)?;
        if self.facts[node].stop_gradient || !inputs.iter().any(|(source, _)| needed[*source]) {
            return Ok(());
        }
        let tensor = |id: usize, view: View| Tensor {
            graph: cotangent.graph,
            id: NodeIndex::new(id),
            view,
        };
        let site = Site {
            cotangent: cotangent.clone(),
            result: tensor(node, View::contiguous(&self.facts[node].shape)),
            operands: inputs
                .iter()
                .map(|(source, view)| tensor(*source, view.clone()))
                .collect(),
        };
        let rule = match rule_of(&op) {
            Rule::Derivative(rule) => rule,
            Rule::Zero => return Ok(()),
            Rule::Missing => {
                return Err(GraphError::NoRule {
                    op: op.name().to_owned(),
                    scope: self.facts[node].scope.clone(),
                })
            }
        };
        for (k, (source, view)) in inputs.iter().enumerate() {
            if needed[*source] {
                let seen = rule(self, &op, &site, k)?;
                let part = self.unview(&seen, view, *source)?;
                match parts.get_mut(source) {
                    Some(parts) => parts.rest.push(part),
                    None => {
                        parts.insert(*source, Parts::new(part));
                    }
                }
            }
        }
        Ok(())
    }

    /// Adjoint of reading a producer through `view`: `seen` has the view's logical shape, the result
    /// the producer's.
    fn unview(&mut self, seen: &Tensor, view: &View, producer: usize) -> Result<Tensor> {
        // Sums first: they make the tensor smaller, after a pad they would need a copy, and next to
        // the product that they often follow they make it a contraction.
        let order = view.buffer_order();
        let real = view.dims.iter().filter(|d| !d.fake).count();
        let laid_out = self.permute(seen, &order)?;
        let mut g = if laid_out.view.is_row_major() {
            // a product made by the rule of Mul: the sums read it as it lies
            let repeated: Vec<usize> = (real..view.rank()).collect();
            self.sum(&laid_out, &repeated, false)?
        } else {
            let mut repeated = order[real..].to_vec();
            repeated.sort_unstable();
            let g = self.sum(seen, &repeated, false)?;
            // the dims left, from logical to memory order
            let rank_among_kept =
                |l: &usize| order[..real].iter().filter(|other| *other < l).count();
            let to_memory: Vec<usize> = order[..real].iter().map(rank_among_kept).collect();
            self.permute(&g, &to_memory)?
        };
        for (axis, dim) in view.dims.iter().filter(|d| !d.fake).enumerate() {
            if dim.is_padded() {
                g = self.slice(&g, axis, dim.pad.0, dim.pad.0 + dim.size)?;
            } else if dim.is_sliced() {
                g = self.pad(&g, axis, dim.lo, dim.size - dim.hi)?;
            }
        }
        let shape = self.facts[producer].shape.clone();
        self.reshape(&g, &shape)
    }

    /// How errors call a tensor.
    fn describe(&self, t: &Tensor) -> String {
        self.state_name(t).unwrap_or_else(|| {
            let facts = &self.facts[t.node()];
            format!("%{} {:?} {}", t.node(), facts.shape, facts.scope)
        })
    }
}
