// CUDA's built-in types: vectors, and half and bfloat16 numbers.
#pragma once
#include <cstdint>
#include <cstring>

#define SOFT_VECTOR2(T, NAME, ALIGN)        \
  struct alignas(ALIGN) NAME {              \
    T x, y;                                 \
  };                                        \
  static inline NAME make_##NAME(T x, T y) { return {x, y}; }
#define SOFT_VECTOR3(T, NAME)               \
  struct NAME {                             \
    T x, y, z;                              \
  };                                        \
  static inline NAME make_##NAME(T x, T y, T z) { return {x, y, z}; }
#define SOFT_VECTOR4(T, NAME, ALIGN)        \
  struct alignas(ALIGN) NAME {              \
    T x, y, z, w;                           \
  };                                        \
  static inline NAME make_##NAME(T x, T y, T z, T w) { return {x, y, z, w}; }
#define SOFT_VECTORS(T, NAME, SIZE)         \
  SOFT_VECTOR2(T, NAME##2, 2 * SIZE)        \
  SOFT_VECTOR3(T, NAME##3)                  \
  SOFT_VECTOR4(T, NAME##4, (SIZE < 4 ? 4 * SIZE : 16))

SOFT_VECTORS(signed char, char, 1)
SOFT_VECTORS(unsigned char, uchar, 1)
SOFT_VECTORS(short, short, 2)
SOFT_VECTORS(unsigned short, ushort, 2)
SOFT_VECTORS(int, int, 4)
SOFT_VECTORS(unsigned, uint, 4)
SOFT_VECTORS(float, float, 4)
SOFT_VECTORS(long long, longlong, 8)
SOFT_VECTORS(unsigned long long, ulonglong, 8)
SOFT_VECTORS(double, double, 8)
#undef SOFT_VECTORS
#undef SOFT_VECTOR4
#undef SOFT_VECTOR3
#undef SOFT_VECTOR2

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace soft {

template <typename To, typename From>
inline To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

// Rounds to nearest, ties to even; a NaN becomes the canonical one, as `cvt.rn.bf16.f32` gives.
inline unsigned short to_bf16(float value) {
  uint32_t bits = bit_cast<uint32_t>(value);
  if (value != value) return 0x7fff;
  return static_cast<unsigned short>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline float from_bf16(unsigned short bits) { return bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

inline unsigned short to_half(float value) {
  const uint32_t bits = bit_cast<uint32_t>(value);
  const unsigned short sign = static_cast<unsigned short>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return 0x7fff;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;  // rounds to 2^16 or beyond
  if (magnitude < 0x38800000) {                       // subnormal: an addition of 0.5 rounds it
    const float shifted = bit_cast<float>(magnitude) + 0.5f;
    return static_cast<unsigned short>(sign | (bit_cast<uint32_t>(shifted) - 0x3f000000));
  }
  const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return static_cast<unsigned short>(sign | (rounded - 0x38000000) >> 13);
}

inline float from_half(unsigned short bits) {
  const uint32_t sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent == 31) return bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent) return bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  const float value = static_cast<float>(fraction) * (1.0f / 16777216.0f);
  return sign ? -value : value;
}

}  // namespace soft

struct __half {
  unsigned short bits;
  __half() = default;
  __half(float value) : bits(soft::to_half(value)) {}
  operator float() const { return soft::from_half(bits); }
};
struct __nv_bfloat16 {
  unsigned short bits;
  __nv_bfloat16() = default;
  __nv_bfloat16(float value) : bits(soft::to_bf16(value)) {}
  operator float() const { return soft::from_bf16(bits); }
};
typedef __half half;
typedef __nv_bfloat16 nv_bfloat16;

static inline float __half2float(__half x) { return x; }
static inline __half __float2half(float x) { return x; }
static inline __half __float2half_rn(float x) { return x; }
static inline float __bfloat162float(__nv_bfloat16 x) { return x; }
static inline __nv_bfloat16 __float2bfloat16(float x) { return x; }
static inline __nv_bfloat16 __float2bfloat16_rn(float x) { return x; }
static inline unsigned short __half_as_ushort(__half x) { return x.bits; }
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
