// The calls that a kernel's code makes into the runtime.
//
// They are functions, not variables, so that the compiler's instrumentation of memory accesses sees
// only accesses of the kernel itself.
#pragma once
#include "abi.h"

enum SoftBarrier : uint32_t { SOFT_BAR, SOFT_BAR_COUNT, SOFT_BAR_AND, SOFT_BAR_OR };

enum SoftWarpKind : uint32_t {
  SOFT_SYNCWARP,
  SOFT_SHUFFLE,   // result: the value of lane `source`
  SOFT_BALLOT,    // result: bits of the lanes whose value is not 0
  SOFT_MATCH,     // result: bits of the lanes with the same value
  SOFT_REDUCE_ADD,
  SOFT_REDUCE_MIN,
  SOFT_REDUCE_MAX,
  SOFT_MMA,       // value: address of a SoftMma on the lane's own stack
};

enum SoftMmaKind : uint32_t { SOFT_MMA_BF16, SOFT_MMA_F16, SOFT_MMA_TF32 };

// One lane's registers of `mma.sync.aligned.m16n8k<k>.row.col`.
struct SoftMma {
  uint32_t kind, k;
  uint32_t a[4], b[2];
  float c[4], d[4];
};

#define SOFT_HIDDEN __attribute__((visibility("hidden")))

extern "C" {
// Constant for as long as a thread runs, hence `const`.
SOFT_HIDDEN SoftDim soft_thread_index() __attribute__((const));
SOFT_HIDDEN SoftDim soft_block_index() __attribute__((const));
SOFT_HIDDEN SoftDim soft_block_dim() __attribute__((const));
SOFT_HIDDEN SoftDim soft_grid_dim() __attribute__((const));
SOFT_HIDDEN uint32_t soft_lane() __attribute__((const));
SOFT_HIDDEN void *soft_dynamic_shared() __attribute__((const));

SOFT_HIDDEN int soft_barrier(uint32_t kind, int predicate, uint32_t line);
SOFT_HIDDEN uint64_t soft_warp(uint32_t kind, uint32_t mask, uint64_t value, uint32_t source,
                               uint32_t line);
SOFT_HIDDEN void soft_fence();
// Checks and records an atomic access; the caller then does it plainly, for no one else runs.
SOFT_HIDDEN void soft_atomic(void *address, uint32_t bytes);
SOFT_HIDDEN void soft_assert(const char *text, uint32_t line);
}
