// CUDA's math functions and intrinsics, computed by the C library.
//
// The fast forms (`__expf`, `__fdividef`, ...) are as exact as the slow ones here, so they differ from
// a GPU's in the last bits. Every operation rounds on its own: nothing is contracted to a fused
// multiply-add except where the source says so.
#pragma once
#include <math.h>

#include "types.h"

#define SOFT_FUNCTION static inline

// Macros, for the C library keeps these names for itself.
#define __expf expf
#define __exp2f exp2f
#define __logf logf
#define __log2f log2f
#define __log10f log10f
#define __powf powf
#define __sinf sinf
#define __cosf cosf
#define __tanf tanf
#define __exp10f(x) powf(10.0f, x)

SOFT_FUNCTION float rsqrtf(float x) { return static_cast<float>(1.0 / sqrt(static_cast<double>(x))); }
SOFT_FUNCTION double rsqrt(double x) { return 1.0 / sqrt(x); }
SOFT_FUNCTION float rsqrt(float x) { return rsqrtf(x); }
SOFT_FUNCTION float __fdividef(float x, float y) { return x / y; }
SOFT_FUNCTION float fdividef(float x, float y) { return x / y; }
SOFT_FUNCTION float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
SOFT_FUNCTION float __frcp_rn(float x) { return 1.0f / x; }
SOFT_FUNCTION float __fsqrt_rn(float x) { return sqrtf(x); }
SOFT_FUNCTION float __frsqrt_rn(float x) { return rsqrtf(x); }
SOFT_FUNCTION float __fadd_rn(float x, float y) { return x + y; }
SOFT_FUNCTION float __fsub_rn(float x, float y) { return x - y; }
SOFT_FUNCTION float __fmul_rn(float x, float y) { return x * y; }
SOFT_FUNCTION float __fdiv_rn(float x, float y) { return x / y; }
SOFT_FUNCTION float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
SOFT_FUNCTION float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678118654752f); }

SOFT_FUNCTION float __int_as_float(int x) { return soft::bit_cast<float>(x); }
SOFT_FUNCTION int __float_as_int(float x) { return soft::bit_cast<int>(x); }
SOFT_FUNCTION float __uint_as_float(unsigned x) { return soft::bit_cast<float>(x); }
SOFT_FUNCTION unsigned __float_as_uint(float x) { return soft::bit_cast<unsigned>(x); }
SOFT_FUNCTION float __int2float_rn(int x) { return static_cast<float>(x); }
SOFT_FUNCTION float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
SOFT_FUNCTION float __ull2float_rn(unsigned long long x) { return static_cast<float>(x); }

namespace soft {
// A GPU's conversion saturates and turns NaN into 0; C++'s is undefined there.
template <typename To>
inline To saturated(double x) {
  constexpr double low = static_cast<double>(static_cast<To>(-1) < 0 ? static_cast<To>(1u << 31) : 0);
  constexpr double high = static_cast<To>(-1) < 0 ? 2147483647.0 : 4294967295.0;
  if (x != x) return 0;
  return x <= low ? static_cast<To>(low) : x >= high ? static_cast<To>(high) : static_cast<To>(x);
}
}  // namespace soft
SOFT_FUNCTION int __float2int_rn(float x) { return soft::saturated<int>(nearbyint(x)); }
SOFT_FUNCTION int __float2int_rz(float x) { return soft::saturated<int>(trunc(x)); }
SOFT_FUNCTION int __float2int_rd(float x) { return soft::saturated<int>(floor(x)); }
SOFT_FUNCTION int __float2int_ru(float x) { return soft::saturated<int>(ceil(x)); }
SOFT_FUNCTION unsigned __float2uint_rn(float x) { return soft::saturated<unsigned>(nearbyint(x)); }
SOFT_FUNCTION unsigned __float2uint_rz(float x) { return soft::saturated<unsigned>(trunc(x)); }

SOFT_FUNCTION int __popc(unsigned x) { return __builtin_popcount(x); }
SOFT_FUNCTION int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
SOFT_FUNCTION int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
SOFT_FUNCTION int __clzll(long long x) { return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64; }
SOFT_FUNCTION int __ffs(int x) { return __builtin_ffs(x); }
SOFT_FUNCTION unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; i++) reversed |= (x >> i & 1u) << (31 - i);
  return reversed;
}
SOFT_FUNCTION unsigned __umulhi(unsigned x, unsigned y) {
  return static_cast<unsigned>(static_cast<unsigned long long>(x) * y >> 32);
}
SOFT_FUNCTION int __mulhi(int x, int y) { return static_cast<int>(static_cast<long long>(x) * y >> 32); }
SOFT_FUNCTION unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(x) * y >> 64);
}
SOFT_FUNCTION unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<unsigned long long>(high) << 32 | low) << (shift & 31) >> 32);
}
SOFT_FUNCTION unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<unsigned long long>(high) << 32 | low) >> (shift & 31));
}
SOFT_FUNCTION unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const unsigned long long bytes = static_cast<unsigned long long>(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; i++) {
    const unsigned pick = selector >> 4 * i & 15;
    unsigned byte = static_cast<unsigned>(bytes >> 8 * (pick & 7)) & 255;
    if (pick & 8) byte = byte & 128 ? 255 : 0;
    result |= byte << 8 * i;
  }
  return result;
}

#define SOFT_MINMAX(T)                                        \
  SOFT_FUNCTION T max(T x, T y) { return x > y ? x : y; }     \
  SOFT_FUNCTION T min(T x, T y) { return x < y ? x : y; }
SOFT_MINMAX(int)
SOFT_MINMAX(unsigned)
SOFT_MINMAX(long)
SOFT_MINMAX(unsigned long)
SOFT_MINMAX(long long)
SOFT_MINMAX(unsigned long long)
#undef SOFT_MINMAX
// As fmaxf: of a number and NaN, the number.
SOFT_FUNCTION float max(float x, float y) { return fmaxf(x, y); }
SOFT_FUNCTION float min(float x, float y) { return fminf(x, y); }
SOFT_FUNCTION double max(double x, double y) { return fmax(x, y); }
SOFT_FUNCTION double min(double x, double y) { return fmin(x, y); }
SOFT_FUNCTION unsigned max(int x, unsigned y) { return max(static_cast<unsigned>(x), y); }
SOFT_FUNCTION unsigned max(unsigned x, int y) { return max(x, static_cast<unsigned>(y)); }
SOFT_FUNCTION unsigned min(int x, unsigned y) { return min(static_cast<unsigned>(x), y); }
SOFT_FUNCTION unsigned min(unsigned x, int y) { return min(x, static_cast<unsigned>(y)); }

// Cache hints change nothing here.
template <typename T> inline T __ldg(const T *p) { return *p; }
template <typename T> inline T __ldca(const T *p) { return *p; }
template <typename T> inline T __ldcg(const T *p) { return *p; }
template <typename T> inline T __ldcs(const T *p) { return *p; }
template <typename T> inline void __stcg(T *p, T value) { *p = value; }
template <typename T> inline void __stcs(T *p, T value) { *p = value; }
template <typename T> inline void __stwt(T *p, T value) { *p = value; }

SOFT_FUNCTION __half hrcp(__half x) { return 1.0f / static_cast<float>(x); }
SOFT_FUNCTION __half hsqrt(__half x) { return sqrtf(x); }
SOFT_FUNCTION __half hsin(__half x) { return sinf(x); }
SOFT_FUNCTION __half hexp2(__half x) { return exp2f(x); }
SOFT_FUNCTION __half hlog2(__half x) { return log2f(x); }
