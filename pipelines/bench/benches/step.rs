//! Training steps of the published sizes: `cargo bench -p ablate-bench --bench step`. Items are tokens.

use std::sync::atomic::{AtomicBool, Ordering};

use ablate_bench::{backend, parts, Configuration};
use ablate_train::Trainer;
use divan::counter::ItemsCount;
use divan::Bencher;

fn main() {
    divan::main();
}

#[divan::bench(args = ["tiny", "mini", "small", "base"], sample_count = 10)]
fn step(bencher: Bencher<'_, '_>, size: &str) {
    let configuration = Configuration::preset(size).unwrap();
    let backend = backend(&configuration).unwrap();
    let (config, parts) = parts(&configuration, &*backend).unwrap();
    let mut trainer = Trainer::new(config, parts).unwrap();
    let mut one_step = || {
        let done = AtomicBool::new(false);
        let stop = &mut |_: ablate_train::TrainEvent<'_>| done.store(true, Ordering::Relaxed);
        trainer.run(stop, &done).unwrap();
    };
    // The first step touches memory for the first time.
    one_step();
    let tokens = configuration.batch * configuration.seq;
    bencher
        .counter(ItemsCount::new(tokens))
        .bench_local(one_step);
}
