//! Evaluation of a lowered graph in f64: what gradients are checked against.
//!
//! Owns: a direct evaluation, node by node. Products that are summed straight away are not written
//! out, so that a small BERT takes seconds. Must not know: compiler passes (this is an oracle of
//! theirs).
//!
//! Constants, inputs and uniform numbers are the f32 numbers of the graph, widened; states are given
//! in f64.

mod kernels;

use crate::error::Result;
use crate::feeds::{state_value, Feeds, RandomKey};
use crate::graph::Graph;
use crate::ir::{LoadKind, Lowered, Node, Op};
use crate::view::{read, View};
use ablate_random::Stream;
use kernels::{Axis, Operand};
use std::collections::BTreeMap;

/// What a run in f64 leaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunResult64 {
    /// Row-major values of the outputs, by name.
    pub outputs: BTreeMap<String, Vec<f64>>,
    /// New values of the assigned states, by name.
    pub assigned: BTreeMap<String, Vec<f64>>,
}

impl Graph {
    /// Evaluates the graph in f64. To evaluate one graph many times, keep an [`Interpreter`].
    ///
    /// # Errors
    /// A needed input or state is missing or has wrong values.
    pub fn run_f64(
        &self,
        feeds: &Feeds,
        states: &BTreeMap<String, Vec<f64>>,
        key: RandomKey,
    ) -> Result<RunResult64> {
        Interpreter::new(self.lower()?).run(feeds, states, key)
    }
}

/// How a node is evaluated.
#[derive(Clone, Debug)]
enum Plan {
    Alone,
    /// Part of the contraction that a later node evaluates.
    Fused,
    /// The last sum over a product: `product` is the Mul, `kept` its dims that are not summed.
    Contraction {
        product: usize,
        kept: Vec<usize>,
    },
}

/// A lowered graph, ready to be evaluated any number of times.
#[derive(Clone, Debug)]
pub struct Interpreter {
    graph: Lowered,
    plans: Vec<Plan>,
    /// How often each node's value is read in a run.
    reads: Vec<usize>,
}

impl Interpreter {
    /// Prepares a graph.
    pub fn new(graph: Lowered) -> Self {
        let plans = plan(&graph);
        let mut reads = vec![0; graph.nodes.len()];
        for (i, plan) in plans.iter().enumerate() {
            for (source, _) in operands(&graph, i, plan) {
                reads[*source] += 1;
            }
        }
        for (_, node, _) in graph.outputs.iter().chain(&graph.assigns) {
            reads[*node] += 1;
        }
        Interpreter {
            graph,
            plans,
            reads,
        }
    }

    /// Evaluates the graph.
    ///
    /// # Errors
    /// A needed input or state is missing or has wrong values.
    pub fn run(
        &self,
        feeds: &Feeds,
        states: &BTreeMap<String, Vec<f64>>,
        key: RandomKey,
    ) -> Result<RunResult64> {
        let mut values: Vec<Vec<f64>> = vec![Vec::new(); self.graph.nodes.len()];
        let mut reads = self.reads.clone();
        for (i, node) in self.graph.nodes.iter().enumerate() {
            let plan = &self.plans[i];
            values[i] = match (plan, &node.op) {
                (Plan::Fused, _) => continue,
                (Plan::Alone, Op::Load(kind)) => load(kind, &node.shape, feeds, states, key)?,
                (Plan::Alone, _) => alone(node, &values),
                (Plan::Contraction { product, kept }, _) => {
                    contraction(&self.graph.nodes[*product], kept, node.elements(), &values)
                }
            };
            for (source, _) in operands(&self.graph, i, plan) {
                reads[*source] -= 1;
                if reads[*source] == 0 {
                    values[*source] = Vec::new();
                }
            }
        }
        let roots = |roots: &[(String, usize, View)]| {
            roots
                .iter()
                .map(|(name, node, view)| (name.clone(), read(&values[*node], view)))
                .collect()
        };
        Ok(RunResult64 {
            outputs: roots(&self.graph.outputs),
            assigned: roots(&self.graph.assigns),
        })
    }
}

/// What is read when node `i` is evaluated as planned.
fn operands<'a>(graph: &'a Lowered, i: usize, plan: &Plan) -> &'a [(usize, View)] {
    match plan {
        Plan::Alone => &graph.nodes[i].inputs,
        Plan::Fused => &[],
        Plan::Contraction { product, .. } => &graph.nodes[*product].inputs,
    }
}

