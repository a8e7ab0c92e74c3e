//! Graphs, gradients and passes of a training step: `cargo bench -p ablate-bench --bench compile`.

use ablate_bench::{backend, Compilation, Configuration};
use divan::Bencher;

fn main() {
    divan::main();
}

#[divan::bench(args = ["tiny", "mini", "small", "medium", "base"], sample_count = 10)]
fn compile(bencher: Bencher<'_, '_>, size: &str) {
    let configuration = Configuration::preset(size).unwrap();
    let backend = backend(&configuration).unwrap();
    let mut compilation = Compilation::new(&configuration).unwrap();
    bencher.bench_local(|| compilation.run(&*backend).unwrap());
}
