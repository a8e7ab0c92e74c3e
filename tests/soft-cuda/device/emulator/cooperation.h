// How threads of a block work together: barriers, warp operations, atomics.
#pragma once
#include "calls.h"
#include "intrinsics.h"

// Macros, for messages name the line of the call.
#define __syncthreads() static_cast<void>(soft_barrier(SOFT_BAR, 0, __LINE__))
#define __syncthreads_count(p) soft_barrier(SOFT_BAR_COUNT, (p) != 0, __LINE__)
#define __syncthreads_and(p) soft_barrier(SOFT_BAR_AND, (p) != 0, __LINE__)
#define __syncthreads_or(p) soft_barrier(SOFT_BAR_OR, (p) != 0, __LINE__)
#define __syncwarp(...) soft::SyncWarp{__LINE__}(__VA_ARGS__)
#define __shfl_sync(...) soft::shuffle(__LINE__, __VA_ARGS__)
#define __shfl_up_sync(...) soft::shuffle_up(__LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) soft::shuffle_down(__LINE__, __VA_ARGS__)
#define __shfl_xor_sync(...) soft::shuffle_xor(__LINE__, __VA_ARGS__)
#define __ballot_sync(mask, p) static_cast<unsigned>(soft_warp(SOFT_BALLOT, mask, (p) != 0, 0, __LINE__))
#define __any_sync(mask, p) (soft_warp(SOFT_BALLOT, mask, (p) != 0, 0, __LINE__) != 0)
#define __all_sync(mask, p) (soft_warp(SOFT_BALLOT, mask, (p) == 0, 0, __LINE__) == 0)
#define __match_any_sync(mask, v) \
  static_cast<unsigned>(soft_warp(SOFT_MATCH, mask, soft::widened(v), 0, __LINE__))
#define __reduce_add_sync(mask, v) soft::reduce(SOFT_REDUCE_ADD, __LINE__, mask, v)
#define __reduce_min_sync(mask, v) soft::reduce(SOFT_REDUCE_MIN, __LINE__, mask, v)
#define __reduce_max_sync(mask, v) soft::reduce(SOFT_REDUCE_MAX, __LINE__, mask, v)
#define __threadfence() soft_fence()
#define __threadfence_block() static_cast<void>(0)
#define __threadfence_system() soft_fence()

namespace soft {

struct SyncWarp {
  unsigned line;
  void operator()(unsigned mask = 0xffffffffu) const { soft_warp(SOFT_SYNCWARP, mask, 0, 0, line); }
};

template <typename T>
inline uint64_t widened(T value) {
  static_assert(sizeof(T) <= 8, "warp operations carry at most 8 bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  return bits;
}

template <typename T>
inline T exchange(unsigned line, unsigned mask, T value, unsigned source) {
  const uint64_t bits = soft_warp(SOFT_SHUFFLE, mask, widened(value), source, line);
  memcpy(&value, &bits, sizeof value);
  return value;
}

// The segment of `width` lanes that a lane belongs to starts at `lane & ~(width - 1)`. A source outside
// it means the lane's own value, but for `__shfl_sync`, which wraps around.
template <typename T>
inline T shuffle(unsigned line, unsigned mask, T value, int source, int width = 32) {
  const unsigned start = soft_lane() & ~(width - 1u);
  return exchange(line, mask, value, start + (static_cast<unsigned>(source) & (width - 1u)));
}
template <typename T>
inline T shuffle_up(unsigned line, unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = soft_lane(), start = lane & ~(width - 1u);
  return exchange(line, mask, value, lane - start >= delta ? lane - delta : lane);
}
template <typename T>
inline T shuffle_down(unsigned line, unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = soft_lane(), start = lane & ~(width - 1u);
  return exchange(line, mask, value, lane - start + delta < static_cast<unsigned>(width) ? lane + delta : lane);
}
template <typename T>
inline T shuffle_xor(unsigned line, unsigned mask, T value, int lanes, int width = 32) {
  const unsigned lane = soft_lane(), start = lane & ~(width - 1u), source = lane ^ lanes;
  return exchange(line, mask, value, source < start + width ? source : lane);
}

template <typename T>
inline T reduce(uint32_t kind, unsigned line, unsigned mask, T value) {
  return static_cast<T>(
      soft_warp(kind, mask, static_cast<uint64_t>(static_cast<int64_t>(value)), 0, line));
}

// Atomics: the check is recorded as one, the rest happens at once, for no other thread runs meanwhile.
// The value is read and written where the instrumentation does not look.
template <typename T, typename F>
__attribute__((noinline, no_sanitize("thread"))) T update(T *address, F next) {
  soft_atomic(address, sizeof(T));
  T old = *address;
  *address = next(old);
  return old;
}

}  // namespace soft

#define SOFT_ATOMIC_ARITHMETIC(T)                                                                   \
  static inline T atomicAdd(T *p, T v) { return soft::update(p, [v](T old) { return static_cast<T>(old + v); }); } \
  static inline T atomicExch(T *p, T v) { return soft::update(p, [v](T) { return v; }); }
#define SOFT_ATOMIC_INTEGER(T)                                                                      \
  static inline T atomicMin(T *p, T v) { return soft::update(p, [v](T old) { return v < old ? v : old; }); } \
  static inline T atomicMax(T *p, T v) { return soft::update(p, [v](T old) { return v > old ? v : old; }); } \
  static inline T atomicAnd(T *p, T v) { return soft::update(p, [v](T old) { return old & v; }); }  \
  static inline T atomicOr(T *p, T v) { return soft::update(p, [v](T old) { return old | v; }); }   \
  static inline T atomicXor(T *p, T v) { return soft::update(p, [v](T old) { return old ^ v; }); }  \
  static inline T atomicCAS(T *p, T compare, T v) {                                                 \
    return soft::update(p, [compare, v](T old) { return old == compare ? v : old; });               \
  }
SOFT_ATOMIC_ARITHMETIC(float)
SOFT_ATOMIC_ARITHMETIC(double)
SOFT_ATOMIC_ARITHMETIC(int)
SOFT_ATOMIC_ARITHMETIC(unsigned)
SOFT_ATOMIC_ARITHMETIC(unsigned long long)
SOFT_ATOMIC_INTEGER(int)
SOFT_ATOMIC_INTEGER(unsigned)
SOFT_ATOMIC_INTEGER(unsigned long long)
#undef SOFT_ATOMIC_ARITHMETIC
#undef SOFT_ATOMIC_INTEGER
static inline int atomicSub(int *p, int v) { return atomicAdd(p, -v); }
static inline unsigned atomicSub(unsigned *p, unsigned v) { return atomicAdd(p, 0u - v); }
static inline unsigned atomicInc(unsigned *p, unsigned bound) {
  return soft::update(p, [bound](unsigned old) { return old >= bound ? 0u : old + 1; });
}
