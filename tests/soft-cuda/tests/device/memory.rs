//! Allocations, copies and their bounds, as the driver's calls check them.

use crate::support::{child, device, Device};
use ablate_soft_cuda::test_name;
use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::{result, CudaContext};

#[test]
fn what_is_copied_there_comes_back() {
    let Some(d) = device() else { return };
    let values: Vec<f32> = (0..1000).map(|i| i as f32).collect();
    let there = d.stream.clone_htod(&values).unwrap();
    let copy = d.stream.clone_dtod(&there).unwrap();
    assert_eq!(d.stream.clone_dtoh(&copy).unwrap(), values);
    let zeros = d.stream.alloc_zeros::<f32>(10).unwrap();
    assert_eq!(d.stream.clone_dtoh(&zeros).unwrap(), [0.0; 10]);
    let fresh = unsafe { d.stream.alloc::<f32>(10) }.unwrap();
    assert!(d
        .stream
        .clone_dtoh(&fresh)
        .unwrap()
        .iter()
        .all(|v| v.is_nan()));
}

#[test]
fn the_device_says_what_it_is() {
    let Some(d) = device() else { return };
    assert_eq!(d.context.compute_capability().unwrap(), (8, 0));
    assert_eq!(d.context.name().unwrap(), "Software CUDA device");
    assert_eq!(CudaContext::device_count().unwrap(), 1);
    assert_eq!(
        CudaContext::new(1).unwrap_err().0,
        CUresult::CUDA_ERROR_INVALID_DEVICE
    );
    let text = CUresult::CUDA_ERROR_OUT_OF_MEMORY.result().unwrap_err();
    assert_eq!(text.error_string().unwrap(), c"out of memory");
    assert_eq!(text.error_name().unwrap(), c"CUDA_ERROR_OUT_OF_MEMORY");
}

