//! What rewriting makes of the pieces of a source.

use super::*;

fn text(source: &str) -> String {
    rewrite(source).unwrap().text
}

#[test]
fn dynamic_shared_memory_is_a_pointer() {
    assert_eq!(
        text("{ extern __shared__ __align__(16) unsigned char raw[]; }"),
        "{ unsigned char *const raw = static_cast<unsigned char *>(soft_dynamic_shared()); }"
    );
    assert_eq!(
        text("{ __shared__ float tile[32][33]; }"),
        "{ __shared__ float tile[32][33]; }"
    );
    assert!(rewrite("{ extern __shared__ float one; }").is_err());
}

#[test]
fn kernels_are_found_with_their_bounds() {
    let source = r#"
        template <typename T> __global__ void generic(T *x) {}
        extern "C" __global__ void __launch_bounds__(2 * 128, 4) first(float *x) { }
        extern "C" { __global__ void second(int n) { } }
        extern "C" __global__ void declared(int n);
    "#;
    let kernels = rewrite(source).unwrap().kernels;
    let names: Vec<_> = kernels
        .iter()
        .map(|k| (k.name.as_str(), k.max_threads.as_str()))
        .collect();
    assert_eq!(names, [("first", "2 * 128"), ("second", "0")]);
    let plain = rewrite("__global__ void hidden(int n) { }").unwrap();
    assert!(plain.kernels.is_empty());
}

#[test]
fn inline_ptx_is_a_call() {
    assert_eq!(
        text(r#"asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(x[i]));"#),
        "soft::ptx::cvt_rn_bf16_f32((r), (x[i]));"
    );
    assert_eq!(
        text(
            "asm volatile(\"mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 \"\n  \"{%0, %1}, {%2}, {%0, %1};\"\n : \"+f\"(c[0]), \"+f\"(c[1]) : \"r\"(a));"
        ),
        "soft::ptx::mma_sync_aligned_m16n8k8_row_col_f32_tf32_tf32_f32((c[0]), (c[1]), (a), (c[0]), (c[1]))\n\n;"
    );
    let two = rewrite(r#"asm("mov.b32 %0, 1; mov.b32 %1, 2;" : "=r"(a), "=r"(b));"#);
    assert!(two.unwrap_err().text.contains("several instructions"));
}

#[test]
fn what_is_missing_is_named_with_its_line() {
    let mistake = rewrite("int a;\n__constant__ float table[4];").unwrap_err();
    assert_eq!(mistake.line, 2);
    assert!(rewrite("__device__ int counter;").is_err());
    assert!(rewrite("__device__ const float half = 0.5f;").is_ok());
    assert!(rewrite("__device__ float twice(float x) { return 2 * x; }").is_ok());
    let mistake = rewrite("#include <cub/cub.cuh>\n").unwrap_err();
    assert!(mistake.text.contains("cub/cub.cuh"), "{}", mistake.text);
    assert_eq!(text("#include <cuda_fp16.h>\nint a;"), "\nint a;");
}
