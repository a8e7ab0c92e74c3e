//! What most tests need: a context, compiled kernels, numbers.

use ablate_soft_cuda::{installed, is_child, rerun, Finished, SoftCuda};
use cudarc::driver::{CudaContext, CudaFunction, CudaStream, LaunchConfig};
use cudarc::nvrtc::{compile_ptx_with_opts, CompileOptions};
use std::sync::Arc;

pub const CORRECT: &str = include_str!("../../kernels/correct.cu");
pub const WRONG: &str = include_str!("../../kernels/wrong.cu");

/// A stream of a fresh view of the device, loaded into this process.
pub struct Device {
    pub context: Arc<CudaContext>,
    pub stream: Arc<CudaStream>,
}

/// The device in this process, or nothing where there is none.
pub fn device() -> Option<Device> {
    installed()?.load();
    let context = CudaContext::new(0).expect("the device's context");
    let stream = context.new_stream().expect("a stream");
    Some(Device { context, stream })
}

impl Device {
    /// A kernel of a source.
    pub fn kernel(&self, source: &str, name: &str) -> CudaFunction {
        let options = CompileOptions {
            arch: Some("sm_80"),
            ..CompileOptions::default()
        };
        let ptx = compile_ptx_with_opts(source, options).expect("compiles");
        let module = self.context.load_module(ptx).expect("loads");
        module.load_function(name).expect("has the kernel")
    }
}

/// Runs `body` in a child process with settings, and returns how it went; in the child itself, runs it.
pub fn child(
    name: &str,
    settings: &[(&str, &str)],
    body: impl FnOnce(&Device),
) -> Option<Finished> {
    if is_child(name) {
        body(&device().expect("the parent has found one"));
        return None;
    }
    Some(rerun(installed()?, name, settings))
}

/// Runs a body alone in a process, because the device counts what all tests of a process do.
pub fn alone(name: &str, body: impl FnOnce(&Device)) {
    if let Some(finished) = child(name, &[], body) {
        assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
    }
}

/// The installation, for tests that start children of their own.
pub fn soft() -> Option<&'static SoftCuda> {
    installed()
}

/// Grid and block of one dimension each.
pub fn shape(grid: u32, block: u32, shared_mem_bytes: u32) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (grid, 1, 1),
        block_dim: (block, 1, 1),
        shared_mem_bytes,
    }
}

/// Normal numbers, the same for the same name.
pub fn numbers(name: &str, count: usize) -> Vec<f32> {
    let mut reader = ablate_random::Stream::new(31, name).reader();
    (0..count).map(|_| reader.normal() as f32).collect()
}

/// Asserts that two lists agree: `tolerance` is relative to an element and to 1.
#[track_caller]
pub fn assert_near(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(*a) - b).abs();
        assert!(
            off <= tolerance * (1.0 + b.abs()),
            "element {i}: {a}, expected {b}"
        );
    }
}
