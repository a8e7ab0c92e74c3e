//! NVRTC, modules and launches.

use crate::support::{child, device, shape, Device, CORRECT};
use ablate_soft_cuda::{rerun, test_name};
use cudarc::driver::sys::{CUfunction_attribute, CUresult};
use cudarc::driver::PushKernelArg;
use cudarc::nvrtc::sys::{self, nvrtcResult};
use cudarc::nvrtc::{compile_ptx, compile_ptx_with_opts, CompileError, CompileOptions, Ptx};
use std::ffi::CString;

fn options(arch: &'static str) -> CompileOptions {
    CompileOptions {
        arch: Some(arch),
        ..CompileOptions::default()
    }
}

#[test]
fn a_mistake_is_in_the_log_with_its_line() {
    if device().is_none() {
        return;
    }
    let source = "extern \"C\" __global__ void f(float *x) {\n  x[0] = nonsense;\n}\n";
    let named = CompileOptions {
        name: Some("broken.cu".into()),
        ..options("sm_80")
    };
    let Err(CompileError::CompileError { nvrtc, log, .. }) = compile_ptx_with_opts(source, named)
    else {
        panic!("it compiles");
    };
    assert_eq!(nvrtc.0, nvrtcResult::NVRTC_ERROR_COMPILATION);
    let log = log.to_string_lossy();
    assert!(
        log.contains("broken.cu:2") && log.contains("nonsense"),
        "{log}"
    );
}

#[test]
fn what_there_is_not_is_a_compile_error() {
    if device().is_none() {
        return;
    }
    for (source, text) in [
        (
            "__constant__ float t[4];",
            "__constant__ variables are not supported",
        ),
        ("#include <cub/cub.cuh>", "cannot open source file"),
        (
            "extern \"C\" __global__ void f(int *x) { asm(\"bar.arrive %0;\" :: \"r\"(x[0])); }",
            "bar_arrive",
        ),
    ] {
        let Err(CompileError::CompileError { log, .. }) = compile_ptx(source) else {
            panic!("{source} compiles");
        };
        assert!(log.to_string_lossy().contains(text), "{log:?}");
    }
}

#[test]
fn options_that_do_not_exist_are_refused() {
    if device().is_none() {
        return;
    }
    let Err(CompileError::CompileError { nvrtc, log, .. }) =
        compile_ptx_with_opts(CORRECT, options("sm_42"))
    else {
        panic!("it compiles");
    };
    assert_eq!(nvrtc.0, nvrtcResult::NVRTC_ERROR_INVALID_OPTION);
    assert!(log.to_string_lossy().contains("sm_42"), "{log:?}");
}

/// Compiles by the plain functions and gives the CUBIN.
fn cubin(source: &str, arch: &str) -> Vec<u8> {
    let (source, option) = (CString::new(source).unwrap(), CString::new(arch).unwrap());
    let program = cudarc::nvrtc::result::create_program(&source, None).unwrap();
    let options = [option.as_ptr()];
    let mut bytes = 0;
    unsafe {
        sys::nvrtcCompileProgram(program, 1, options.as_ptr())
            .result()
            .unwrap();
        sys::nvrtcGetCUBINSize(program, &mut bytes)
            .result()
            .unwrap();
        let mut cubin = vec![0u8; bytes];
        sys::nvrtcGetCUBIN(program, cubin.as_mut_ptr().cast())
            .result()
            .unwrap();
        cudarc::nvrtc::result::destroy_program(program).unwrap();
        cubin
    }
}

