//! How a program comes to the device, and what it sees when a library is missing.

use ablate_soft_cuda::{installed, is_child, rerun, test_name, Library, SoftCuda};
use cudarc::driver::CudaContext;

/// What cudarc finds, one letter each for the driver, NVRTC, cuBLAS and cuBLASLt.
fn found() -> String {
    let found = unsafe {
        [
            ("d", cudarc::driver::sys::is_culib_present()),
            ("n", cudarc::nvrtc::sys::is_culib_present()),
            ("b", cudarc::cublas::sys::is_culib_present()),
            ("l", cudarc::cublaslt::sys::is_culib_present()),
        ]
    };
    found
        .iter()
        .filter(|(_, is_there)| *is_there)
        .map(|(name, _)| *name)
        .collect()
}

#[test]
fn a_child_finds_the_libraries_by_its_environment_alone() {
    let name = test_name!();
    if is_child(name) {
        assert_eq!(found(), "dnbl");
        let context = CudaContext::new(0).unwrap();
        let stream = context.default_stream();
        let there = stream.clone_htod(&[1.0f32, 2.0]).unwrap();
        assert_eq!(stream.clone_dtoh(&there).unwrap(), [1.0, 2.0]);
        return;
    }
    let Some(soft) = installed() else { return };
    let finished = rerun(soft, name, &[]);
    assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
}

#[test]
fn loading_in_this_process_is_enough() {
    let Some(soft) = installed() else { return };
    soft.load();
    assert_eq!(found(), "dnbl");
}

#[test]
fn a_library_can_be_left_out() {
    let name = test_name!();
    if is_child(name) {
        println!("found {}.", found());
        return;
    }
    if installed().is_none() {
        return;
    }
    let on_the_machine = found_without();
    for (libraries, expected) in [
        (&[Library::Driver][..], "d"),
        (
            &[Library::Driver, Library::Cublas, Library::CublasLt],
            "dbl",
        ),
        (&[Library::Nvrtc], "n"),
    ] {
        let soft = SoftCuda::install_only(libraries).unwrap();
        let finished = rerun(&soft, name, &[]);
        assert!(finished.passed, "{}\n{}", finished.stdout, finished.stderr);
        let seen = finished
            .stdout
            .split("found ")
            .nth(1)
            .and_then(|rest| rest.split('.').next());
        let seen = seen.expect("the child prints it");
        let more: String = seen.chars().filter(|c| !expected.contains(*c)).collect();
        assert!(expected.chars().all(|c| seen.contains(c)), "{seen}");
        assert!(more.chars().all(|c| on_the_machine.contains(c)), "{seen}");
    }
}

/// What there is on this machine without the software device: usually nothing.
fn found_without() -> String {
    let has = |file: &str| unsafe { libloading::Library::new(file) }.is_ok();
    let is_real = |name: &str, files: &[&str]| {
        let loaded = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        (!loaded.contains("libsoft_cuda") && files.iter().any(|file| has(file)))
            .then(|| name.to_string())
    };
    [
        is_real("d", &["libcuda.so.1"]),
        is_real("n", &["libnvrtc.so", "libnvrtc.so.12"]),
        is_real("b", &["libcublas.so", "libcublas.so.12"]),
        is_real("l", &["libcublasLt.so", "libcublasLt.so.12"]),
    ]
    .into_iter()
    .flatten()
    .collect()
}