#[test]
fn memory_runs_out_and_comes_back() {
    let name = test_name!();
    let settings = [("SOFT_CUDA_MEMORY_BYTES", "1048576")];
    let finished = child(name, &settings, |d| {
        assert_eq!(d.context.mem_get_info().unwrap(), (1 << 20, 1 << 20));
        let half = unsafe { d.stream.alloc::<u8>(600_000) }.unwrap();
        let refused = unsafe { d.stream.alloc::<u8>(600_000) }.unwrap_err();
        assert_eq!(refused.0, CUresult::CUDA_ERROR_OUT_OF_MEMORY);
        drop(half);
        d.stream.synchronize().unwrap();
        unsafe { d.stream.alloc::<u8>(600_000) }.unwrap();
    });
    if let Some(finished) = finished {
        assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
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
fn a_copy_past_the_end_is_refused() {
    says(test_name!(), "reach 4 bytes past its end", |d| {
        let pointer = unsafe { result::malloc_sync(16) }.unwrap();
        let refused =
            unsafe { result::memcpy_htod_async(pointer, &[1.0f32; 5], d.stream.cu_stream()) };
        assert_eq!(refused.unwrap_err().0, CUresult::CUDA_ERROR_INVALID_VALUE);
        unsafe { result::free_sync(pointer) }.unwrap();
    });
}

#[test]
fn freed_memory_is_not_memory() {
    says(test_name!(), "which has been freed", |d| {
        let pointer = unsafe { result::malloc_sync(16) }.unwrap();
        unsafe { result::free_sync(pointer) }.unwrap();
        let refused = unsafe { result::memset_d8_async(pointer, 0, 16, d.stream.cu_stream()) };
        assert_eq!(refused.unwrap_err().0, CUresult::CUDA_ERROR_INVALID_VALUE);
        let twice = unsafe { result::free_sync(pointer) };
        assert_eq!(twice.unwrap_err().0, CUresult::CUDA_ERROR_INVALID_VALUE);
    });
}

#[test]
fn a_kernel_on_freed_memory_is_caught() {
    says(test_name!(), "which has been freed", |d| {
        let kernel = d.kernel(crate::support::CORRECT, "axpy");
        let pointer = unsafe { result::malloc_sync(16) }.unwrap();
        unsafe { result::free_sync(pointer) }.unwrap();
        let (mut a, mut x, mut y, mut n) = (1.0f32, pointer, pointer, 4i32);
        let mut arguments = [
            (&raw mut a).cast(),
            (&raw mut x).cast(),
            (&raw mut y).cast(),
            (&raw mut n).cast(),
        ];
        // cudarc keeps its kernels' handles to itself, so this one is loaded by hand.
        drop(kernel);
        let stream = d.stream.cu_stream();
        let function = raw_kernel("axpy");
        unsafe { result::launch_kernel(function, (1, 1, 1), (4, 1, 1), 0, stream, &mut arguments) }
            .unwrap();
        let waited = d.stream.synchronize().unwrap_err();
        assert_eq!(waited.0, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    });
}

/// A kernel of the correct ones as the driver names it.
pub fn raw_kernel(name: &str) -> sys::CUfunction {
    let options = cudarc::nvrtc::CompileOptions {
        arch: Some("sm_80"),
        ..Default::default()
    };
    let ptx = cudarc::nvrtc::compile_ptx_with_opts(crate::support::CORRECT, options).unwrap();
    let image = ptx.as_bytes().unwrap();
    let module = unsafe { result::module::load_data(image.as_ptr().cast()) }.unwrap();
    let name = std::ffi::CString::new(name).unwrap();
    unsafe { result::module::get_function(module, name) }.unwrap()
}

#[test]
fn a_device_pointer_is_no_host_pointer() {
    says(
        test_name!(),
        "is device memory, host memory is expected",
        |_| {
            let pointer = unsafe { result::malloc_sync(32) }.unwrap();
            let copied = unsafe { sys::cuMemcpyHtoD_v2(pointer, (pointer + 16) as *const _, 16) };
            assert_eq!(copied, CUresult::CUDA_ERROR_INVALID_VALUE);
        },
    );
}

#[test]
fn null_and_overlap_are_refused() {
    says(test_name!(), "source and destination overlap", |_| {
        let pointer = unsafe { result::malloc_sync(64) }.unwrap();
        let bad = CUresult::CUDA_ERROR_INVALID_VALUE;
        unsafe {
            assert_eq!(sys::cuMemcpyDtoD_v2(pointer, pointer + 16, 32), bad);
            assert_eq!(sys::cuMemcpyDtoD_v2(0, pointer, 32), bad);
            assert_eq!(sys::cuMemAlloc_v2(std::ptr::null_mut(), 4), bad);
            let mut address = 0;
            assert_eq!(sys::cuMemAlloc_v2(&mut address, 0), bad);
            assert_eq!(sys::cuMemsetD32_v2(pointer + 2, 0, 1), bad);
        }
    });
}

#[test]
fn a_thread_without_the_context_is_told() {
    says(test_name!(), "this thread has no current context", |_| {
        let status = std::thread::spawn(|| {
            let mut address = 0;
            unsafe { sys::cuMemAlloc_v2(&mut address, 4) }
        });
        assert_eq!(status.join().unwrap(), CUresult::CUDA_ERROR_INVALID_CONTEXT);
    });
}

#[test]
fn stale_handles_are_known_as_such() {
    says(test_name!(), "was destroyed", |d| {
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).unwrap();
        unsafe { result::event::destroy(event) }.unwrap();
        let recorded = unsafe { result::event::record(event, d.stream.cu_stream()) };
        assert_eq!(recorded.unwrap_err().0, CUresult::CUDA_ERROR_INVALID_HANDLE);
        let synchronised = unsafe { sys::cuStreamSynchronize(event.cast()) };
        assert_eq!(synchronised, CUresult::CUDA_ERROR_INVALID_HANDLE);
    });
}
