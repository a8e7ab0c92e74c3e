//! The processor passes the suite, whatever its threads and instruction set.

use ablate_conformance::{cases, check, random};
use ablate_cpu::CpuBackend;
use proptest::prelude::*;

fn backends() -> Vec<CpuBackend> {
    let with = |threads| CpuBackend::new(threads).expect("threads can be started");
    vec![with(1), with(2), with(1).portable()]
}

#[test]
fn cases_on_the_processor() {
    for backend in backends() {
        for (name, build) in cases::CASES {
            let case = cases::build(*build).unwrap_or_else(|e| panic!("{name}: {e}"));
            println!("{name}");
            check(&backend, case, 2e-5).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs_on_the_processor(seed in any::<u64>(), steps in 4usize..24) {
        let case = random::graph(seed, steps).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let backend = CpuBackend::new(1).expect("one thread");
        check(&backend, case, 1e-4).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}
