// The running block: what the scheduler, the access checks and the warp operations share.
//
// Owns: the state of the block that runs. There is one such state in each compiled module, and the
// device runs one kernel at a time, so it needs no locks.
#pragma once
#include "abi.h"
#include "calls.h"
#include "fiber.h"

namespace soft {

constexpr unsigned kWarpSize = 32;
constexpr unsigned kMaxWarps = SOFT_MAX_THREADS / kWarpSize;

enum class Status : uint8_t { kReady, kBarrier, kWarp, kReturned };

struct Thread : Fiber {
  bool started;         // whether it has a stack
  uint16_t stack;
  SoftDim index;
  uint32_t linear, lane, warp;
  Status status;
  uint32_t line;        // of the barrier or warp operation it waits in
  uint32_t kind;        // SoftBarrier or SoftWarpKind
  uint32_t mask;        // warp operations: the lanes that take part
  uint32_t source;      // shuffles: the lane to read
  uint64_t value;       // what it brings to the operation
  uint64_t result;      // what it takes from it
};

// Order inside a warp between two barriers, as vector clocks: accesses of lane m made at time
// `seen[l][m]` or earlier come before everything that lane l does from now on.
struct WarpOrder {
  uint16_t time[kWarpSize];
  uint16_t seen[kWarpSize][kWarpSize];
  bool used;  // whether a `__syncwarp` has happened since the last barrier
};

struct Block {
  SoftLaunch *launch;
  const SoftKernel *kernel;
  SoftDim index;
  uint32_t serial;      // number of this block's run on the device
  uint32_t epoch;       // barriers passed
  bool fenced;          // a thread has called `__threadfence`
  bool acquired;        // a thread has used an atomic after that
  uint32_t count;       // threads
  uint32_t at_barrier, in_warp, returned;  // how many threads wait where, or have ended
  uint32_t pass;                           // place in the order of the thread to look at next
  uint32_t stack_count;                    // stacks that no thread uses, the last used on top
  uint16_t free_stacks[SOFT_MAX_THREADS];
  Fiber scheduler;
  Thread *running;
  Thread threads[SOFT_MAX_THREADS];
  WarpOrder warps[kMaxWarps];
};

extern Block block;

// Ends the launch with a status and a message: "kernel `k`, block (..), thread (..): " and the text.
// On a fiber it does not return; in the scheduler it does.
void fail(SoftFault fault, uint64_t address, uint32_t line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

// "thread (1,0,0)" of the running block.
struct Name {
  char text[64];
};
Name thread_name(uint32_t linear);
Name block_name(uint32_t linear);

// To be called when a launch begins: regions of the last one may be gone.
void forget_regions();

// Completes the warp operations for which every lane has arrived; true if there was one.
bool complete_warps();

// Starts and ends of order: a new block, a barrier.
void reset_warp_order();

}  // namespace soft