#[test]
fn a_cubin_loads_on_its_own_architecture_alone() {
    let name = test_name!();
    let finished = child(name, &[("SOFT_CUDA_ARCH", "86")], |d| {
        // 8.0 and 8.6 have the major version of the device, 9.0 has not.
        for (arch, loads) in [
            ("80", true),
            ("86", true),
            ("89", false),
            ("90", false),
            ("75", false),
        ] {
            let image = cubin(CORRECT, &format!("--gpu-architecture=sm_{arch}"));
            let loaded = d.context.load_module(Ptx::from_binary(image));
            match loads {
                true => assert!(loaded.is_ok()),
                false => assert_eq!(
                    loaded.err().unwrap().0,
                    CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU
                ),
            }
        }
        assert!(cubin(CORRECT, "--gpu-architecture=compute_80").is_empty());
        // PTX runs on newer devices, as text too.
        let ptx = compile_ptx_with_opts(CORRECT, options("compute_75")).unwrap();
        let text = ptx.to_src();
        assert!(text.contains(".target sm_75"));
        assert!(d.context.load_module(Ptx::from_src(text)).is_ok());
        let ptx = compile_ptx_with_opts(CORRECT, options("compute_90")).unwrap();
        assert!(d.context.load_module(ptx).is_err());
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
fn a_kernel_that_is_not_there_is_named_with_those_that_are() {
    says(
        test_name!(),
        "extern \"C\" kernels in it: axpy, axpy4",
        |d| {
            let ptx = compile_ptx_with_opts(CORRECT, options("sm_80")).unwrap();
            let module = d.context.load_module(ptx).unwrap();
            let missing = module.load_function("axpi").err().unwrap();
            assert_eq!(missing.0, CUresult::CUDA_ERROR_NOT_FOUND);
        },
    );
}

#[test]
fn an_image_of_something_else_is_refused() {
    let Some(d) = device() else { return };
    let refused = d
        .context
        .load_module(Ptx::from_src(".version 8.0\n.target sm_80\n"));
    assert_eq!(refused.err().unwrap().0, CUresult::CUDA_ERROR_INVALID_PTX);
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let refused = d.context.load_module(Ptx::from_binary(program));
    assert_eq!(refused.err().unwrap().0, CUresult::CUDA_ERROR_INVALID_IMAGE);
}

#[test]
fn a_launch_beyond_a_limit_is_refused() {
    says(
        test_name!(),
        "CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES is 49152",
        |d| {
            let kernel = d.kernel(CORRECT, "row_sum");
            let x = d.stream.alloc_zeros::<f32>(64).unwrap();
            let mut y = d.stream.alloc_zeros::<f32>(64).unwrap();
            let launch = |y: &mut _, grid, block, bytes| {
                let mut launch = d.stream.launch_builder(&kernel);
                launch.arg(&x).arg(y).arg(&1i32);
                unsafe { launch.launch(shape(grid, block, bytes)) }
                    .map(|_| ())
                    .map_err(|e| e.0)
            };
            let bad = Err(CUresult::CUDA_ERROR_INVALID_VALUE);
            // __launch_bounds__(256)
            assert_eq!(launch(&mut y, 1, 288, 0), bad);
            assert_eq!(launch(&mut y, 0, 32, 0), bad);
            assert_eq!(launch(&mut y, 1, 2048, 0), bad);
            assert_eq!(launch(&mut y, 1, 32, 64 << 10), bad);
            let most = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            kernel.set_attribute(most, 64 << 10).unwrap();
            assert_eq!(launch(&mut y, 1, 32, 64 << 10), Ok(()));
            assert!(kernel.set_attribute(most, 200 << 10).is_err());
            d.stream.synchronize().unwrap();
        },
    );
}

#[test]
fn occupancy_follows_threads_and_shared_memory() {
    let Some(d) = device() else { return };
    let kernel = d.kernel(CORRECT, "transpose");
    let blocks = |threads, bytes| {
        kernel
            .occupancy_max_active_blocks_per_multiprocessor(threads, bytes, None)
            .unwrap()
    };
    assert_eq!(blocks(1024, 0), 2);
    assert_eq!(blocks(256, 0), 8);
    assert!(blocks(256, 40 << 10) < 8);
}

#[test]
fn kernels_that_were_compiled_before_are_not_compiled_again() {
    let name = test_name!();
    let cache = std::env::temp_dir().join(format!("soft-cuda-cache-{}", std::process::id()));
    let cache_setting = [("SOFT_CUDA_CACHE", cache.to_str().unwrap())];
    let finished = child(name, &cache_setting, |_| {
        compile_ptx_with_opts(CORRECT, options("sm_80")).unwrap();
    });
    let Some(first) = finished else { return };
    assert!(first.passed, "{}", first.stderr);
    // Everything that the first run has made, with its time.
    let made = || {
        let folders = std::fs::read_dir(&cache)
            .unwrap()
            .map(|e| e.unwrap().path());
        let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap());
        let mut files: Vec<_> = files
            .map(|e| {
                (
                    e.as_ref().unwrap().path(),
                    e.unwrap().metadata().unwrap().modified().unwrap(),
                )
            })
            .collect();
        files.sort();
        files
    };
    let before = made();
    assert!(before
        .iter()
        .any(|(path, _)| path.to_string_lossy().contains("kernel-")));
    let soft = crate::support::soft().expect("the first child had one");
    let second = rerun(soft, name, &cache_setting);
    assert!(second.passed, "{}", second.stderr);
    assert_eq!(made(), before);
    std::fs::remove_dir_all(&cache).unwrap();
}
