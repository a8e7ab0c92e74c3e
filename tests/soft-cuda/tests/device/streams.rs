//! When things run: as late as the program allows, so that a wait that is missing is seen.

use crate::support::{alone, child, device, numbers, shape, Device, CORRECT};
use ablate_soft_cuda::{test_name, Counts};
use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::{result, PushKernelArg};

/// Pinned host memory by hand: cudarc's own waits by itself.
struct Pinned {
    pointer: *mut f32,
    count: usize,
}

impl Pinned {
    fn new(count: usize) -> Self {
        let pointer = unsafe { result::malloc_host(count * 4, 0) }.unwrap().cast();
        Pinned { pointer, count }
    }

    fn values(&mut self) -> &mut [f32] {
        unsafe { std::slice::from_raw_parts_mut(self.pointer, self.count) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        unsafe { result::free_host(self.pointer.cast()) }.unwrap();
    }
}

#[test]
fn a_read_back_that_is_not_waited_for_holds_nan() {
    let Some(d) = device() else { return };
    let there = d.stream.clone_htod(&[1.0f32, 2.0, 3.0]).unwrap();
    let mut pinned = Pinned::new(3);
    pinned.values().fill(7.0);
    let pointer = {
        use cudarc::driver::DevicePtr;
        there.device_ptr(&d.stream).0
    };
    let stream = d.stream.cu_stream();
    let copied = unsafe { sys::cuMemcpyDtoHAsync_v2(pinned.pointer.cast(), pointer, 12, stream) };
    assert_eq!(copied, CUresult::CUDA_SUCCESS);
    assert!(
        pinned.values().iter().all(|v| v.is_nan()),
        "{:?}",
        pinned.values()
    );
    d.stream.synchronize().unwrap();
    assert_eq!(pinned.values(), [1.0, 2.0, 3.0]);
}

#[test]
fn a_pinned_source_is_read_when_the_copy_runs() {
    let Some(d) = device() else { return };
    let mut there = d.stream.alloc_zeros::<f32>(3).unwrap();
    d.stream.synchronize().unwrap();
    let mut pinned = Pinned::new(3);
    pinned.values().fill(1.0);
    let pointer = {
        use cudarc::driver::DevicePtrMut;
        there.device_ptr_mut(&d.stream).0
    };
    let stream = d.stream.cu_stream();
    let copied = unsafe { sys::cuMemcpyHtoDAsync_v2(pointer, pinned.pointer.cast(), 12, stream) };
    assert_eq!(copied, CUresult::CUDA_SUCCESS);
    // The mistake: the buffer is filled again before the copy has run.
    pinned.values().fill(2.0);
    d.stream.synchronize().unwrap();
    assert_eq!(d.stream.clone_dtoh(&there).unwrap(), [2.0; 3]);
}

#[test]
fn pageable_memory_is_read_at_once_and_written_before_the_call_returns() {
    let Some(d) = device() else { return };
    let mut values = vec![1.0f32, 2.0];
    let there = d.stream.clone_htod(&values).unwrap();
    values.fill(0.0);
    let mut back = vec![0.0f32; 2];
    d.stream.memcpy_dtoh(&there, &mut back).unwrap();
    assert_eq!(back, [1.0, 2.0]);
}

#[test]
fn nothing_runs_before_it_is_waited_for() {
    alone(test_name!(), waits);
}

fn waits(d: &Device) {
    let kernel = d.kernel(CORRECT, "axpy");
    let x = d.stream.clone_htod(&[1.0f32; 8]).unwrap();
    let mut y = d.stream.alloc_zeros::<f32>(8).unwrap();
    d.stream.synchronize().unwrap();
    let before = Counts::now();
    for _ in 0..3 {
        let mut launch = d.stream.launch_builder(&kernel);
        launch.arg(&1.0f32).arg(&x).arg(&mut y).arg(&8i32);
        unsafe { launch.launch(shape(1, 8, 0)) }.unwrap();
    }
    let event = d.stream.record_event(None).unwrap();
    assert!(!event.is_complete());
    event.synchronize().unwrap();
    assert!(event.is_complete());
    assert_eq!(d.stream.clone_dtoh(&y).unwrap(), [3.0; 8]);
    assert_eq!(Counts::now().since(before).kernels, 3);
}

#[test]
fn asking_an_event_gets_there_in_the_end() {
    let Some(d) = device() else { return };
    let mut buffers = vec![];
    for _ in 0..10 {
        buffers.push(d.stream.alloc_zeros::<f32>(8).unwrap());
    }
    let event = d.stream.record_event(None).unwrap();
    let asked = (0..1000).take_while(|_| !event.is_complete()).count();
    assert!((1..1000).contains(&asked), "{asked}");
}

#[test]
fn events_measure_time_and_order_streams() {
    let Some(d) = device() else { return };
    let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
    let start = d.stream.record_event(flags).unwrap();
    let values = numbers("x", 1000);
    let there = d.stream.clone_htod(&values).unwrap();
    let other = d.stream.fork().unwrap();
    let copy = other.clone_dtod(&there).unwrap();
    d.stream.join(&other).unwrap();
    let end = d.stream.record_event(flags).unwrap();
    assert!(start.elapsed_ms(&end).unwrap() >= 0.0);
    assert_eq!(d.stream.clone_dtoh(&copy).unwrap(), values);
}

/// Writes on one stream and reads on another, with or without an event between them.
fn two_streams(d: &Device, ordered: bool) -> CUresult {
    // cudarc orders streams by itself unless it is told not to.
    unsafe { d.context.disable_event_tracking() };
    let other = d.context.new_stream().unwrap();
    let kernel = d.kernel(CORRECT, "axpy");
    let x = d.stream.clone_htod(&[1.0f32; 64]).unwrap();
    let mut y = d.stream.alloc_zeros::<f32>(64).unwrap();
    let mut z = d.stream.alloc_zeros::<f32>(64).unwrap();
    d.context.synchronize().unwrap();
    let mut first = d.stream.launch_builder(&kernel);
    first.arg(&1.0f32).arg(&x).arg(&mut y).arg(&64i32);
    unsafe { first.launch(shape(1, 64, 0)) }.unwrap();
    if ordered {
        other.join(&d.stream).unwrap();
    }
    let mut second = other.launch_builder(&kernel);
    second.arg(&1.0f32).arg(&y).arg(&mut z).arg(&64i32);
    unsafe { second.launch(shape(1, 64, 0)) }.unwrap();
    match d.context.synchronize() {
        Ok(()) => CUresult::CUDA_SUCCESS,
        Err(e) => e.0,
    }
}

#[test]
fn two_streams_with_an_event_between_them_are_in_order() {
    let name = test_name!();
    let settings = [("SOFT_CUDA_ORDER", "reverse")];
    let finished = child(name, &settings, |d| {
        assert_eq!(two_streams(d, true), CUresult::CUDA_SUCCESS);
    });
    if let Some(finished) = finished {
        assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
    }
}

#[test]
fn two_streams_without_an_event_race_in_either_order() {
    let name = test_name!();
    let body = |d: &Device| assert_eq!(two_streams(d, false), CUresult::CUDA_ERROR_LAUNCH_FAILED);
    let Some(forward) = child(name, &[("SOFT_CUDA_ORDER", "forward")], body) else {
        return;
    };
    let soft = crate::support::soft().expect("the first child had one");
    let reverse = ablate_soft_cuda::rerun(soft, name, &[("SOFT_CUDA_ORDER", "reverse")]);
    for finished in [forward, reverse] {
        assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
        assert!(
            finished.stderr.contains("on another stream"),
            "{}",
            finished.stderr
        );
    }
}

#[test]
fn a_copy_races_too() {
    let name = test_name!();
    let finished = child(name, &[], |d| {
        unsafe { d.context.disable_event_tracking() };
        let other = d.context.new_stream().unwrap();
        let mut y = d.stream.alloc_zeros::<f32>(64).unwrap();
        let z = d.stream.alloc_zeros::<f32>(64).unwrap();
        d.context.synchronize().unwrap();
        d.stream.memset_zeros(&mut y).unwrap();
        other.memcpy_dtod(&z, &mut y).unwrap();
        let waited = d.context.synchronize().unwrap_err();
        assert_eq!(waited.0, CUresult::CUDA_ERROR_LAUNCH_FAILED);
    });
    if let Some(finished) = finished {
        assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
        assert!(
            finished.stderr.contains("race: writes byte 0"),
            "{}",
            finished.stderr
        );
    }
}

#[test]
fn freeing_while_another_stream_still_reads_is_caught() {
    let name = test_name!();
    let finished = child(name, &[], |d| {
        unsafe { d.context.disable_event_tracking() };
        let other = d.context.new_stream().unwrap();
        let kernel = d.kernel(CORRECT, "axpy");
        let x = d.stream.alloc_zeros::<f32>(64).unwrap();
        let mut y = other.alloc_zeros::<f32>(64).unwrap();
        d.context.synchronize().unwrap();
        let mut launch = other.launch_builder(&kernel);
        launch.arg(&1.0f32).arg(&x).arg(&mut y).arg(&64i32);
        unsafe { launch.launch(shape(1, 64, 0)) }.unwrap();
        // Freed in the order of its own stream, which does not wait for the other.
        drop(x);
        assert!(d.context.synchronize().is_err());
    });
    if let Some(finished) = finished {
        assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
        let stderr = &finished.stderr;
        assert!(
            stderr.contains("freed") || stderr.contains("race"),
            "{stderr}"
        );
    }
}

#[test]
fn a_host_function_runs_in_order_and_must_not_call_back() {
    use std::sync::atomic::{AtomicI32, Ordering};
    static STATUS: AtomicI32 = AtomicI32::new(-1);
    unsafe extern "C" fn note(_: *mut std::ffi::c_void) {
        let status = unsafe { sys::cuCtxSynchronize() };
        STATUS.store(status as i32, Ordering::SeqCst);
    }
    let Some(d) = device() else { return };
    let launched =
        unsafe { sys::cuLaunchHostFunc(d.stream.cu_stream(), Some(note), std::ptr::null_mut()) };
    assert_eq!(launched, CUresult::CUDA_SUCCESS);
    assert_eq!(STATUS.load(Ordering::SeqCst), -1);
    d.stream.synchronize().unwrap();
    assert_eq!(
        STATUS.load(Ordering::SeqCst),
        CUresult::CUDA_ERROR_NOT_PERMITTED as i32
    );
}
