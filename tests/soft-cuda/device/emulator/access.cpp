// Every access of a kernel to memory: is it inside something, is it aligned, is it ordered?
//
// Kernels are compiled with the compiler's thread-sanitizer instrumentation, which calls a function
// before each load and store. Those functions are here, in place of the sanitizer's own library. An
// access must lie in the thread's own stack, in the block's shared memory, or in a live allocation.
// Two accesses of different threads to the same bytes, one of them a write, must be ordered by a
// barrier, by `__syncwarp`, or (between blocks) by `__threadfence` and an atomic; if not, it is a race,
// whatever the order was in this run. Of earlier launches that read, one is remembered, so a write that
// races with another's read alone can be missed; no ordered program is reported.
#include <stdio.h>

#include "runtime.h"

namespace soft {
namespace {

enum class Kind { kRead, kWrite, kAtomic };

const char *past(Kind kind) {
  return kind == Kind::kRead ? "read" : kind == Kind::kWrite ? "written" : "updated by an atomic";
}

const char *present(Kind kind) {
  return kind == Kind::kRead ? "reads" : kind == Kind::kWrite ? "writes" : "atomically updates";
}

// The regions that were found last, by bits of their addresses: most accesses are near earlier ones.
__attribute__((section("soft_state"))) SoftRegion *recent[16] = {};

SoftRegion *search(uint64_t address) {
  SoftLaunch &launch = *block.launch;
  for (SoftRegion &region : launch.shared)
    if (address - region.base < region.bytes) return &region;
  size_t low = 0, high = launch.region_count;
  while (low < high) {  // the last region that starts at or before the address
    size_t middle = (low + high) / 2;
    if (launch.regions[middle]->base <= address) low = middle + 1;
    else high = middle;
  }
  if (low == 0) return nullptr;
  SoftRegion *region = launch.regions[low - 1];
  return address - region->base < region->bytes ? region : nullptr;
}

SoftRegion *find(uint64_t address) {
  SoftRegion *&kept = recent[address >> 12 & 15];
  if (kept && address - kept->base < kept->bytes) return kept;
  SoftRegion *found = search(address);
  if (found) kept = found;
  return found;
}

bool is_shared(const SoftRegion *region) {
  const SoftRegion *shared = block.launch->shared;
  return region >= shared && region < shared + 3;
}

// "12 bytes past the end of allocation 7", for an address in no region.
Name nearest(uint64_t address) {
  SoftLaunch &launch = *block.launch;
  Name name;
  snprintf(name.text, sizeof name.text, "in no allocation");
  uint64_t best = 1 << 20;
  for (size_t i = 0; i < launch.region_count; i++) {
    const SoftRegion *region = launch.regions[i];
    const bool before = address < region->base;
    const uint64_t distance =
        before ? region->base - address : address - region->base - region->bytes;
    if (distance >= best) continue;
    best = distance;
    snprintf(name.text, sizeof name.text, "%llu bytes %s allocation %llu",
             static_cast<unsigned long long>(distance), before ? "before" : "past the end of",
             static_cast<unsigned long long>(region->id));
  }
  return name;
}

// What a region is called, with the byte inside it.
Name place(const SoftRegion *region, uint64_t address) {
  Name name;
  if (is_shared(region))
    snprintf(name.text, sizeof name.text, "byte %llu of %s shared memory",
             static_cast<unsigned long long>(address - region->base),
             region == block.launch->shared ? "dynamic" : "static");
  else
    snprintf(name.text, sizeof name.text, "byte %llu of allocation %llu",
             static_cast<unsigned long long>(address - region->base),
             static_cast<unsigned long long>(region->id));
  return name;
}

bool is_unordered(uint32_t serial) {
  const SoftLaunch &launch = *block.launch;
  for (size_t i = 0; i < launch.unordered_count; i++)
    if (serial >= launch.unordered[i].first && serial <= launch.unordered[i].last) return true;
  return false;
}

// Whether an earlier access of another block of this launch is known to come before: that block has
// called `__threadfence` and used an atomic afterwards, and this one has used an atomic since. Which
// atomic is not compared.
bool is_released(const SoftAccess &access) {
  const SoftLaunch &launch = *block.launch;
  uint32_t released = launch.released[access.serial - launch.first_serial];
  return block.acquired && released != 0 && access.epoch < released;
}

enum class Order { kOrdered, kThread, kBlock, kStream };

// Whether the recorded access comes before what the running thread does now.
Order order_of(const SoftAccess &access, bool shared) {
  const SoftLaunch &launch = *block.launch;
  if (access.serial == 0) return Order::kOrdered;
  if (shared) {
    if (access.serial != block.serial) return Order::kOrdered;  // another block's shared memory
  } else if (access.serial < launch.first_serial) {
    return launch.unordered_count && is_unordered(access.serial) ? Order::kStream : Order::kOrdered;
  } else if (access.serial != block.serial || access.warp & SOFT_SEVERAL_BLOCKS) {
    return is_released(access) ? Order::kOrdered : Order::kBlock;
  }
  if (access.epoch != block.epoch) return Order::kOrdered;
  const Thread &me = *block.running;
  if (access.warp & SOFT_SEVERAL_WARPS || (access.warp & SOFT_WARP) != me.warp)
    return Order::kThread;
  uint32_t others = access.lanes & ~(1u << me.lane);
  if (!others) return Order::kOrdered;
  const uint16_t *seen = block.warps[me.warp].seen[me.lane];
  for (; others; others &= others - 1)
    if (seen[__builtin_ctz(others)] < access.clock) return Order::kThread;
  return Order::kOrdered;
}

// Adds the running thread to a record, which keeps several threads if `together`.
void record(SoftAccess &access, bool shared, bool together, uint16_t flags) {
  const Thread &me = *block.running;
  const uint16_t clock = block.warps[me.warp].time[me.lane];
  if (together && access.serial == block.serial && access.epoch == block.epoch) {
    if ((access.warp & SOFT_WARP) != me.warp) access.warp |= SOFT_SEVERAL_WARPS;
    access.lanes |= 1u << me.lane;
    if (clock > access.clock) access.clock = clock;
    return;
  }
  if (together && !shared && access.serial >= block.launch->first_serial) {
    if (access.serial != block.serial) flags |= SOFT_SEVERAL_BLOCKS;
    flags |= access.warp & SOFT_SEVERAL_BLOCKS;
  }
  access.serial = block.serial;
  access.epoch = block.epoch;
  access.lanes = 1u << me.lane;
  access.warp = static_cast<uint16_t>(me.warp | flags);
  access.clock = clock;
}

void report_race(const SoftRegion *region, const SoftAccess &access, Order order, Kind before,
                 Kind now, uint64_t address, uint32_t bytes, uint64_t code) {
  const char *verb = present(now), *participle = past(before);
  const Name where = place(region, address);
  if (order == Order::kStream)
    return fail(SOFT_LAUNCH_FAILED, code, 0,
                "race: %s %u bytes at %s, which work that nothing orders before this launch (on "
                "another stream) has %s",
                verb, bytes, where.text, participle);
  if (order == Order::kBlock)
    return fail(SOFT_LAUNCH_FAILED, code, 0,
                "race: %s %u bytes at %s, which another block of the same launch (%s) has %s", verb,
                bytes, where.text, block_name(access.serial - block.launch->first_serial).text,
                participle);
  uint32_t lane = __builtin_ctz(access.lanes);
  for (uint32_t lanes = access.lanes; lanes; lanes &= lanes - 1) {
    lane = __builtin_ctz(lanes);
    if ((access.warp & SOFT_WARP) * kWarpSize + lane != block.running->linear) break;
  }
  fail(SOFT_LAUNCH_FAILED, code, 0, "race: %s %u bytes at %s, which %s%s has %s since the last barrier",
       verb, bytes, where.text,
       thread_name((access.warp & SOFT_WARP) * kWarpSize + lane).text,
       access.warp & SOFT_SEVERAL_WARPS ? " or another warp" : "", participle);
}

void check_cell(SoftCell &cell, SoftRegion *region, bool shared, Kind kind, uint64_t address,
                uint32_t bytes, uint64_t code) {
  const bool atomics = kind == Kind::kAtomic && cell.write.warp & SOFT_ATOMIC;
  const Kind written = cell.write.warp & SOFT_ATOMIC ? Kind::kAtomic : Kind::kWrite;
  Order order = order_of(cell.write, shared);
  if (order != Order::kOrdered && !(atomics && order != Order::kStream))
    return report_race(region, cell.write, order, written, kind, address, bytes, code);
  if (kind == Kind::kRead) {
    // A reader that nothing orders before this launch is kept: this launch may go on to write.
    if (order_of(cell.read, shared) == Order::kStream) return;
    return record(cell.read, shared, true, 0);
  }
  order = order_of(cell.read, shared);
  if (order != Order::kOrdered)
    return report_race(region, cell.read, order, Kind::kRead, kind, address, bytes, code);
  record(cell.write, shared, atomics, kind == Kind::kAtomic ? SOFT_ATOMIC : 0);
}

void check(void *pointer, uint32_t bytes, Kind kind, void *caller) {
  const uint64_t address = reinterpret_cast<uint64_t>(pointer);
  Thread &me = *block.running;
  if (address - reinterpret_cast<uint64_t>(me.low) < SOFT_STACK_BYTES) return;
  SoftLaunch &launch = *block.launch;
  const uint64_t code = reinterpret_cast<uint64_t>(caller);
  launch.accesses++;
  SoftRegion *region = find(address);
  if (!region) {
    const bool constant = address >= launch.image_low && address < launch.image_high;
    if (constant && kind == Kind::kRead) return;
    return fail(SOFT_ILLEGAL_ADDRESS, code, 0, "%s %u bytes at 0x%llx, %s", present(kind), bytes,
                static_cast<unsigned long long>(address),
                constant ? "in the module's constants" : nearest(address).text);
  }
  const uint64_t offset = address - region->base;
  if (region->state == SOFT_FREED)
    return fail(SOFT_ILLEGAL_ADDRESS, code, 0, "%s %u bytes at %s, which has been freed",
                present(kind), bytes, place(region, address).text);
  if (region->bytes - offset < bytes)
    return fail(SOFT_ILLEGAL_ADDRESS, code, 0, "%s %u bytes at %s, of which only %llu are inside",
                present(kind), bytes, place(region, address).text,
                static_cast<unsigned long long>(region->bytes - offset));
  if (address & (bytes - 1))
    return fail(SOFT_MISALIGNED_ADDRESS, code, 0, "%s %u bytes at %s, which is not a multiple of %u",
                present(kind), bytes, place(region, address).text, bytes);
  if (!region->cells) return;
  if (bytes < 1u << region->shift) launch.refine(region, bytes >= 2 ? 1 : 0);
  const bool shared = is_shared(region);
  const uint64_t last = (offset + bytes - 1) >> region->shift;
  for (uint64_t i = offset >> region->shift; i <= last; i++)
    check_cell(region->cells[i], region, shared, kind, address, bytes, code);
}

// A copy of a whole struct, whose alignment its members decide: in the widest pieces that fit.
void check_range(void *pointer, size_t bytes, Kind kind, void *caller) {
  char *at = static_cast<char *>(pointer);
  const size_t misfit = reinterpret_cast<size_t>(at) | bytes;
  const uint32_t piece = misfit % 4 == 0 ? 4 : misfit % 2 == 0 ? 2 : 1;
  for (size_t i = 0; i < bytes; i += piece) check(at + i, piece, kind, caller);
}

}  // namespace

void forget_regions() {
  for (SoftRegion *&region : recent) region = nullptr;
}

}  // namespace soft

