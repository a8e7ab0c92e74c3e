//! The rate that a device reaches in large matrix products: what the steps are held against.

use std::time::Instant;

use ablate_compiler::Backend;
use ablate_graph::{Graph, RandomKey};

use crate::error::Result;

/// Products of these sizes are tried, `[m, k] x [n, k]`: a wide one, and the two of base's feed-forward
/// block on 1024 tokens.
const SHAPES: [[usize; 3]; 3] = [[2048, 1024, 2048], [1024, 768, 3072], [1024, 3072, 768]];
/// Runs of each; the first brings operands and code into memory.
const RUNS: usize = 4;

/// The best rate of a large matrix product through a session, in floating-point operations a second.
///
/// # Errors
/// When the device cannot run it.
pub fn gemm_peak(backend: &dyn Backend) -> Result<f64> {
    let mut best: f64 = 0.0;
    for [m, k, n] in SHAPES {
        best = best.max(rate(backend, m, k, n)?);
    }
    Ok(best)
}

fn rate(backend: &dyn Backend, m: usize, k: usize, n: usize) -> Result<f64> {
    // Operands and result are states, so that a run copies nothing.
    let mut g = Graph::new();
    let a = g.state("a", &[m, k])?;
    let b = g.state("b", &[n, k])?;
    let c = g.state("c", &[m, n])?;
    let product = g.matmul_t(&a, &b)?;
    g.assign(&c, &product)?;
    let mut session = backend.session()?;
    let program = session.load(g)?;
    session.set_state("a", &vec![0.5; m * k])?;
    session.set_state("b", &vec![0.25; n * k])?;
    let feeds = ablate_graph::Feeds::new();
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        session.run(program, &feeds, RandomKey::default())?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(session.flops(program) / best)
}
