//! What every module of kernels begins with: loads and stores of several elements, reductions,
//! random numbers. No CUDA header is needed.

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
static __device__ __forceinline__ uint4 philox(const uint4 key, unsigned long long block) {
  unsigned c0 = (unsigned)block, c1 = (unsigned)(block >> 32), c2 = key.z, c3 = key.w;
  unsigned k0 = key.x, k1 = key.y;
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const unsigned h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
    const unsigned h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
    c0 = h1 ^ c1 ^ k0; c1 = l1; c2 = h0 ^ c3 ^ k1; c3 = l0;
    k0 += 0x9E3779B9u; k1 += 0xBB67AE85u;
  }
  return make_uint4(c0, c1, c2, c3);
}
static __device__ __forceinline__ unsigned pick(const uint4 v, unsigned i) {
  return i < 2 ? (i == 0 ? v.x : v.y) : (i == 2 ? v.z : v.w);
}
static __device__ __forceinline__ float fraction(unsigned word) {
  return (float)(word >> 8) * (1.0f / 16777216.0f);
}

// Of 64 numbers word w of block b is number 16 w + b.
static __device__ __forceinline__ float uniform(const uint4 key, unsigned long long index) {
  const unsigned rest = (unsigned)(index % 64);
  return fraction(pick(philox(key, index / 64 * 16 + rest % 16), rest / 16));
}
// Four numbers from `index` on, where 16 neighbouring lanes together want 64 that begin at a multiple of 64: each
// lane computes one block, and four lanes exchange the words of theirs.
static __device__ __forceinline__ void uniform(float (&v)[4], const uint4 key, unsigned long long index) {
  const unsigned rest = (unsigned)(index % 64), own = rest / 16;
  const uint4 words = philox(key, index / 64 * 16 + rest % 16 + own);
  const unsigned mask = 0xffffu << (threadIdx.x & 16);
  uint4 got;
  got.x = pick(words, own);
  got.y = __shfl_xor_sync(mask, pick(words, own ^ 1), 4);
  got.z = __shfl_xor_sync(mask, pick(words, own ^ 2), 8);
  got.w = __shfl_xor_sync(mask, pick(words, own ^ 3), 12);
#pragma unroll
  for (unsigned j = 0; j < 4; j++) v[j] = fraction(pick(got, own ^ j));
}
"#;
