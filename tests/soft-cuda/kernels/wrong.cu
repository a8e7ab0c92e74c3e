// Kernels with one mistake each, which the software device must name.

// Reads a neighbour's element without waiting for it.
extern "C" __global__ void missing_barrier(const float *x, float *y) {
  __shared__ float s[64];
  s[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = s[threadIdx.x ^ 1];
}

// The barrier is there, but the next round overwrites what others still read.
extern "C" __global__ void missing_second_barrier(const float *x, float *y) {
  __shared__ float s[64];
  float sum = 0.0f;
  for (int round = 0; round < 2; round++) {
    s[threadIdx.x] = x[threadIdx.x] + round;
    __syncthreads();
    sum += s[63 - threadIdx.x];
  }
  y[threadIdx.x] = sum;
}

// Lanes of a warp exchange through shared memory: not even they run in step.
extern "C" __global__ void missing_syncwarp(float *y) {
  __shared__ float s[32];
  s[threadIdx.x] = threadIdx.x;
  y[threadIdx.x] = s[31 - threadIdx.x];
}

// All blocks add to one number without an atomic.
extern "C" __global__ void racing_blocks(float *y) {
  if (threadIdx.x == 0) y[0] += 1.0f;
}

// One thread too many.
extern "C" __global__ void past_the_end(float *y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i <= n) y[i] = 1.0f;
}

extern "C" __global__ void before_the_start(float *y) { y[(int)threadIdx.x - 1] = 1.0f; }

extern "C" __global__ void through_a_null_pointer(float *y) {
  float *nowhere = y - (long long)y / 4;
  nowhere[threadIdx.x] = 1.0f;
}

extern "C" __global__ void misaligned(const float *x, float4 *y) {
  y[threadIdx.x] = *reinterpret_cast<const float4 *>(x + 1);
}

extern "C" __global__ void past_a_shared_array(float *y) {
  __shared__ float s[32];
  s[threadIdx.x + 1] = 1.0f;
  __syncthreads();
  y[threadIdx.x] = s[threadIdx.x];
}

extern "C" __global__ void past_dynamic_shared_memory(float *y) {
  extern __shared__ float s[];
  s[threadIdx.x] = 1.0f;
  y[threadIdx.x] = s[threadIdx.x];
}

extern "C" __global__ void past_a_local_array(float *y, int n) {
  float v[4] = {1.0f, 2.0f, 3.0f, 4.0f};
  for (int i = 0; i < n; i++) v[i] += y[threadIdx.x];
  y[threadIdx.x] = v[0] + v[1] + v[2] + v[3];
}

extern "C" __global__ void barrier_in_a_branch(float *y) {
  if (threadIdx.x < 16) {
    __syncthreads();
    y[threadIdx.x] = 1.0f;
  } else {
    __syncthreads();
    y[threadIdx.x] = 2.0f;
  }
}

extern "C" __global__ void barrier_after_return(float *y, int n) {
  if (threadIdx.x >= n) return;
  __syncthreads();
  y[threadIdx.x] = 1.0f;
}

extern "C" __global__ void shuffle_from_an_inactive_lane(float *y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_sync(0x0000ffffu, 1.0f, threadIdx.x + 16);
}

extern "C" __global__ void shuffle_without_half_the_mask(float *y) {
  if (threadIdx.x < 16) {
    y[threadIdx.x] = __shfl_down_sync(0xffffffffu, 1.0f, 1);
  } else {
    __syncthreads();
  }
}

extern "C" __global__ void shuffle_outside_its_mask(float *y) {
  y[threadIdx.x] = __shfl_sync(0x0000ffffu, 1.0f, 0);
}

// The product of two numbers of type int that is beyond 2^31.
extern "C" __global__ void index_overflow(float *y, int rows, int cols) {
  y[rows * cols > 0 ? 0 : 1] = 1.0f;
}

// Shared memory is garbage until something is written to it.
extern "C" __global__ void uninitialised_shared(float *y) {
  __shared__ float s[32];
  y[threadIdx.x] = s[threadIdx.x];
}

extern "C" __global__ void failing_assertion(int n) { assert(threadIdx.x < n); }