/// Finds sums over a product that nobody else reads.
fn plan(graph: &Lowered) -> Vec<Plan> {
    let mut users = vec![0; graph.nodes.len()];
    for node in &graph.nodes {
        node.inputs
            .iter()
            .for_each(|(source, _)| users[*source] += 1);
    }
    for (_, node, _) in graph.outputs.iter().chain(&graph.assigns) {
        users[*node] += 1;
    }
    let mut plans = vec![Plan::Alone; graph.nodes.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        let Op::SumReduce(axis) = node.op else {
            continue;
        };
        let (source, view) = &node.inputs[0];
        let producer = &graph.nodes[*source];
        if users[*source] != 1 || *view != View::contiguous(&producer.shape) {
            continue;
        }
        let (product, mut kept) = match &plans[*source] {
            Plan::Contraction { product, kept } => (*product, kept.clone()),
            Plan::Alone if producer.op == Op::Mul => (*source, (0..producer.shape.len()).collect()),
            _ => continue,
        };
        kept.remove(axis);
        plans[*source] = Plan::Fused;
        plans[i] = Plan::Contraction { product, kept };
    }
    plans
}

fn load(
    kind: &LoadKind,
    shape: &[usize],
    feeds: &Feeds,
    states: &BTreeMap<String, Vec<f64>>,
    key: RandomKey,
) -> Result<Vec<f64>> {
    let elements = shape.iter().product();
    Ok(match kind {
        LoadKind::State { name, .. } => state_value(states, name, shape)?.to_vec(),
        LoadKind::Input { name, index_bound } => feeds
            .checked(name, shape, *index_bound)?
            .iter()
            .map(|v| f64::from(*v))
            .collect(),
        LoadKind::Uniform { stream } => {
            let mut value = vec![0.0; elements];
            Stream::new(key.seed, stream).fill_uniform(key.step, 0, &mut value);
            value.into_iter().map(f64::from).collect()
        }
        LoadKind::Iota => (0..elements).map(|i| i as f64).collect(),
    })
}

/// Evaluates a node by itself; a load gives nothing here.
fn alone(node: &Node, values: &[Vec<f64>]) -> Vec<f64> {
    let operand = |k: usize| {
        let (source, view) = &node.inputs[k];
        Operand::new(&values[*source], view)
    };
    let map = |f: fn(f64) -> f64| values[node.inputs[0].0].iter().map(|x| f(*x)).collect();
    let binary = |f: fn(f64, f64) -> f64| {
        let mut out = vec![0.0; node.elements()];
        let (a, b) = (operand(0), operand(1));
        kernels::binary(&mut out, axes(&node.shape, &node.shape, &a, &b), &a, &b, f);
        out
    };
    let reduce = |axis: usize, start: f64, f: fn(f64, f64) -> f64| {
        let mut out = vec![start; node.elements()];
        let (_, view) = &node.inputs[0];
        let a = operand(0);
        let full = view.shape();
        let mut strides = row_major(&node.shape);
        strides.insert(axis, 0);
        let axes = Axis::list(&full, &strides, &a.strides, &vec![0; full.len()]);
        kernels::reduce(&mut out, axes, &a, f);
        out
    };
    match node.op {
        Op::Load(_) => Vec::new(),
        Op::Constant(value) => vec![f64::from(value)],
        Op::Log2 => map(f64::log2),
        Op::Exp2 => map(f64::exp2),
        Op::Sin => map(f64::sin),
        Op::Sqrt => map(f64::sqrt),
        Op::Recip => map(f64::recip),
        Op::Add => binary(|a, b| a + b),
        Op::Mul => binary(|a, b| a * b),
        Op::Mod => binary(|a, b| a % b),
        Op::LessThan => binary(|a, b| if a < b { 1.0 } else { 0.0 }),
        Op::SumReduce(axis) => reduce(axis, 0.0, |a, b| a + b),
        Op::MaxReduce(axis) => reduce(axis, f64::NEG_INFINITY, f64::max),
        Op::Contiguous => {
            let (source, view) = &node.inputs[0];
            read(&values[*source], view)
        }
    }
}

fn contraction(product: &Node, kept: &[usize], elements: usize, values: &[Vec<f64>]) -> Vec<f64> {
    let mut out = vec![0.0; elements];
    let operand = |k: usize| {
        let (source, view) = &product.inputs[k];
        Operand::new(&values[*source], view)
    };
    let (a, b) = (operand(0), operand(1));
    let mut strides = vec![0; product.shape.len()];
    let mut step = 1;
    for dim in kept.iter().rev() {
        strides[*dim] = step;
        step *= product.shape[*dim];
    }
    let axes = Axis::list(&product.shape, &strides, &a.strides, &b.strides);
    kernels::contract(&mut out, axes, &a, &b);
    out
}

fn axes(shape: &[usize], out: &[usize], a: &Operand, b: &Operand) -> Vec<Axis> {
    Axis::list(shape, &row_major(out), &a.strides, &b.strides)
}

fn row_major(shape: &[usize]) -> Vec<usize> {
    View::contiguous(shape).strides()
}
