//! The kernels on which the software device is tested go through NVIDIA's compiler: what one accepts
//! the other must accept.

use ablate_nvrtc::installed;

const CORRECT: &str = include_str!("../../soft-cuda/kernels/correct.cu");
const WRONG: &str = include_str!("../../soft-cuda/kernels/wrong.cu");

#[test]
fn correct_kernels_compile_for_real_architectures_without_spills() {
    let Some(nvrtc) = installed() else { return };
    assert_eq!(nvrtc.version(), (12, 9));
    let known = nvrtc.architectures();
    for architecture in [80, 90, 100] {
        assert!(known.contains(&architecture), "{known:?}");
        let name = format!("sm_{architecture}");
        let compiled = nvrtc
            .compile(CORRECT, &name, &[])
            .unwrap_or_else(|e| panic!("{e}"));
        assert!(
            compiled.ptx.contains(&format!(".target {name}")),
            "{}",
            compiled.ptx
        );
        assert_eq!(&compiled.cubin[..4], b"\x7fELF");
        // One table a run, for the log of who looks at it.
        println!("{name}: {:>14} registers shared_bytes", "kernel");
        for kernel in &compiled.kernels {
            println!(
                "{name}: {:>14} {:9} {:12}",
                kernel.name, kernel.registers, kernel.shared_bytes
            );
            assert_eq!(
                kernel.spill_stores_bytes + kernel.spill_loads_bytes,
                0,
                "{kernel:?}"
            );
            assert_eq!(kernel.stack_bytes, 0, "{kernel:?}");
            // 65,536 registers for 2,048 threads would be 32 each; twice that still fills half of them.
            assert!((2..=64).contains(&kernel.registers), "{kernel:?}");
        }
        let kernel = |name: &str| {
            let found = compiled.kernels.iter().find(|kernel| kernel.name == name);
            found.unwrap_or_else(|| panic!("no kernel {name}"))
        };
        assert_eq!(
            compiled.kernels.len(),
            CORRECT.matches("extern \"C\" __global__").count()
        );
        assert_eq!(kernel("row_sum").shared_bytes, 32 * 4);
        assert_eq!(kernel("transpose").shared_bytes, 32 * 33 * 4);
        assert_eq!(
            (kernel("axpy").shared_bytes, kernel("axpy").barriers),
            (0, 0)
        );
    }
}

#[test]
fn a_local_array_with_unknown_places_needs_a_stack() {
    let Some(nvrtc) = installed() else { return };
    let source = r#"
        extern "C" __global__ void scattered(const int *place, float *y) {
          float v[64];
          for (int i = 0; i < 64; i++) v[i] = i;
          for (int i = 0; i < 64; i++) v[place[i]] += v[63 - i];
          y[threadIdx.x] = v[place[64]];
        }"#;
    let compiled = nvrtc
        .compile(source, "sm_80", &[])
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(compiled.kernels[0].stack_bytes, 256);
}

#[test]
fn too_few_registers_spill() {
    let Some(nvrtc) = installed() else { return };
    // 64 numbers that each depend on a neighbour, so that all must be alive at once; and on the thread,
    // or the compiler keeps some in the registers that a warp shares.
    let source = r#"
        extern "C" __global__ void wide(const float *x, float *y, int n) {
          float v[64];
        #pragma unroll
          for (int i = 0; i < 64; i++) v[i] = x[threadIdx.x * 64 + i];
          for (int k = 0; k < n; k++)
        #pragma unroll
            for (int i = 0; i < 64; i++) v[i] = v[i] * x[k] + v[(i + 7) % 64];
        #pragma unroll
          for (int i = 0; i < 64; i++) y[threadIdx.x * 64 + i] = v[i];
        }"#;
    let roomy = nvrtc
        .compile(source, "sm_80", &[])
        .unwrap_or_else(|e| panic!("{e}"));
    let tight = nvrtc.compile(source, "sm_80", &["--maxrregcount=32"]);
    let tight = tight.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(roomy.kernels[0].spill_stores_bytes, 0);
    assert!(roomy.kernels[0].registers > 64);
    let kernel = &tight.kernels[0];
    assert!(
        kernel.spill_stores_bytes > 0 && kernel.registers <= 32,
        "{}",
        tight.log
    );
}

#[test]
fn mistakes_of_order_are_no_mistakes_to_a_compiler() {
    let Some(nvrtc) = installed() else { return };
    // What the software device finds at run time compiles without a word.
    nvrtc
        .compile(WRONG, "sm_80", &[])
        .unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_wrong_source_and_a_wrong_architecture_are_errors_with_a_log() {
    let Some(nvrtc) = installed() else { return };
    let wrong = nvrtc.compile(
        "extern \"C\" __global__ void f() {\n  nonsense;\n}",
        "sm_80",
        &[],
    );
    let error = wrong.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(
        error.contains("kernels.cu(2)") && error.contains("nonsense"),
        "{error}"
    );
    assert!(nvrtc.compile(CORRECT, "sm_42", &[]).is_err());
}
