//! The last layer is made for the tokens that objectives read, whatever these are.

// Parts of it serve the other tests only.
#[allow(dead_code)]
mod common;

use std::collections::BTreeMap;

use ablate_bert::Layout;
use ablate_graph::ir::Op;
use ablate_graph::Tensor;
use ablate_train::graphs::{forward, ForwardShape};
use ablate_train::*;
use common::*;

const BATCH: usize = 4;
const SEQ: usize = 5;
const LABELS: usize = 6;

/// What an objective of the test reads.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Read {
    /// Its labels' positions.
    Labels,
    /// The pooled first tokens.
    Pooled,
    /// The states of all tokens.
    All,
    /// Both of the first.
    Both,
    /// Nothing that the encoder makes.
    Nothing,
}

struct Reader(&'static str, Read);

impl Objective for Reader {
    fn name(&self) -> &str {
        self.0
    }
    fn weight(&self) -> f64 {
        1.0
    }
    fn needs_pairs(&self) -> bool {
        false
    }
    fn duplicate(&self) -> Result<Box<dyn Objective>, PluginError> {
        Ok(Box::new(Reader(self.0, self.1)))
    }
    fn prepare(&mut self, _: &mut PreparedBatch) -> Result<f64, PluginError> {
        Ok(1.0)
    }
    fn build(&mut self, cx: &mut ObjectiveContext<'_>) -> Result<ObjectiveGraph, PluginError> {
        let fail = |e: &dyn std::fmt::Display| PluginError::new("reader", "build", e.to_string());
        let mut read: Vec<Tensor> = Vec::new();
        let hidden = cx.encoder.hidden().clone();
        if matches!(self.1, Read::Labels | Read::Both) {
            let shape = [BATCH * SEQ, hidden.shape()[2]];
            let table = cx.graph.reshape(&hidden, &shape).map_err(|e| fail(&e))?;
            let rows = cx.graph.gather(&table, &cx.features["labels.positions"]);
            read.push(rows.map_err(|e| fail(&e))?);
        }
        if matches!(self.1, Read::Pooled | Read::Both) {
            read.push(cx.encoder.pooled(cx.graph).map_err(|e| fail(&e))?);
        }
        if self.1 == Read::All {
            read.push(hidden);
        }
        let mut loss_sum = cx.graph.scalar(1.0);
        for tensor in read {
            let sum = cx.graph.sum_all(&tensor).map_err(|e| fail(&e))?;
            loss_sum = cx.graph.add(&loss_sum, &sum).map_err(|e| fail(&e))?;
        }
        Ok(ObjectiveGraph {
            loss_sum,
            metrics: Vec::new(),
        })
    }
}

/// Tokens for which the last feed-forward network is made; none if it is made for no one.
fn tokens(objectives: &[(&'static str, Read, bool)], labels: usize) -> Option<usize> {
    let config = model();
    let mut readers: Vec<Box<dyn Objective>> = Vec::new();
    let mut features = Vec::new();
    for (name, read, labelled) in objectives {
        readers.push(Box::new(Reader(name, *read)));
        features.push(match labelled {
            true => BTreeMap::from([("labels".to_owned(), true)]),
            false => BTreeMap::new(),
        });
    }
    let shape = ForwardShape {
        batch: BATCH,
        seq: SEQ,
        layout: Layout::Padded,
        capacities: vec![labels; readers.len()],
        features,
    };
    let mut built = forward(&config, &mut readers, &shape, true).unwrap();
    for (i, objective) in built.objectives.iter().enumerate() {
        let name = format!("loss {i}");
        built.graph.output(&name, &objective.loss_sum).unwrap();
    }
    let last = format!("encoder.layer.{}.ffn", config.num_hidden_layers - 1);
    let inner = config.intermediate_size;
    let lowered = built.graph.lower().unwrap();
    let nodes = lowered.nodes.iter().filter(|n| *n.scope == *last);
    // The exponential of the GELU.
    let nodes = nodes.filter(|n| n.op == Op::Exp2);
    nodes
        .map(|n| n.shape.iter().product::<usize>() / inner)
        .max()
}

#[test]
fn as_many_tokens_are_made_as_are_read() {
    let all = Some(BATCH * SEQ);
    let one = |read, labelled| tokens(&[("one", read, labelled)], LABELS);
    assert_eq!(one(Read::Both, true), Some(LABELS + BATCH));
    assert_eq!(one(Read::Labels, true), Some(LABELS));
    assert_eq!(one(Read::Pooled, true), Some(BATCH));
    assert_eq!(one(Read::Pooled, false), Some(BATCH));
    assert_eq!(one(Read::All, true), all);
    assert_eq!(one(Read::All, false), all);
    assert_eq!(one(Read::Nothing, false), None);

    let two = |a, b| tokens(&[("one", a, true), ("two", b, false)], LABELS);
    assert_eq!(two(Read::Labels, Read::Pooled), Some(LABELS + BATCH));
    assert_eq!(two(Read::Labels, Read::All), all);
    // Two lists may name the same token.
    let lists = [("one", Read::Labels, true), ("two", Read::Labels, true)];
    assert_eq!(tokens(&lists, LABELS), all);
    // Nearly all tokens.
    assert_eq!(tokens(&[("one", Read::Labels, true)], BATCH * SEQ - 3), all);
}
