//! Captured graphs.

use crate::support::{alone, child, device, shape, Device, CORRECT};
use ablate_soft_cuda::{test_name, Counts};
use cudarc::driver::sys::{self, CUgraphInstantiate_flags, CUresult, CUstreamCaptureMode};
use cudarc::driver::{CudaFunction, CudaGraph, CudaSlice, CudaStream, PushKernelArg};
use std::sync::Arc;

const FLAGS: CUgraphInstantiate_flags = CUgraphInstantiate_flags(0);
const MODE: CUstreamCaptureMode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;

/// y += x, captured `times` times.
fn captured(
    d: &Device,
    kernel: &CudaFunction,
    x: &CudaSlice<f32>,
    y: &mut CudaSlice<f32>,
    times: usize,
) -> CudaGraph {
    d.context.synchronize().unwrap();
    d.stream.begin_capture(MODE).unwrap();
    for _ in 0..times {
        add(&d.stream, kernel, x, y);
    }
    d.stream.end_capture(FLAGS).unwrap().unwrap()
}

fn add(
    stream: &Arc<CudaStream>,
    kernel: &CudaFunction,
    x: &CudaSlice<f32>,
    y: &mut CudaSlice<f32>,
) {
    let mut launch = stream.launch_builder(kernel);
    let n = x.len() as i32;
    launch.arg(&1.0f32).arg(x).arg(y).arg(&n);
    unsafe { launch.launch(shape(1, 64, 0)) }.unwrap();
}

/// cudarc's own events belong to no capture.
fn quiet_device() -> Option<Device> {
    let d = device()?;
    unsafe { d.context.disable_event_tracking() };
    Some(d)
}

#[test]
fn a_graph_runs_when_it_is_launched_and_as_often() {
    alone(test_name!(), launched);
}

fn launched(d: &Device) {
    unsafe { d.context.disable_event_tracking() };
    let x = d.stream.clone_htod(&[1.0f32; 64]).unwrap();
    let mut y = d.stream.alloc_zeros::<f32>(64).unwrap();
    let before = Counts::now();
    let kernel = d.kernel(CORRECT, "axpy");
    let graph = captured(d, &kernel, &x, &mut y, 3);
    assert_eq!(d.stream.clone_dtoh(&y).unwrap(), [0.0; 64]);
    assert_eq!(Counts::now().since(before).kernels, 0);
    for _ in 0..4 {
        graph.launch().unwrap();
    }
    assert_eq!(d.stream.clone_dtoh(&y).unwrap(), [12.0; 64]);
    let counts = Counts::now().since(before);
    assert_eq!((counts.kernels, counts.graphs), (12, 4));
}

#[test]
fn a_graph_outlives_what_captured_it() {
    let Some(d) = quiet_device() else { return };
    let x = d.stream.clone_htod(&[1.0f32; 64]).unwrap();
    let mut y = d.stream.alloc_zeros::<f32>(64).unwrap();
    let kernel = d.kernel(CORRECT, "axpy");
    let graph = captured(&d, &kernel, &x, &mut y, 1);
    graph.upload().unwrap();
    graph.launch().unwrap();
    // Launched work goes on without its graph.
    drop(graph);
    assert_eq!(d.stream.clone_dtoh(&y).unwrap(), [1.0; 64]);
}

/// A second stream takes part in the capture: it computes z from `read_y ? y : x` while the first
/// computes y.
fn forked(d: &Device, read_y: bool, join: bool) -> Result<(Vec<f32>, Vec<f32>), CUresult> {
    unsafe { d.context.disable_event_tracking() };
    let other = d.context.new_stream().unwrap();
    let kernel = d.kernel(CORRECT, "axpy");
    let x = d.stream.clone_htod(&[1.0f32; 64]).unwrap();
    let mut y = d.stream.alloc_zeros::<f32>(64).unwrap();
    let mut z = d.stream.alloc_zeros::<f32>(64).unwrap();
    d.context.synchronize().unwrap();
    d.stream.begin_capture(MODE).unwrap();
    other.join(&d.stream).unwrap();
    add(&d.stream, &kernel, &x, &mut y);
    add(&other, &kernel, if read_y { &y } else { &x }, &mut z);
    if join {
        d.stream.join(&other).unwrap();
    }
    let graph = d.stream.end_capture(FLAGS).map_err(|e| e.0)?.unwrap();
    graph.launch().map_err(|e| e.0)?;
    graph.launch().map_err(|e| e.0)?;
    d.context.synchronize().map_err(|e| e.0)?;
    let read = |buffer| d.stream.clone_dtoh(buffer).unwrap();
    Ok((read(&y), read(&z)))
}

#[test]
fn a_kernel_that_was_unloaded_is_named() {
    says(test_name!(), "was destroyed", |d| {
        unsafe { d.context.disable_event_tracking() };
        let x = d.stream.alloc_zeros::<f32>(64).unwrap();
        let mut y = d.stream.alloc_zeros::<f32>(64).unwrap();
        let kernel = d.kernel(CORRECT, "axpy");
        let graph = captured(d, &kernel, &x, &mut y, 1);
        drop(kernel);
        graph.launch().unwrap();
        assert!(d.stream.synchronize().is_err());
    });
}

