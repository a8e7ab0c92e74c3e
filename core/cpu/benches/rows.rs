//! Row kernels of BERT at the sizes of base, through a session: `cargo bench -p ablate-cpu --bench rows`.
//!
//! Bytes are those that must be moved when nothing is in cache: operands and results, once each.

use ablate_compiler::{Backend, ProgramId, Session};
use ablate_cpu::CpuBackend;
use ablate_graph::{Feeds, Graph, RandomKey, Tensor};
use divan::counter::BytesCount;
use divan::Bencher;

fn main() {
    divan::main();
}

/// Base, batch 8, sequence 128.
const TOKENS: usize = 1024;
const HIDDEN: usize = 768;
const WIDE: usize = 3072;
const SCORES: [usize; 4] = [8, 12, 128, 128];
/// Predictions of a batch and the vocabulary.
const LOGITS: [usize; 2] = [192, 30522];

/// A program over states.
struct Ready {
    graph: Graph,
    states: Vec<(String, usize)>,
    indices: Vec<(String, usize, usize)>,
}

impl Ready {
    fn new() -> Self {
        Ready {
            graph: Graph::new(),
            states: vec![],
            indices: vec![],
        }
    }

    fn state(&mut self, name: &str, shape: &[usize]) -> Tensor {
        let len = shape.iter().product();
        self.states.push((name.to_owned(), len));
        self.graph.state(name, shape).unwrap()
    }

    fn index(&mut self, name: &str, len: usize, bound: usize) -> Tensor {
        self.indices.push((name.to_owned(), len, bound));
        self.graph.index_input(name, &[len], bound).unwrap()
    }

    /// Keeps a result in a state of its own.
    fn keep(&mut self, name: &str, value: &Tensor) {
        let state = self.graph.state(name, &value.shape()).unwrap();
        self.graph.assign(&state, value).unwrap();
    }

    /// The gradients of `wanted` where the gradient of `result` is a state, each kept.
    fn keep_gradients(&mut self, result: &Tensor, wanted: &[&Tensor]) {
        let upstream = self.state("upstream", &result.shape());
        let product = self.graph.mul(result, &upstream).unwrap();
        let loss = self.graph.sum_all(&product).unwrap();
        let wanted: Vec<Tensor> = wanted.iter().map(|t| (*t).clone()).collect();
        let gradients = self.graph.gradients(&loss, &wanted).unwrap();
        for (i, gradient) in gradients.iter().enumerate() {
            self.keep(&format!("gradient {i}"), gradient);
        }
    }

    fn bench(self, bencher: Bencher<'_, '_>) {
        let mut session: Box<dyn Session> = CpuBackend::new(0).unwrap().session().unwrap();
        let program: ProgramId = session.load(self.graph).unwrap();
        for (name, len) in &self.states {
            // Between 0.1 and 1: a square root and a logarithm of it are harmless.
            let values: Vec<f32> = (0..*len).map(|i| 0.1 + (i % 97) as f32 * 0.009).collect();
            session.set_state(name, &values).unwrap();
        }
        let mut feeds = Feeds::new();
        for (name, len, bound) in &self.indices {
            let values = (0..*len).map(|i| (i * 7919 % bound) as f32);
            feeds.set(name.clone(), values.collect());
        }
        let kernels = session.profile(program);
        let bytes: u64 = kernels.iter().map(|k| k.bytes).sum();
        let mut step = 0;
        bencher.counter(BytesCount::new(bytes)).bench_local(|| {
            step += 1;
            let key = RandomKey { seed: 1, step };
            session.run(program, &feeds, key).unwrap();
        });
    }
}

/// Scale, mask, softmax and dropout of attention.
fn softmax(r: &mut Ready) -> (Tensor, Tensor) {
    let scores = r.state("scores", &SCORES);
    let mask = r.state("mask", &[SCORES[0], 1, 1, SCORES[3]]);
    let g = &mut r.graph;
    let scaled = g.mul_scalar(&scores, 0.125).unwrap();
    let mask = g.expand(&mask, &SCORES).unwrap();
    let masked = g.add(&scaled, &mask).unwrap();
    let p = g.softmax(&masked, 3).unwrap();
    (scores, g.dropout(&p, 0.1, "dropout/bench").unwrap())
}

#[divan::bench]
fn softmax_forward(bencher: Bencher<'_, '_>) {
    let mut r = Ready::new();
    let (_, p) = softmax(&mut r);
    r.keep("p", &p);
    r.bench(bencher);
}