using namespace soft;

#define SOFT_CALLER __builtin_return_address(0)
#define SOFT_HOOKS(N)                                                                              \
  SOFT_HIDDEN void __tsan_read##N(void *p) { check(p, N, Kind::kRead, SOFT_CALLER); }              \
  SOFT_HIDDEN void __tsan_write##N(void *p) { check(p, N, Kind::kWrite, SOFT_CALLER); }            \
  SOFT_HIDDEN void __tsan_unaligned_read##N(void *p) { check(p, N, Kind::kRead, SOFT_CALLER); }    \
  SOFT_HIDDEN void __tsan_unaligned_write##N(void *p) { check(p, N, Kind::kWrite, SOFT_CALLER); }

extern "C" {
SOFT_HOOKS(1)
SOFT_HOOKS(2)
SOFT_HOOKS(4)
SOFT_HOOKS(8)
SOFT_HOOKS(16)

SOFT_HIDDEN void __tsan_read_range(void *p, size_t bytes) {
  check_range(p, bytes, Kind::kRead, SOFT_CALLER);
}
SOFT_HIDDEN void __tsan_write_range(void *p, size_t bytes) {
  check_range(p, bytes, Kind::kWrite, SOFT_CALLER);
}

SOFT_HIDDEN void __tsan_init() {}
SOFT_HIDDEN void __tsan_func_entry(void *) {}
SOFT_HIDDEN void __tsan_func_exit() {}

void soft_fence() { block.fenced = true; }

void soft_atomic(void *address, uint32_t bytes) {
  if (!block.launch->check) return;
  check(address, bytes, Kind::kAtomic, SOFT_CALLER);
  if (!block.fenced) return;
  block.acquired = true;
  block.launch->released[block.serial - block.launch->first_serial] = block.epoch + 1;
}
}
