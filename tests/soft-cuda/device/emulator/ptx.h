// Inline PTX that kernels may use, one function for each instruction.
//
// The device's NVRTC rewrites `asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(x))` to
// `soft::ptx::cvt_rn_bf16_f32(r, x)`: the instruction's dots become underscores, its operands the
// arguments in their order, groups in braces flattened. An instruction that is not here is a compile
// error that names it.
#pragma once
#include "cooperation.h"

namespace soft {
namespace ptx {

inline void cvt_rn_bf16_f32(unsigned short &d, float a) { d = to_bf16(a); }
inline void cvt_f32_bf16(float &d, unsigned short a) { d = from_bf16(a); }
inline void cvt_rn_f16_f32(unsigned short &d, float a) { d = to_half(a); }
inline void cvt_f32_f16(float &d, unsigned short a) { d = from_half(a); }
// The first source becomes the upper half.
inline void cvt_rn_bf16x2_f32(unsigned &d, float a, float b) {
  d = static_cast<unsigned>(to_bf16(a)) << 16 | to_bf16(b);
}
inline void cvt_rn_f16x2_f32(unsigned &d, float a, float b) {
  d = static_cast<unsigned>(to_half(a)) << 16 | to_half(b);
}
// Rounds to 10 fraction bits, ties away from zero.
inline void cvt_rna_tf32_f32(unsigned &d, float a) {
  const unsigned bits = bit_cast<unsigned>(a);
  d = a - a == 0.0f ? (bits + 0x1000u) & ~0x1fffu : bits;
}

#define SOFT_UNARY(NAME, VALUE) \
  inline void NAME(float &d, float a) { d = VALUE; }
SOFT_UNARY(ex2_approx_f32, exp2f(a))
SOFT_UNARY(ex2_approx_ftz_f32, exp2f(a))
SOFT_UNARY(lg2_approx_f32, log2f(a))
SOFT_UNARY(lg2_approx_ftz_f32, log2f(a))
SOFT_UNARY(rcp_approx_f32, 1.0f / a)
SOFT_UNARY(rcp_approx_ftz_f32, 1.0f / a)
SOFT_UNARY(rsqrt_approx_f32, rsqrtf(a))
SOFT_UNARY(rsqrt_approx_ftz_f32, rsqrtf(a))
SOFT_UNARY(sqrt_approx_f32, sqrtf(a))
SOFT_UNARY(tanh_approx_f32, tanhf(a))
SOFT_UNARY(sin_approx_f32, sinf(a))
SOFT_UNARY(cos_approx_f32, cosf(a))
#undef SOFT_UNARY

#define SOFT_MMA_PACKED(TYPE, KIND)                                                              \
  inline void mma_sync_aligned_m16n8k16_row_col_f32_##TYPE##_##TYPE##_f32(                       \
      float &d0, float &d1, float &d2, float &d3, unsigned a0, unsigned a1, unsigned a2,         \
      unsigned a3, unsigned b0, unsigned b1, float c0, float c1, float c2, float c3) {           \
    SoftMma m = {KIND, 16, {a0, a1, a2, a3}, {b0, b1}, {c0, c1, c2, c3}, {}};                    \
    soft_warp(SOFT_MMA, 0xffffffffu, reinterpret_cast<uint64_t>(&m), 0, 0);                      \
    d0 = m.d[0], d1 = m.d[1], d2 = m.d[2], d3 = m.d[3];                                          \
  }                                                                                              \
  inline void mma_sync_aligned_m16n8k8_row_col_f32_##TYPE##_##TYPE##_f32(                        \
      float &d0, float &d1, float &d2, float &d3, unsigned a0, unsigned a1, unsigned b0,         \
      float c0, float c1, float c2, float c3) {                                                  \
    SoftMma m = {KIND, 8, {a0, a1}, {b0}, {c0, c1, c2, c3}, {}};                                 \
    soft_warp(SOFT_MMA, 0xffffffffu, reinterpret_cast<uint64_t>(&m), 0, 0);                      \
    d0 = m.d[0], d1 = m.d[1], d2 = m.d[2], d3 = m.d[3];                                          \
  }
SOFT_MMA_PACKED(bf16, SOFT_MMA_BF16)
SOFT_MMA_PACKED(f16, SOFT_MMA_F16)
#undef SOFT_MMA_PACKED

inline void mma_sync_aligned_m16n8k8_row_col_f32_tf32_tf32_f32(
    float &d0, float &d1, float &d2, float &d3, unsigned a0, unsigned a1, unsigned a2, unsigned a3,
    unsigned b0, unsigned b1, float c0, float c1, float c2, float c3) {
  SoftMma m = {SOFT_MMA_TF32, 8, {a0, a1, a2, a3}, {b0, b1}, {c0, c1, c2, c3}, {}};
  soft_warp(SOFT_MMA, 0xffffffffu, reinterpret_cast<uint64_t>(&m), 0, 0);
  d0 = m.d[0], d1 = m.d[1], d2 = m.d[2], d3 = m.d[3];
}

}  // namespace ptx
}  // namespace soft
