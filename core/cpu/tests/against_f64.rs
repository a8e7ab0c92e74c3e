//! The compiled program computes what an f64 evaluation of the same graph computes.

use ablate_compiler::Backend;
use ablate_cpu::CpuBackend;
use ablate_graph::{Feeds, Graph, RandomKey, Tensor};
use std::collections::BTreeMap;

fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut reader = ablate_random::Stream::new(seed, "numbers").reader();
    (0..n).map(|_| reader.normal() as f32 * 0.5).collect()
}

struct Case {
    feeds: Feeds,
    states: BTreeMap<String, Vec<f32>>,
    seed: u64,
}

impl Case {
    fn new() -> Self {
        Case {
            feeds: Feeds::new(),
            states: BTreeMap::new(),
            seed: 1,
        }
    }
    fn input(&mut self, g: &mut Graph, name: &str, shape: &[usize]) -> Tensor {
        self.seed += 1;
        self.feeds
            .set(name, numbers(shape.iter().product(), self.seed));
        g.input(name, shape).unwrap()
    }
    fn parameter(&mut self, g: &mut Graph, name: &str, shape: &[usize]) -> Tensor {
        self.seed += 1;
        self.states
            .insert(name.into(), numbers(shape.iter().product(), self.seed));
        g.parameter(name, shape).unwrap()
    }
    fn check(&self, g: Graph) -> String {
        let key = RandomKey { seed: 5, step: 3 };
        let exact = g
            .run_f64(
                &self.feeds,
                &self
                    .states
                    .iter()
                    .map(|(n, v)| (n.clone(), v.iter().map(|x| f64::from(*x)).collect()))
                    .collect(),
                key,
            )
            .unwrap();
        let backend = CpuBackend::new(2).unwrap();
        let mut session = backend.session().unwrap();
        for (name, values) in &self.states {
            session.set_state(name, values).unwrap();
        }
        let program = session.load(g).unwrap();
        session.run(program, &self.feeds, key).unwrap();
        let text = session.program_text(program).unwrap();
        for (name, values) in &exact.outputs {
            close(name, session.output(program, name).unwrap(), values, &text);
        }
        for (name, values) in &exact.assigned {
            close(name, &session.state(name).unwrap(), values, &text);
        }
        text
    }
}

fn close(name: &str, got: &[f32], exact: &[f64], text: &str) {
    assert_eq!(got.len(), exact.len());
    let norm = (exact.iter().map(|x| x * x).sum::<f64>() / exact.len() as f64).sqrt();
    for (i, (a, b)) in got.iter().zip(exact).enumerate() {
        let error = (f64::from(*a) - b).abs();
        assert!(
            error <= 2e-5 * (norm + b.abs()) + 1e-6,
            "{name}[{i}] {a} {b}\n{text}"
        );
    }
}

#[test]
fn layer_norm_and_gelu_with_gradients() {
    let (mut g, mut case) = (Graph::new(), Case::new());
    let x = case.input(&mut g, "x", &[3, 5, 8]);
    let w = case.parameter(&mut g, "w", &[8, 8]);
    let b = case.parameter(&mut g, "b", &[8]);
    let gamma = case.parameter(&mut g, "gamma", &[8]);
    let beta = case.parameter(&mut g, "beta", &[8]);
    let y = g.linear(&x, &w, Some(&b)).unwrap();
    let y = g.gelu(&y).unwrap();
    let y = g.dropout(&y, 0.3, "drop").unwrap();
    let y = g.add(&y, &x).unwrap();
    let y = g.layer_norm(&y, &gamma, &beta, 1e-5).unwrap();
    g.output("y", &y).unwrap();
    let s = g.sin(&y).unwrap();
    let loss = g.sum_all(&s).unwrap();
    g.output("loss", &loss).unwrap();
    let wrt = [w, b, gamma, beta];
    let gradients = g.gradients(&loss, &wrt).unwrap();
    for (i, t) in gradients.iter().enumerate() {
        g.output(&format!("g{i}"), t).unwrap();
    }
    let text = case.check(g);
    println!("{text}");
}

