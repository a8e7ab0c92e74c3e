// Kernels that do what they should. The software device must run them alike in every thread order, and a
// real NVRTC must compile them. They need no headers.

// y = a x + y, one thread for each element.
extern "C" __global__ void axpy(float a, const float *x, float *y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = a * x[i] + y[i];
}

// The same, four elements at a time.
extern "C" __global__ void axpy4(float a, const float4 *x, float4 *y, int n4) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n4) return;
  const float4 u = x[i];
  float4 v = y[i];
  v.x = a * u.x + v.x;
  v.y = a * u.y + v.y;
  v.z = a * u.z + v.z;
  v.w = a * u.w + v.w;
  y[i] = v;
}

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes >>= 1) v += __shfl_xor_sync(0xffffffffu, v, lanes);
  return v;
}

__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, lanes));
  return v;
}

// The sum over the block, for every thread; `part` has an element for each warp.
__device__ float block_sum(float v, float *part) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  v = warp_sum(v);
  if (lane == 0) part[warp] = v;
  __syncthreads();
  if (warp == 0) {
    v = warp_sum(lane < warps ? part[lane] : 0.0f);
    if (lane == 0) part[0] = v;
  }
  __syncthreads();
  v = part[0];
  __syncthreads();
  return v;
}

// One block sums one row: warps by shuffles, the block through shared memory.
extern "C" __global__ void __launch_bounds__(256) row_sum(const float *x, float *y, int cols) {
  __shared__ float part[32];
  float v = 0.0f;
  for (int i = threadIdx.x; i < cols; i += blockDim.x) v += x[(long long)blockIdx.x * cols + i];
  v = block_sum(v, part);
  if (threadIdx.x == 0) y[blockIdx.x] = v;
}

// A tile of 32 x 32 at a time, one column of padding against bank conflicts.
extern "C" __global__ void transpose(const float *x, float *y, int rows, int cols) {
  __shared__ float tile[32][33];
  for (int r = threadIdx.y; r < 32; r += blockDim.y) {
    const int row = blockIdx.y * 32 + r, col = blockIdx.x * 32 + threadIdx.x;
    if (row < rows && col < cols) tile[r][threadIdx.x] = x[row * cols + col];
  }
  __syncthreads();
  for (int r = threadIdx.y; r < 32; r += blockDim.y) {
    const int row = blockIdx.x * 32 + r, col = blockIdx.y * 32 + threadIdx.x;
    if (row < cols && col < rows) y[row * rows + col] = tile[threadIdx.x][r];
  }
}

// Softmax over a row that lies in dynamic shared memory meanwhile.
extern "C" __global__ void softmax(const float *x, float *y, int cols) {
  extern __shared__ __align__(16) float row[];
  __shared__ float part[32];
  const long long base = (long long)blockIdx.x * cols;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  float high = __int_as_float(0xff800000);
  for (int i = threadIdx.x; i < cols; i += blockDim.x) {
    row[i] = x[base + i];
    high = fmaxf(high, row[i]);
  }
  high = warp_max(high);
  if (lane == 0) part[warp] = high;
  __syncthreads();
  high = warp_max(lane < warps ? part[lane] : __int_as_float(0xff800000));
  __syncthreads();
  float sum = 0.0f;
  for (int i = threadIdx.x; i < cols; i += blockDim.x) {
    row[i] = __expf(row[i] - high);
    sum += row[i];
  }
  sum = block_sum(sum, part);
  for (int i = threadIdx.x; i < cols; i += blockDim.x) y[base + i] = row[i] / sum;
}

// Lanes exchange through shared memory, in order by __syncwarp, twice over the same place.
extern "C" __global__ void warp_exchange(const float *x, float *y) {
  __shared__ float s[64];
  float *mine = s + (threadIdx.x & ~31);
  const int lane = threadIdx.x & 31;
  float v = x[threadIdx.x];
  for (int round = 0; round < 2; round++) {
    mine[lane] = v;
    __syncwarp();
    v = mine[31 - lane] + lane;
    __syncwarp();
  }
  y[threadIdx.x] = v;
}

// Votes and shuffles over a part of a warp.
extern "C" __global__ void votes(const int *x, unsigned *y) {
  const int lane = threadIdx.x, v = x[lane];
  const unsigned even = __ballot_sync(0xffffffffu, v % 2 == 0);
  unsigned result = even;
  if (lane < 16) {
    const int up = __shfl_up_sync(0x0000ffffu, v, 3, 16);
    const int down = __shfl_down_sync(0x0000ffffu, v, 3, 16);
    result = up * 100 + down;
    if (__any_sync(0x0000ffffu, v > 14)) result += 10000;
    if (__all_sync(0x0000ffffu, v >= 0)) result += 20000;
  }
  if (__syncthreads_count(v > 29) == 2) result += 100000;
  y[lane] = result;
}

// bfloat16 in storage, f32 in arithmetic, converted by PTX as no header is at hand.
__device__ __forceinline__ float from_bf16(unsigned short bits) {
  return __uint_as_float((unsigned)bits << 16);
}
__device__ __forceinline__ unsigned short to_bf16(float v) {
  unsigned short bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(v));
  return bits;
}
extern "C" __global__ void scale_bf16(const unsigned short *x, unsigned short *y, float a, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = to_bf16(a * from_bf16(x[i]));
}

// How many elements fall into each of 16 bins: atomics in shared memory, then in global memory.
extern "C" __global__ void histogram(const int *x, int *bins, int n) {
  __shared__ int local[16];
  if (threadIdx.x < 16) local[threadIdx.x] = 0;
  __syncthreads();
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) atomicAdd(&local[x[i]], 1);
  __syncthreads();
  if (threadIdx.x < 16) atomicAdd(&bins[threadIdx.x], local[threadIdx.x]);
}

// Every block leaves its sum; the last one to finish adds them up, in their order.
extern "C" __global__ void grid_sum(const float *x, float *partial, unsigned *finished, float *y, int n) {
  __shared__ float part[32];
  __shared__ bool last;
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  const float v = block_sum(i < n ? x[i] : 0.0f, part);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = v;
    __threadfence();
    last = atomicAdd(finished, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    float sum = 0.0f;
    for (int block = 0; block < gridDim.x; block++) sum += partial[block];
    y[0] = sum;
  }
}

// One warp multiplies 16 x 16 by 16 x 8 on tensor cores. A is row by row, B column by column.
extern "C" __global__ void mma_bf16(const unsigned *a, const unsigned *b, float *d) {
  const int lane = threadIdx.x, group = lane >> 2, within = lane & 3;
  // Pairs of bfloat16: 8 to a row of A, 8 to a column of B.
  const unsigned a0 = a[group * 8 + within], a1 = a[(group + 8) * 8 + within];
  const unsigned a2 = a[group * 8 + within + 4], a3 = a[(group + 8) * 8 + within + 4];
  const unsigned b0 = b[group * 8 + within], b1 = b[group * 8 + within + 4];
  float d0 = 0.0f, d1 = 0.0f, d2 = 0.0f, d3 = 0.0f;
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  d[group * 8 + within * 2] = d0;
  d[group * 8 + within * 2 + 1] = d1;
  d[(group + 8) * 8 + within * 2] = d2;
  d[(group + 8) * 8 + within * 2 + 1] = d3;
}
