// Runs a launch: block after block, each thread on its own fiber, in a chosen order.
//
// A thread runs until it waits: at a barrier, in a warp operation, or at its end. Then the next one in the
// order runs, without a detour through the scheduler, which gets its turn when all have been looked at. When
// no thread can run any more and nothing can be completed, the kernel's synchronisation is wrong, and the
// launch ends with a message that says who waits where.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime.h"

extern "C" {
extern char __start_soft_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_soft_shared[] __attribute__((weak, visibility("hidden")));
extern char __bss_start[] __attribute__((visibility("hidden")));
extern char _end[] __attribute__((visibility("hidden")));
}

namespace soft {

// In a section of its own: `.bss` is left to the kernel's shared memory.
Block block __attribute__((section("soft_state"))) = {};

namespace {

__attribute__((section("soft_state"))) uint16_t order[SOFT_MAX_THREADS] = {};
__attribute__((section("soft_state"))) uint64_t random_state = 0;

uint32_t below(uint32_t bound) {  // xorshift64
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return static_cast<uint32_t>((random_state >> 32) % bound);
}

template <typename T>
void arrange(T *items, uint32_t count) {
  for (uint32_t i = 0; i < count; i++)
    items[i] = block.launch->order == SOFT_REVERSE ? count - 1 - i : i;
}

template <typename T>
void shuffle(T *items, uint32_t count) {
  for (uint32_t i = count; i > 1; i--) {
    uint32_t j = below(i);
    T kept = items[i - 1];
    items[i - 1] = items[j];
    items[j] = kept;
  }
}

// The next thread of this pass that can run, or null at its end.
Thread *next_ready() {
  while (block.pass < block.count) {
    Thread &thread = block.threads[order[block.pass++]];
    if (thread.status == Status::kReady) return &thread;
  }
  return nullptr;
}

// Runs on every stack: the thread that it was taken for, and after it the ones that have not begun.
void entry() {
  arrived();
  for (;;) {
    block.kernel->entry(block.launch->params);
    Thread *me = block.running;
    me->status = Status::kReturned;
    block.returned++;
    Thread *next = next_ready();
    block.running = next;
    if (next && !next->started) {
      next->started = true;
      next->stack = me->stack;
      next->low = me->low;
      next->high = me->high;
      continue;
    }
    block.free_stacks[block.stack_count++] = me->stack;
    if (next) leave(*me, *next);
    leave(*me, block.scheduler);
  }
}

// A thread takes a stack when it first runs and gives it back when it ends, so that threads which never
// wait share one that stays in cache. Tops of stacks are spread over cache sets.
void take_stack(Thread &thread) {
  thread.stack = block.free_stacks[--block.stack_count];
  thread.started = true;
  const size_t spread = thread.stack % 32 * 128;
  prepare(thread, block.launch->stacks + static_cast<size_t>(thread.stack) * SOFT_STACK_BYTES,
          SOFT_STACK_BYTES - spread, entry);
}

void wait(Status status) {
  Thread *me = block.running;
  me->status = status;
  (status == Status::kBarrier ? block.at_barrier : block.in_warp)++;
  Thread *next = next_ready();
  block.running = next;
  if (!next) return change(*me, block.scheduler);
  if (!next->started) take_stack(*next);
  change(*me, *next);
}

// Runs every thread that can run until it waits; false if there is none.
bool run_pass() {
  block.pass = 0;
  Thread *first = next_ready();
  if (!first) return false;
  if (!first->started) take_stack(*first);
  block.running = first;
  change(block.scheduler, *first);
  block.running = nullptr;
  return true;
}

// Shared memory starts with garbage, here NaN: nothing may be read before it is written. A loop, for
// the address sanitizer's `memset` minds the gaps that it left between variables.
void poison_shared() {
  for (const SoftRegion &region : block.launch->shared) {
    volatile uint64_t *words = reinterpret_cast<volatile uint64_t *>(region.base);
    for (uint64_t i = 0; i < region.bytes / 8; i++) words[i] = ~0ull;
    volatile uint8_t *bytes = reinterpret_cast<volatile uint8_t *>(region.base);
    for (uint64_t i = region.bytes & ~7ull; i < region.bytes; i++) bytes[i] = 0xff;
  }
}

void start_block(uint32_t linear) {
  SoftLaunch &launch = *block.launch;
  block.index = {linear % launch.grid.x, linear / launch.grid.x % launch.grid.y,
                 linear / (launch.grid.x * launch.grid.y)};
  block.serial = launch.first_serial + linear;
  block.epoch = 0;
  block.fenced = block.acquired = false;
  reset_warp_order();
  poison_shared();
  block.at_barrier = block.in_warp = block.returned = 0;
  block.stack_count = block.count;
  for (uint32_t i = 0; i < block.count; i++) {
    block.free_stacks[i] = static_cast<uint16_t>(block.count - 1 - i);
    Thread &thread = block.threads[i];
    thread.started = false;
    thread.index = {i % launch.block.x, i / launch.block.x % launch.block.y,
                    i / (launch.block.x * launch.block.y)};
    thread.linear = i;
    thread.lane = i % kWarpSize;
    thread.warp = i / kWarpSize;
    thread.status = Status::kReady;
    thread.line = 0;
  }
  arrange(order, block.count);
}

const Thread *first(Status status) {
  for (uint32_t i = 0; i < block.count; i++)
    if (block.threads[i].status == status) return &block.threads[i];
  return nullptr;
}

// Lets all threads pass the barrier at which every one of them waits, or fails.
bool release_barrier() {
  Thread &some = block.threads[0];
  uint32_t trues = 0;
  for (uint32_t i = 0; i < block.count; i++) {
    Thread &thread = block.threads[i];
    if (thread.line != some.line || thread.kind != some.kind) {
      fail(SOFT_LAUNCH_FAILED, 0, thread.line,
           "divergent __syncthreads: %s waits at line %u, %s at line %u", thread_name(0).text,
           some.line, thread_name(i).text, thread.line);
      return false;
    }
    trues += thread.value != 0;
  }
  uint64_t result = some.kind == SOFT_BAR_COUNT ? trues
                    : some.kind == SOFT_BAR_AND ? trues == block.count
                                                : trues != 0;
  for (uint32_t i = 0; i < block.count; i++) {
    block.threads[i].result = result;
    block.threads[i].status = Status::kReady;
  }
  block.at_barrier = 0;
  block.epoch++;
  block.launch->barriers++;
  reset_warp_order();
  return true;
}

void report_deadlock() {
  const Thread *barrier = first(Status::kBarrier), *warp = first(Status::kWarp);
  if (warp) {
    fail(SOFT_LAUNCH_FAILED, 0, warp->line,
         "%s waits in a warp operation at line %u for lanes of its mask 0x%08x that never come "
         "(%u threads wait at __syncthreads, %u have returned)",
         thread_name(warp->linear).text, warp->line, warp->mask, block.at_barrier,
         block.returned);
  } else {
    fail(SOFT_LAUNCH_FAILED, 0, barrier->line,
         "%u of %u threads wait at __syncthreads in line %u, the other %u have returned: every "
         "thread of a block must reach it",
         block.at_barrier, block.count, barrier->line, block.returned);
  }
}

void run_block() {
  SoftLaunch &launch = *block.launch;
  for (;;) {
    if (launch.order == SOFT_SHUFFLED) shuffle(order, block.count);
    bool progress = run_pass();
    if (launch.fault) return;
    if (block.in_warp) progress |= complete_warps();
    if (launch.fault || block.returned == block.count) return;
    if (block.at_barrier == block.count) {
      if (!release_barrier()) return;
      progress = true;
    }
    if (!progress) return report_deadlock();
  }
}

}  // namespace

Name thread_name(uint32_t linear) {
  SoftDim dim = block.launch->block;
  Name name;
  snprintf(name.text, sizeof name.text, "thread (%u,%u,%u)", linear % dim.x, linear / dim.x % dim.y,
           linear / (dim.x * dim.y));
  return name;
}

Name block_name(uint32_t linear) {
  SoftDim dim = block.launch->grid;
  Name name;
  snprintf(name.text, sizeof name.text, "block (%u,%u,%u)", linear % dim.x, linear / dim.x % dim.y,
           linear / (dim.x * dim.y));
  return name;
}

void fail(SoftFault fault, uint64_t address, uint32_t line, const char *format, ...) {
  SoftLaunch &launch = *block.launch;
  launch.fault = fault;
  launch.address = address;
  launch.line = line;
  Thread *me = block.running;
  int used = snprintf(launch.message, sizeof launch.message, "kernel `%s`, %s%s%s: ", launch.kernel,
                      block_name(block.serial - launch.first_serial).text, me ? ", " : "",
                      me ? thread_name(me->linear).text : "");
  va_list rest;
  va_start(rest, format);
  vsnprintf(launch.message + used, sizeof launch.message - used, format, rest);
  va_end(rest);
  if (me) leave(*me, block.scheduler);
}

}  // namespace soft

