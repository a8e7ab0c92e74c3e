// CUDA C++ for the processor: what a kernel's source sees before its first line.
//
// Owns: CUDA's keywords and built-in variables, and the table of a module's kernels. A block's threads
// run one at a time, so shared memory is plain static memory.
#pragma once
#include "cooperation.h"
#include "ptx.h"

// Not inlined, so that a kernel keeps the instrumentation that its caller must not have.
#define __global__ __attribute__((noinline))
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
#define __shared__ static __attribute__((used, section("soft_shared")))

#define threadIdx soft_thread_index()
#define blockIdx soft_block_index()
#define blockDim soft_block_dim()
#define gridDim soft_grid_dim()
#define warpSize 32

#undef assert
#define assert(condition) ((condition) ? static_cast<void>(0) : soft_assert(#condition, __LINE__))

namespace soft {

template <typename T>
struct Bare {
  using Type = T;
};
template <typename T>
struct Bare<const T> {
  using Type = T;
};

template <unsigned... I>
struct Indices {};
template <unsigned N, unsigned... I>
struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <unsigned... I>
struct MakeIndices<0, I...> {
  using Type = Indices<I...>;
};

// How to call a kernel with its arguments as the driver passes them, one address for each.
template <auto Kernel>
struct Entry;
template <typename... A, void (*Kernel)(A...)>
struct Entry<Kernel> {
  static constexpr uint32_t sizes[sizeof...(A) + 1] = {sizeof(A)..., 0};
  template <unsigned... I>
  __attribute__((no_sanitize("thread"), no_sanitize("undefined"))) static void call(
      void *const *params, Indices<I...>) {
    Kernel(*static_cast<typename Bare<A>::Type *>(params[I])...);
  }
  __attribute__((no_sanitize("thread"), no_sanitize("undefined"))) static void run(
      void *const *params) {
    call(params, typename MakeIndices<sizeof...(A)>::Type{});
  }
};

}  // namespace soft

#define SOFT_KERNEL(NAME, MAX_THREADS)                                                             \
  { #NAME, soft::Entry<&NAME>::run, soft::Entry<&NAME>::sizes,                                     \
    sizeof(soft::Entry<&NAME>::sizes) / sizeof(uint32_t) - 1, MAX_THREADS }
