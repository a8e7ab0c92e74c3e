//! Every built-in optimizer on the software CUDA device: near the references, the same bits in every order of
//! threads and queues, and nothing for the address sanitizer. Without Linux or a C++ compiler there is no
//! device, and these tests say so and end.

use ablate_cuda::CudaBackend;
use ablate_soft_cuda::{installed, is_child, rerun, test_name, Finished, SoftCuda};

use crate::optimizers::{follow_all, frozen};

/// In a child: runs the cases, asserts that they are near and prints their bits.
fn child(soft: &SoftCuda) {
    soft.load();
    let backend = CudaBackend::new().expect("the software device is there");
    let backend = backend
        .with_cache(Some(soft.images()))
        .expect("NVRTC is there");
    let report = follow_all(&frozen(), &backend);
    println!("largest relative error over ten steps\n{}", report.numbers);
    assert!(!report.found.is_empty(), "no case");
    assert!(report.wrong.is_empty(), "{:?}", report.wrong);
    for (key, values) in &report.found {
        let bits = values.iter().map(|v| u64::from(v.to_bits()));
        let digest = bits.fold(7u64, |h, v| (h ^ v).wrapping_mul(0x0100_0000_01b3));
        println!("digest {key} {digest:x}");
    }
}

/// The child has passed and the device had nothing to say; the digest of each case.
fn digests(finished: &Finished) -> Vec<String> {
    let (stdout, stderr) = (&finished.stdout, &finished.stderr);
    assert!(finished.passed, "{stdout}\n{stderr}");
    assert!(!stderr.contains("soft-cuda:"), "{stderr}");
    assert!(!stderr.contains("AddressSanitizer"), "{stderr}");
    let lines = stdout.lines().filter(|l| l.starts_with("digest "));
    lines.map(str::to_owned).collect()
}

#[test]
fn every_optimizer_follows_its_reference_in_every_order() {
    let Some(soft) = installed() else { return };
    let name = test_name!();
    if is_child(name) {
        return child(soft);
    }
    let forward = rerun(soft, name, &[]);
    print!("{}", forward.stdout);
    let forward = digests(&forward);
    assert!(forward.len() > 15, "{forward:?}");
    for (setting, value) in [
        ("SOFT_CUDA_ORDER", "reverse"),
        ("SOFT_CUDA_ORDER", "shuffled:1"),
        ("SOFT_CUDA_ORDER", "shuffled:2"),
        ("SOFT_CUDA_WHEN", "eager"),
    ] {
        let found = digests(&rerun(soft, name, &[(setting, value)]));
        assert_eq!(found, forward, "{setting}={value}");
    }
}

#[test]
fn the_address_sanitizer_finds_nothing_in_updates() {
    let Some(soft) = installed() else { return };
    let name = test_name!();
    if is_child(name) {
        return child(soft);
    }
    let Some(settings) = soft.address_sanitizer() else {
        println!("SKIPPED: this compiler has no address sanitizer");
        return;
    };
    let settings: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let found = digests(&rerun(soft, name, &settings));
    assert!(found.len() > 15, "{found:?}");
}