using namespace soft;

extern "C" {

SoftDim soft_thread_index() { return block.running->index; }
SoftDim soft_block_index() { return block.index; }
SoftDim soft_block_dim() { return block.launch->block; }
SoftDim soft_grid_dim() { return block.launch->grid; }
uint32_t soft_lane() { return block.running->lane; }
void *soft_dynamic_shared() { return reinterpret_cast<void *>(block.launch->shared[0].base); }

int soft_barrier(uint32_t kind, int predicate, uint32_t line) {
  Thread *me = block.running;
  me->kind = kind;
  me->value = predicate != 0;
  me->line = line;
  wait(Status::kBarrier);
  return static_cast<int>(me->result);
}

uint64_t soft_warp(uint32_t kind, uint32_t mask, uint64_t value, uint32_t source, uint32_t line) {
  Thread *me = block.running;
  if (!(mask >> me->lane & 1))
    fail(SOFT_LAUNCH_FAILED, 0, line, "calls a warp operation whose mask 0x%08x leaves out its own lane %u",
         mask, me->lane);
  me->kind = kind;
  me->mask = mask;
  me->value = value;
  me->source = source;
  me->line = line;
  wait(Status::kWarp);
  return me->result;
}

void soft_assert(const char *text, uint32_t line) {
  fail(SOFT_ASSERT, 0, line, "assertion `%s` failed", text);
}

// The one door for the device: runs every block of a launch.
__attribute__((visibility("default"))) void soft_run(const SoftKernel *kernel, SoftLaunch *launch) {
  block.launch = launch;
  block.kernel = kernel;
  block.count = launch->block.x * launch->block.y * launch->block.z;
  block.running = nullptr;
  forget_regions();
  random_state = launch->seed * 0x9e3779b97f4a7c15ull + 0x2545f4914f6cdd1dull;
  uint32_t count = launch->grid.x * launch->grid.y * launch->grid.z;
  uint32_t *blocks = static_cast<uint32_t *>(malloc(count * sizeof *blocks));
  arrange(blocks, count);
  if (launch->order == SOFT_SHUFFLED) shuffle(blocks, count);
  for (uint32_t i = 0; i < count && !launch->fault; i++) {
    start_block(blocks[i]);
    run_block();
  }
  free(blocks);
}

// Where the module's static shared memory lies: two ranges, for compilers put that of templates into
// `.bss`.
__attribute__((visibility("default"))) void soft_shared(uint64_t ranges[4]) {
  ranges[0] = reinterpret_cast<uint64_t>(__start_soft_shared);
  ranges[1] = reinterpret_cast<uint64_t>(__stop_soft_shared);
  ranges[2] = reinterpret_cast<uint64_t>(__bss_start);
  ranges[3] = reinterpret_cast<uint64_t>(_end);
}
}
