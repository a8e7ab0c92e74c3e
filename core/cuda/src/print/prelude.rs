//! What every module of kernels begins with: loads and stores of several elements, single or bfloat16,
//! reductions, random numbers. No CUDA header is needed.

/// CUDA C++ in front of the kernels of a module.
pub const PRELUDE: &str = r#"// Several elements that lie together, as few accesses.
static __device__ __forceinline__ void load(float (&v)[1], const float *p) { v[0] = *p; }
static __device__ __forceinline__ void load(float (&v)[2], const float *p) {
  const float2 t = *(const float2 *)p;
  v[0] = t.x; v[1] = t.y;
}
static __device__ __forceinline__ void load(float (&v)[4], const float *p) {
  const float4 t = *(const float4 *)p;
  v[0] = t.x; v[1] = t.y; v[2] = t.z; v[3] = t.w;
}
static __device__ __forceinline__ void store(float *p, const float (&v)[1]) { *p = v[0]; }
static __device__ __forceinline__ void store(float *p, const float (&v)[2]) {
  *(float2 *)p = make_float2(v[0], v[1]);
}
static __device__ __forceinline__ void store(float *p, const float (&v)[4]) {
  *(float4 *)p = make_float4(v[0], v[1], v[2], v[3]);
}

// bfloat16, the upper half of single precision: read as the number it is; rounded to nearest, ties to even,
// when written, where a NaN stays one.
struct bf16 { unsigned short bits; };
static __device__ __forceinline__ float wide(const bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }
static __device__ __forceinline__ unsigned rounded(float x) {
  const unsigned bits = __float_as_uint(x);
  return x != x ? bits >> 16 | 0x40u : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}
static __device__ __forceinline__ unsigned packed(float low, float high) {
  return rounded(low) | rounded(high) << 16;
}
static __device__ __forceinline__ float low(unsigned t) { return __uint_as_float(t << 16); }
static __device__ __forceinline__ float high(unsigned t) { return __uint_as_float(t & 0xffff0000u); }
static __device__ __forceinline__ void put(bf16 *p, float x) { p->bits = (unsigned short)rounded(x); }
static __device__ __forceinline__ void load(float (&v)[1], const bf16 *p) { v[0] = wide(*p); }
static __device__ __forceinline__ void load(float (&v)[2], const bf16 *p) {
  const unsigned t = *(const unsigned *)p;
  v[0] = low(t); v[1] = high(t);
}
static __device__ __forceinline__ void load(float (&v)[4], const bf16 *p) {
  const uint2 t = *(const uint2 *)p;
  v[0] = low(t.x); v[1] = high(t.x); v[2] = low(t.y); v[3] = high(t.y);
}
static __device__ __forceinline__ void load(float (&v)[8], const bf16 *p) {
  const uint4 t = *(const uint4 *)p;
  v[0] = low(t.x); v[1] = high(t.x); v[2] = low(t.y); v[3] = high(t.y);
  v[4] = low(t.z); v[5] = high(t.z); v[6] = low(t.w); v[7] = high(t.w);
}
static __device__ __forceinline__ void load(float (&v)[8], const float *p) {
  const float4 t = *(const float4 *)p, u = *(const float4 *)(p + 4);
  v[0] = t.x; v[1] = t.y; v[2] = t.z; v[3] = t.w;
  v[4] = u.x; v[5] = u.y; v[6] = u.z; v[7] = u.w;
}
static __device__ __forceinline__ void store(bf16 *p, const float (&v)[1]) { put(p, v[0]); }
static __device__ __forceinline__ void store(bf16 *p, const float (&v)[2]) {
  *(unsigned *)p = packed(v[0], v[1]);
}
static __device__ __forceinline__ void store(bf16 *p, const float (&v)[4]) {
  *(uint2 *)p = make_uint2(packed(v[0], v[1]), packed(v[2], v[3]));
}
static __device__ __forceinline__ void store(bf16 *p, const float (&v)[8]) {
  *(uint4 *)p = make_uint4(packed(v[0], v[1]), packed(v[2], v[3]), packed(v[4], v[5]), packed(v[6], v[7]));
}
static __device__ __forceinline__ void store(float *p, const float (&v)[8]) {
  *(float4 *)p = make_float4(v[0], v[1], v[2], v[3]);
  *(float4 *)(p + 4) = make_float4(v[4], v[5], v[6], v[7]);
}

// The greater; a NaN once met stays.
static __device__ __forceinline__ float greater(float a, float b) { return a > b || a != a ? a : b; }
static __device__ __forceinline__ float lowest() { return __int_as_float(0xff800000); }

// Over a group of neighbouring lanes, a power of two; every lane gets the same result.
static __device__ __forceinline__ float lanes_sum(float v, unsigned mask, int lanes) {
  for (int step = lanes / 2; step > 0; step /= 2) v += __shfl_xor_sync(mask, v, step);
  return v;
}
static __device__ __forceinline__ float lanes_max(float v, unsigned mask, int lanes) {
  for (int step = lanes / 2; step > 0; step /= 2) v = greater(v, __shfl_xor_sync(mask, v, step));
  return v;
}

// Philox4x32-10. `key` is the stream's key, then the step, two words each.
static __device__ __forceinline__ float uniform(const uint4 key, unsigned long long index) {
  const unsigned rest = (unsigned)(index % 64);
  const unsigned long long block = index / 64 * 16 + rest % 16;
  unsigned c0 = (unsigned)block, c1 = (unsigned)(block >> 32), c2 = key.z, c3 = key.w;
  unsigned k0 = key.x, k1 = key.y;
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const unsigned h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
    const unsigned h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
    c0 = h1 ^ c1 ^ k0; c1 = l1; c2 = h0 ^ c3 ^ k1; c3 = l0;
    k0 += 0x9E3779B9u; k1 += 0xBB67AE85u;
  }
  const unsigned word = rest < 32 ? (rest < 16 ? c0 : c1) : (rest < 48 ? c2 : c3);
  return (float)(word >> 8) * (1.0f / 16777216.0f);
}
"#;
