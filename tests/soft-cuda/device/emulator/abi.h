// What the software device (Rust), the emulator's runtime and compiled kernels say to each other.
//
// Owns: the layout of every struct that crosses between them. `device/src/emulator.rs` mirrors it; a
// test compiles static assertions of every size and offset.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define SOFT_ABI 1u

struct SoftDim {
  uint32_t x, y, z;
};

// The last accesses to a piece of memory of one kind (writes, or reads).
//
// A *serial* is the number of a block's run on the device, counted over all launches; a copy or a
// matrix product takes one serial too. 0 says: none. Two accesses of one block are ordered when their
// `epoch` (barriers that the block has passed) differs; inside an epoch, lanes of one warp are ordered
// by `__syncwarp`, of which `clock` is the time.
struct SoftAccess {
  uint32_t serial;
  uint32_t epoch;
  uint32_t lanes;  // bit l: lane l of `warp`
  uint16_t warp;   // number of the warp, with the SOFT_ bits below
  uint16_t clock;
};
#define SOFT_WARP 0x3fu
#define SOFT_ATOMIC 0x2000u
#define SOFT_SEVERAL_WARPS 0x4000u
#define SOFT_SEVERAL_BLOCKS 0x8000u

struct SoftCell {
  SoftAccess write, read;
};

enum SoftRegionState : uint32_t { SOFT_LIVE = 0, SOFT_FREED = 1 };

// A piece of memory that kernels may name: a device allocation, pinned host memory, shared memory.
struct SoftRegion {
  uint64_t base, bytes;
  SoftCell *cells;  // one for each 2^shift bytes; null: accesses are not tracked
  uint32_t shift;
  uint32_t state;   // SoftRegionState
  uint64_t id;      // how messages name the allocation
};

// Serials first..=last, of work that is not ordered before this launch.
struct SoftRange {
  uint32_t first, last;
};

enum SoftOrder : uint32_t { SOFT_FORWARD = 0, SOFT_REVERSE = 1, SOFT_SHUFFLED = 2 };

// The CUDA driver's status codes that a kernel can end with.
enum SoftFault : int32_t {
  SOFT_OK = 0,
  SOFT_ILLEGAL_ADDRESS = 700,
  SOFT_LAUNCH_TIMEOUT = 702,
  SOFT_ASSERT = 710,
  SOFT_MISALIGNED_ADDRESS = 716,
  SOFT_LAUNCH_FAILED = 719,
};

#define SOFT_MESSAGE_BYTES 1024
#define SOFT_MAX_THREADS 1024u
#define SOFT_STACK_BYTES 65536u

// One launch: what the device hands over, and what it gets back.
struct SoftLaunch {
  SoftDim grid, block;
  const char *kernel;
  void *const *params;        // one pointer to each argument's value
  uint32_t order;             // SoftOrder
  uint32_t check;             // 0: accesses are not instrumented
  uint64_t seed;
  SoftRegion *const *regions;  // sorted by base, without overlap
  size_t region_count;
  SoftRegion shared[3];        // dynamic shared memory, then the two ranges of `soft_shared`
  uint32_t first_serial;      // the first block's
  uint32_t *released;         // one for each block: see `released` in access.cpp
  const SoftRange *unordered;
  size_t unordered_count;
  uint64_t image_low, image_high;  // where the module's code and constants lie
  char *stacks;               // SOFT_MAX_THREADS stacks of SOFT_STACK_BYTES each
  // Makes a region's cells finer, 2^shift bytes each.
  void (*refine)(SoftRegion *region, uint32_t shift);
  // Out.
  uint64_t barriers, collectives, accesses;
  int32_t fault;              // SoftFault
  uint32_t line;              // of the source, 0 if unknown
  uint64_t address;           // of the code that failed, 0 if unknown
  char message[SOFT_MESSAGE_BYTES];
};

struct SoftKernel {
  const char *name;
  void (*entry)(void *const *params);
  const uint32_t *sizes;      // of each parameter, in bytes
  uint32_t param_count;
  uint32_t max_threads;       // from __launch_bounds__, 0 if none
};

struct SoftModule {
  uint32_t abi;               // SOFT_ABI
  uint32_t arch;              // 80 for sm_80
  const SoftKernel *kernels;
  uint64_t kernel_count;
};