#[test]
fn attention_with_gradients() {
    let (mut g, mut case) = (Graph::new(), Case::new());
    let (batch, seq, heads, dim) = (2, 5, 3, 4);
    let x = case.input(&mut g, "x", &[batch, seq, heads * dim]);
    let mask = case.input(&mut g, "mask", &[batch, seq]);
    let mut parts = vec![];
    let mut wrt = vec![];
    for name in ["q", "k", "v"] {
        let w = case.parameter(&mut g, name, &[heads * dim, heads * dim]);
        let b = case.parameter(&mut g, &format!("{name}.b"), &[heads * dim]);
        let y = g.linear(&x, &w, Some(&b)).unwrap();
        let y = g.reshape(&y, &[batch, seq, heads, dim]).unwrap();
        parts.push(g.permute(&y, &[0, 2, 1, 3]).unwrap());
        wrt.extend([w, b]);
    }
    let s = g.matmul_t(&parts[0], &parts[1]).unwrap();
    let s = g.mul_scalar(&s, 0.5).unwrap();
    let m = g.reshape(&mask, &[batch, 1, 1, seq]).unwrap();
    let s = g.add(&s, &m).unwrap();
    let p = g.softmax(&s, 3).unwrap();
    let p = g.dropout(&p, 0.2, "attention").unwrap();
    let y = g.matmul(&p, &parts[2]).unwrap();
    let y = g.permute(&y, &[0, 2, 1, 3]).unwrap();
    let y = g.reshape(&y, &[batch, seq, heads * dim]).unwrap();
    let w = case.parameter(&mut g, "o", &[heads * dim, heads * dim]);
    let y = g.linear(&y, &w, None).unwrap();
    wrt.push(w);
    g.output("y", &y).unwrap();
    let s = g.sin(&y).unwrap();
    let loss = g.sum_all(&s).unwrap();
    let gradients = g.gradients(&loss, &wrt).unwrap();
    for (i, t) in gradients.iter().enumerate() {
        g.output(&format!("g{i}"), t).unwrap();
    }
    let text = case.check(g);
    println!("{text}");
    assert!(!text.contains("copy "), "{text}");
}

#[test]
fn embeddings_and_cross_entropy_with_gradients() {
    let (mut g, mut case) = (Graph::new(), Case::new());
    let (rows, vocab, hidden) = (7, 11, 6);
    let ids = g.index_input("ids", &[rows], vocab).unwrap();
    case.feeds
        .set("ids", (0..rows).map(|i| (i * 4 % vocab) as f32).collect());
    let labels = g.index_input("labels", &[rows], vocab).unwrap();
    case.feeds.set(
        "labels",
        (0..rows).map(|i| (i * 7 % vocab) as f32).collect(),
    );
    let weights = case.input(&mut g, "weights", &[rows]);
    let table = case.parameter(&mut g, "table", &[vocab, hidden]);
    let bias = case.parameter(&mut g, "bias", &[vocab]);
    let x = g.gather(&table, &ids).unwrap();
    let x = g.tanh(&x).unwrap();
    let logits = g.linear(&x, &table, Some(&bias)).unwrap();
    let losses = g.cross_entropy(&logits, &labels, Some(&weights)).unwrap();
    let loss = g.sum_all(&losses).unwrap();
    g.output("loss", &loss).unwrap();
    let gradients = g.gradients(&loss, &[table, bias]).unwrap();
    for (i, t) in gradients.iter().enumerate() {
        g.output(&format!("g{i}"), t).unwrap();
    }
    let text = case.check(g);
    println!("{text}");
    assert!(
        text.contains("gather") && text.contains("scatter"),
        "{text}"
    );
}

#[test]
fn states_are_updated_in_place_and_swapped() {
    let (mut g, mut case) = (Graph::new(), Case::new());
    let p = case.parameter(&mut g, "p", &[5, 3]);
    case.states.insert("a".into(), numbers(4, 90));
    case.states.insert("b".into(), numbers(4, 91));
    let a = g.state("a", &[4]).unwrap();
    let b = g.state("b", &[4]).unwrap();
    let half = g.mul_scalar(&p, 0.5).unwrap();
    let new = g.add(&half, &p).unwrap();
    let old = g.sum_all(&p).unwrap();
    g.output("old", &old).unwrap();
    g.assign(&p, &new).unwrap();
    g.assign(&a, &b).unwrap();
    g.assign(&b, &a).unwrap();
    let text = case.check(g);
    println!("{text}");
}
