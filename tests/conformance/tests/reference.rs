//! Stock luminal passes the suite: the graphs it runs are the ones that the others compile.

use ablate_compiler::ReferenceBackend;
use ablate_conformance::{cases, check, random};

#[test]
fn cases_on_stock_luminal() {
    for (name, build) in cases::CASES {
        // Two cases are about sizes that stock luminal is too slow for.
        if matches!(*name, "long rows" | "many rows") {
            continue;
        }
        let case = cases::build(*build).unwrap_or_else(|e| panic!("{name}: {e}"));
        println!("{name}");
        check(&ReferenceBackend, case, 2e-5).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn random_graphs_on_stock_luminal() {
    for seed in 0..60 {
        let case = random::graph(seed, 12).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        println!("seed {seed}");
        check(&ReferenceBackend, case, 1e-4).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}
