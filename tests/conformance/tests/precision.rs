//! The suite in the other precisions of matrix products, on every way to compute them.
//!
//! The stated bounds are of whole graphs, tensor by tensor; those of single products stand beside them, in
//! `core/cpu/src/matmul_packed/tests.rs`.

use ablate_conformance::{cases, check_norms, check_same_bits};
use ablate_cpu::{CpuBackend, Precision};

/// Of a tensor's norm. Three products of bfloat16 parts leave out `2^-15` of a product at most, and
/// commonly a tenth of that.
const SPLIT: f64 = 2e-4;
/// Of the same, for operands of eight bits.
const BF16: f64 = 5e-2;

fn new(threads: usize, precision: Precision) -> CpuBackend {
    let backend = CpuBackend::new(threads).expect("threads can be started");
    backend.with_precision(precision)
}

/// Every way to multiply, with one and two threads. Where the processor has AMX, `new` uses it.
fn backends(precision: Precision) -> Vec<CpuBackend> {
    let with = |threads| new(threads, precision);
    if with(1).products() != "AMX" {
        println!("skipped on AMX: this processor or its system does not offer it");
    }
    vec![
        with(1),
        with(2),
        with(1).without_amx(),
        with(2).without_amx(),
        with(1).avx2(),
        with(2).portable(),
        with(1).with_emulated_amx(),
        with(2).portable().with_emulated_amx(),
    ]
}

fn cases_stay_within(precision: Precision, bound: f64) {
    for backend in backends(precision) {
        for (name, build) in cases::CASES {
            let case = cases::build(*build).unwrap_or_else(|e| panic!("{name}: {e}"));
            println!("{name} by {}", backend.products());
            check_norms(&backend, case, bound).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}

#[test]
fn split_products_stay_near_single_precision() {
    cases_stay_within(Precision::F32Split, SPLIT);
}

#[test]
fn bfloat16_products_stay_within_eight_bits() {
    cases_stay_within(Precision::Bf16, BF16);
}

/// Threads never change a bit. `vdpbf16ps` and vectors of single precision give the same bits; AMX sums
/// in another order, and so does its emulation.
#[test]
fn split_products_have_the_same_bits_with_any_threads_and_without_the_instruction() {
    let precision = Precision::F32Split;
    let one = new(1, precision).without_amx();
    let tiles = new(1, precision).with_emulated_amx();
    for (first, second) in [
        (&one, new(2, precision).without_amx()),
        (&one, new(2, precision).avx2()),
        (&one, new(1, precision).portable()),
        (&tiles, new(2, precision).with_emulated_amx()),
        (&new(1, precision), new(2, precision)),
    ] {
        for (name, build) in cases::CASES {
            check_same_bits(first, &second, || cases::build(*build))
                .unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}
