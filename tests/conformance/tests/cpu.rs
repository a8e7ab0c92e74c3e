//! The processor passes the suite, whatever its threads and instruction set.

use ablate_conformance::{cases, check, check_against_stock, check_same_bits, random};
use ablate_cpu::CpuBackend;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn backends() -> Vec<CpuBackend> {
    let with = |threads| CpuBackend::new(threads).expect("threads can be started");
    vec![
        with(1),
        with(2),
        with(1).avx2(),
        with(1).portable(),
        with(2).interpreted(),
    ]
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

/// What runs as machine code where the processor allows has the bits of the interpreter.
#[test]
fn machine_code_has_the_interpreters_bits() {
    let code = CpuBackend::new(2).expect("threads");
    let interpreter = CpuBackend::new(1).expect("one thread").interpreted();
    for (name, build) in cases::CASES {
        check_same_bits(&interpreter, &code, || cases::build(*build))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let given = |name: &str| std::env::var_os(name).is_some();
    ProptestConfig {
        cases: if given("PROPTEST_CASES") {
            default.cases
        } else {
            1000
        },
        rng_seed: if given("PROPTEST_RNG_SEED") {
            default.rng_seed
        } else {
            RngSeed::Fixed(1)
        },
        ..default
    }
}

proptest! {
    // A fixed seed: the gate checks the same graphs every time. PROPTEST_RNG_SEED and PROPTEST_CASES
    // look elsewhere and further.
    #![proptest_config(config())]

    #[test]
    fn random_graphs_on_the_processor(seed in any::<u64>(), steps in 4usize..24) {
        let backend = CpuBackend::new(1).expect("one thread");
        check_against_stock(&backend, || random::graph(seed, steps), 1e-4)
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        check_same_bits(&backend.clone().interpreted(), &backend, || random::graph(seed, steps))
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}