#[test]
fn a_graph_may_fork_and_join() {
    let name = test_name!();
    let settings = [("SOFT_CUDA_ORDER", "reverse")];
    let finished = child(name, &settings, |d| {
        assert_eq!(forked(d, false, true), Ok((vec![2.0; 64], vec![2.0; 64])));
    });
    if let Some(finished) = finished {
        assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
    }
}

#[test]
fn branches_of_a_graph_race() {
    let name = test_name!();
    let finished = child(name, &[], |d| {
        let result = forked(d, true, true);
        assert_eq!(result, Err(CUresult::CUDA_ERROR_LAUNCH_FAILED));
    });
    if let Some(finished) = finished {
        assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
        assert!(
            finished.stderr.contains("on another stream"),
            "{}",
            finished.stderr
        );
    }
}

/// Runs a body in a child and asserts that the device's messages contain a text.
fn says(name: &str, text: &str, body: impl FnOnce(&Device)) {
    if let Some(finished) = child(name, &[], body) {
        assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
        assert!(finished.stderr.contains(text), "{}", finished.stderr);
    }
}

#[test]
fn a_branch_that_is_not_joined_is_an_error() {
    says(test_name!(), "never waits for it", |d| {
        let result = forked(d, false, false);
        assert_eq!(result, Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNJOINED));
    });
}

#[test]
fn waiting_while_capturing_is_an_error_and_spoils_the_capture() {
    says(test_name!(), "which is being captured", |d| {
        d.stream.begin_capture(MODE).unwrap();
        let waited = d.stream.synchronize().unwrap_err();
        assert_eq!(waited.0, CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        let ended = d.stream.end_capture(FLAGS).err().unwrap();
        assert_eq!(ended.0, CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        // The stream is usable again.
        d.stream.alloc_zeros::<f32>(4).unwrap();
    });
}

#[test]
fn pageable_memory_and_allocations_do_not_go_into_a_graph() {
    says(test_name!(), "pageable host memory", |d| {
        let mut there = d.stream.alloc_zeros::<f32>(4).unwrap();
        unsafe { d.context.disable_event_tracking() };
        d.context.synchronize().unwrap();
        d.stream.begin_capture(MODE).unwrap();
        let copied = d.stream.memcpy_htod(&[1.0f32; 4], &mut there).unwrap_err();
        assert_eq!(copied.0, CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        assert!(d.stream.end_capture(FLAGS).is_err());
        d.stream.begin_capture(MODE).unwrap();
        assert!(unsafe { d.stream.alloc::<f32>(4) }.is_err());
        assert!(d.stream.end_capture(FLAGS).is_err());
        d.stream.begin_capture(MODE).unwrap();
        let mut address = 0;
        let allocated = unsafe { sys::cuMemAlloc_v2(&mut address, 4) };
        assert_eq!(allocated, CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        assert!(d.stream.end_capture(FLAGS).is_err());
    });
}

#[test]
fn an_event_from_outside_does_not_go_into_a_graph() {
    says(test_name!(), "recorded outside of the capture", |d| {
        let outside = d.stream.record_event(None).unwrap();
        d.stream.begin_capture(MODE).unwrap();
        let waited = d.stream.wait(&outside).unwrap_err();
        assert_eq!(waited.0, CUresult::CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
        assert!(d.stream.end_capture(FLAGS).is_err());
    });
}

#[test]
fn pinned_memory_is_read_at_each_launch() {
    let Some(d) = quiet_device() else { return };
    let mut there = d.stream.alloc_zeros::<f32>(4).unwrap();
    let pinned: *mut f32 = unsafe { cudarc::driver::result::malloc_host(16, 0) }
        .unwrap()
        .cast();
    let pointer = {
        use cudarc::driver::DevicePtrMut;
        there.device_ptr_mut(&d.stream).0
    };
    d.context.synchronize().unwrap();
    d.stream.begin_capture(MODE).unwrap();
    let stream = d.stream.cu_stream();
    let copied = unsafe { sys::cuMemcpyHtoDAsync_v2(pointer, pinned.cast(), 16, stream) };
    assert_eq!(copied, CUresult::CUDA_SUCCESS);
    let graph = d.stream.end_capture(FLAGS).unwrap().unwrap();
    for value in [1.0f32, 2.0] {
        unsafe { std::slice::from_raw_parts_mut(pinned, 4) }.fill(value);
        graph.launch().unwrap();
        assert_eq!(d.stream.clone_dtoh(&there).unwrap(), [value; 4]);
    }
    unsafe { cudarc::driver::result::free_host(pinned.cast()) }.unwrap();
}

#[test]
fn flags_that_exclude_each_other_are_refused() {
    let Some(d) = quiet_device() else { return };
    d.stream.begin_capture(MODE).unwrap();
    let both = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH
        | CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH;
    let refused = d.stream.end_capture(both).err().unwrap();
    assert_eq!(refused.0, CUresult::CUDA_ERROR_INVALID_VALUE);
}
