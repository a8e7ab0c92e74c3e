//! Matrix products of BERT, through a session: `cargo bench -p ablate-cpu --bench gemm`.
//!
//! Each shape stands once for the forward product (`x W^T`, NT) and twice for its gradients (`dy W`, NN;
//! `dy^T x`, TN), as training runs them. Items are floating-point operations, two a multiply-add.

use ablate_compiler::{Backend, ProgramId, Session};
use ablate_cpu::CpuBackend;
use ablate_graph::{Feeds, Graph, RandomKey, Tensor};
use divan::counter::ItemsCount;
use divan::Bencher;

fn main() {
    divan::main();
}

/// A program whose operands and result are states, so that a run copies nothing.
struct Ready {
    session: Box<dyn Session>,
    program: ProgramId,
}

impl Ready {
    fn new(
        states: &[(&str, &[usize])],
        build: impl FnOnce(&mut Graph, &[Tensor]) -> Tensor,
    ) -> Self {
        let mut g = Graph::new();
        let tensors: Vec<Tensor> = states
            .iter()
            .map(|(name, shape)| g.state(name, shape).unwrap())
            .collect();
        let result = build(&mut g, &tensors);
        let out = g.state("out", &result.shape()).unwrap();
        g.assign(&out, &result).unwrap();
        let mut session = CpuBackend::new(0).unwrap().session().unwrap();
        let program = session.load(g).unwrap();
        for (name, shape) in states {
            let len = shape.iter().product();
            let values: Vec<f32> = (0..len).map(|i| (i % 13) as f32 * 0.01).collect();
            session.set_state(name, &values).unwrap();
        }
        Ready { session, program }
    }

    fn bench(mut self, bencher: Bencher<'_, '_>) {
        let flops = self.session.flops(self.program) as u64;
        let feeds = Feeds::new();
        bencher.counter(ItemsCount::new(flops)).bench_local(|| {
            let key = RandomKey::default();
            self.session.run(self.program, &feeds, key).unwrap();
        });
    }
}

/// Tokens, width of the input, width of the output.
const LINEAR: &[[usize; 3]] = &[
    // tiny, batch 32, sequence 128: attention, feed-forward, vocabulary.
    [4096, 128, 128],
    [4096, 128, 512],
    [4096, 512, 128],
    [640, 128, 30522],
    // small.
    [4096, 512, 512],
    [4096, 512, 2048],
    [4096, 2048, 512],
    [640, 512, 30522],
    // base, batch 8.
    [1024, 768, 768],
    [1024, 768, 3072],
    [1024, 3072, 768],
    [160, 768, 30522],
];

#[divan::bench(args = LINEAR)]
fn forward(bencher: Bencher<'_, '_>, [tokens, width, out]: &[usize; 3]) {
    let states: [(&str, &[usize]); 2] = [("x", &[*tokens, *width]), ("w", &[*out, *width])];
    Ready::new(&states, |g, t| g.matmul_t(&t[0], &t[1]).unwrap()).bench(bencher);
}

#[divan::bench(args = LINEAR)]
fn gradient_of_input(bencher: Bencher<'_, '_>, [tokens, width, out]: &[usize; 3]) {
    let states: [(&str, &[usize]); 2] = [("dy", &[*tokens, *out]), ("w", &[*out, *width])];
    Ready::new(&states, |g, t| g.matmul(&t[0], &t[1]).unwrap()).bench(bencher);
}

#[divan::bench(args = LINEAR)]
fn gradient_of_weight(bencher: Bencher<'_, '_>, [tokens, width, out]: &[usize; 3]) {
    let states: [(&str, &[usize]); 2] = [("dy", &[*tokens, *out]), ("x", &[*tokens, *width])];
    let build = |g: &mut Graph, t: &[Tensor]| {
        let turned = g.transpose(&t[0], 0, 1).unwrap();
        g.matmul(&turned, &t[1]).unwrap()
    };
    Ready::new(&states, build).bench(bencher);
}

/// Rows, tokens a row, heads; heads are 64 wide and lie side by side in `[batch, seq, heads, 64]`.
const ATTENTION: &[[usize; 3]] = &[[32, 128, 2], [32, 128, 8], [8, 128, 12], [2, 512, 12]];

#[divan::bench(args = ATTENTION)]
fn attention_scores(bencher: Bencher<'_, '_>, [batch, seq, heads]: &[usize; 3]) {
    let shape = [*batch, *seq, *heads, 64];
    let build = |g: &mut Graph, t: &[Tensor]| {
        let q = g.permute(&t[0], &[0, 2, 1, 3]).unwrap();
        let k = g.permute(&t[1], &[0, 2, 1, 3]).unwrap();
        g.matmul_t(&q, &k).unwrap()
    };
    Ready::new(&[("q", &shape), ("k", &shape)], build).bench(bencher);
}

#[divan::bench(args = ATTENTION)]
fn attention_values(bencher: Bencher<'_, '_>, [batch, seq, heads]: &[usize; 3]) {
    let shape = [*batch, *seq, *heads, 64];
    let build = |g: &mut Graph, t: &[Tensor]| {
        let v = g.permute(&t[1], &[0, 2, 1, 3]).unwrap();
        let mixed = g.matmul(&t[0], &v).unwrap();
        g.permute(&mixed, &[0, 2, 1, 3]).unwrap()
    };
    let scores = [*batch, *heads, *seq, *seq];
    Ready::new(&[("p", &scores), ("v", &shape)], build).bench(bencher);
}