#[divan::bench]
fn softmax_backward(bencher: Bencher<'_, '_>) {
    let mut r = Ready::new();
    let (scores, p) = softmax(&mut r);
    r.keep_gradients(&p, &[&scores]);
    r.bench(bencher);
}

/// Bias and GELU.
fn gelu(r: &mut Ready) -> (Tensor, Tensor, Tensor) {
    let x = r.state("x", &[TOKENS, WIDE]);
    let bias = r.state("bias", &[WIDE]);
    let g = &mut r.graph;
    let wide = g.expand(&bias, &[TOKENS, WIDE]).unwrap();
    let sum = g.add(&x, &wide).unwrap();
    let y = g.gelu(&sum).unwrap();
    (x, bias, y)
}

#[divan::bench]
fn gelu_forward(bencher: Bencher<'_, '_>) {
    let mut r = Ready::new();
    let (_, _, y) = gelu(&mut r);
    r.keep("y", &y);
    r.bench(bencher);
}

#[divan::bench]
fn gelu_backward(bencher: Bencher<'_, '_>) {
    let mut r = Ready::new();
    let (x, bias, y) = gelu(&mut r);
    r.keep_gradients(&y, &[&x, &bias]);
    r.bench(bencher);
}

/// Bias, dropout, residual and layer norm.
fn layer_norm(r: &mut Ready) -> (Vec<Tensor>, Tensor) {
    let x = r.state("x", &[TOKENS, HIDDEN]);
    let residual = r.state("residual", &[TOKENS, HIDDEN]);
    let bias = r.state("bias", &[HIDDEN]);
    let scale = r.state("scale", &[HIDDEN]);
    let shift = r.state("shift", &[HIDDEN]);
    let g = &mut r.graph;
    let wide = g.expand(&bias, &[TOKENS, HIDDEN]).unwrap();
    let sum = g.add(&x, &wide).unwrap();
    let dropped = g.dropout(&sum, 0.1, "dropout/bench").unwrap();
    let sum = g.add(&dropped, &residual).unwrap();
    let y = g.layer_norm(&sum, &scale, &shift, 1e-12).unwrap();
    (vec![x, residual, bias, scale, shift], y)
}

#[divan::bench]
fn layer_norm_forward(bencher: Bencher<'_, '_>) {
    let mut r = Ready::new();
    let (_, y) = layer_norm(&mut r);
    r.keep("y", &y);
    r.bench(bencher);
}

#[divan::bench]
fn layer_norm_backward(bencher: Bencher<'_, '_>) {
    let mut r = Ready::new();
    let (inputs, y) = layer_norm(&mut r);
    let wanted: Vec<&Tensor> = inputs.iter().collect();
    r.keep_gradients(&y, &wanted);
    r.bench(bencher);
}

#[divan::bench]
fn cross_entropy_forward_and_backward(bencher: Bencher<'_, '_>) {
    let mut r = Ready::new();
    let logits = r.state("logits", &LOGITS);
    let labels = r.index("labels", LOGITS[0], LOGITS[1]);
    let losses = r.graph.cross_entropy(&logits, &labels, None).unwrap();
    r.keep("losses", &losses);
    r.keep_gradients(&losses, &[&logits]);
    r.bench(bencher);
}

/// The update of base's word embeddings: 23 million numbers.
#[divan::bench]
fn adamw(bencher: Bencher<'_, '_>) {
    let shape = [30522, HIDDEN];
    let mut r = Ready::new();
    let gradient = r.state("gradient", &shape);
    let parameter = r.state("parameter", &shape);
    let first = r.state("first", &shape);
    let second = r.state("second", &shape);
    let g = &mut r.graph;
    let mix = |g: &mut Graph, old: &Tensor, new: &Tensor, beta: f32| {
        let kept = g.mul_scalar(old, beta).unwrap();
        let added = g.mul_scalar(new, 1.0 - beta).unwrap();
        g.add(&kept, &added).unwrap()
    };
    let square = g.square(&gradient).unwrap();
    let new_first = mix(g, &first, &gradient, 0.9);
    let new_second = mix(g, &second, &square, 0.999);
    let root = g.sqrt(&new_second).unwrap();
    let below = g.add_scalar(&root, 1e-8).unwrap();
    let direction = g.div(&new_first, &below).unwrap();
    let change = g.mul_scalar(&direction, 1e-4).unwrap();
    let decayed = g.mul_scalar(&parameter, 1.0 - 1e-6).unwrap();
    let new_parameter = g.sub(&decayed, &change).unwrap();
    for (state, value) in [
        (&parameter, &new_parameter),
        (&first, &new_first),
        (&second, &new_second),
    ] {
        g.assign(state, value).unwrap();
    }
    r.bench(bencher);
}
