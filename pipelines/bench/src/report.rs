//! One benchmark from configuration to a line of JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::compile::Compilation;
use crate::configuration::Configuration;
use crate::error::Result;
use crate::measure::{measure, median, Measurement, Plan};
use crate::memory::reset_peak_rss;
use crate::parts::{backend, parts};
use crate::peak::gemm_peak;
use crate::profile::kernel_counts;

/// What `ablate bench` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was measured.
    pub configuration: Configuration,
    /// The device.
    pub device: String,
    /// Numbers in all parameters together.
    pub params: u64,
    /// Median time of a step.
    pub median_s: f64,
    /// Shortest time of a step.
    pub min_s: f64,
    /// Real tokens of a step over all cells of its batch, padding included.
    pub real_share: f64,
    /// Real tokens by the median time.
    pub tokens_per_s: f64,
    /// Matrix products of a step by the median time, in 10^9 floating-point operations a second.
    pub gflops: f64,
    /// `gflops` over the best rate of large matrix products in the same process.
    pub gemm_peak_share: f64,
    /// That best rate.
    pub gemm_peak_gflops: f64,
    /// Largest resident memory of the process, in 2^20 bytes; null where the system does not tell.
    pub peak_rss_mb: Option<f64>,
    /// Graphs, gradients and passes.
    pub compile_s: f64,
    /// Setting up the trial, compilation and initial values among it.
    pub setup_s: f64,
    /// The first step, which touches memory for the first time.
    pub first_step_s: f64,
    /// Share of the profiled steps that was spent outside of kernels: fetching, masking, feeding.
    pub host_share: f64,
    /// Kernels a step, by kind.
    pub kernels: BTreeMap<&'static str, u64>,
    /// Loss of the last step.
    pub loss: f64,
    /// Time of each measured step.
    pub step_s: Vec<f64>,
    /// Everything that was measured.
    #[serde(skip)]
    pub measurement: Measurement,
}

/// Steps that are profiled after the measured ones.
const PROFILED: usize = 3;

/// Runs a benchmark.
///
/// # Errors
/// A configuration that makes no model, a step that fails.
pub fn run(configuration: &Configuration) -> Result<Report> {
    let backend = backend(configuration)?;
    reset_peak_rss();
    let compile_s = Compilation::new(configuration)?.run(&*backend)?;
    let (config, parts) = parts(configuration, &*backend)?;
    let plan = Plan {
        warmup: configuration.warmup,
        steps: configuration.steps,
        profiled: PROFILED,
    };
    let m = measure(config, parts, plan)?;
    let peak = gemm_peak(&*backend)?;
    let median_s = median(&m.step_s);
    let inside: f64 = m.kernels.iter().map(|k| k.seconds).sum();
    let profiled: f64 = m.profiled_s.iter().sum();
    Ok(Report {
        configuration: configuration.clone(),
        device: backend.description(),
        params: m.parameters,
        median_s,
        min_s: m.step_s.iter().copied().fold(f64::INFINITY, f64::min),
        real_share: m.tokens / (configuration.batch * configuration.seq) as f64,
        tokens_per_s: m.tokens / median_s,
        gflops: m.flops / median_s / 1e9,
        gemm_peak_share: m.flops / median_s / peak,
        gemm_peak_gflops: peak / 1e9,
        peak_rss_mb: m.peak_rss_bytes.map(|b| b as f64 / (1u64 << 20) as f64),
        compile_s,
        setup_s: m.setup_s,
        first_step_s: m.first_step_s,
        host_share: 1.0 - inside / profiled,
        kernels: kernel_counts(&m.kernels),
        loss: m.loss,
        step_s: m.step_s.clone(),
        measurement: m,
    })
}
