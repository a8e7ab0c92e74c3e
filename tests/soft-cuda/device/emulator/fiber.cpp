#include "fiber.h"

#include <stdlib.h>
#include <string.h>

#ifdef SOFT_ASAN
extern "C" {
void __sanitizer_start_switch_fiber(void **save, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *save, const void **bottom, size_t *size);
void __asan_unpoison_memory_region(void const volatile *low, size_t bytes);
}
#endif

// Saves the registers that a call must keep and swaps stacks. A first switch "returns" into the entry.
#if defined(__x86_64__)
asm(R"(
.text
.hidden soft_switch
.globl soft_switch
.type soft_switch, @function
soft_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rax
  jmpq *%rax
.size soft_switch, .-soft_switch
)");
namespace {
constexpr size_t kFrameWords = 8;   // six registers, the entry, and a word that keeps the alignment
constexpr size_t kEntryWord = 6;
}  // namespace
#elif defined(__aarch64__)
asm(R"(
.text
.hidden soft_switch
.globl soft_switch
.type soft_switch, %function
soft_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x2, sp
  str x2, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size soft_switch, .-soft_switch
)");
namespace {
constexpr size_t kFrameWords = 20;
constexpr size_t kEntryWord = 11;  // x30, the address that `ret` goes to
}  // namespace
#else
#error "the software CUDA device runs on x86-64 and 64-bit Arm"
#endif

namespace soft {

void prepare(Fiber &fiber, char *low, size_t bytes, void (*entry)()) {
#ifdef SOFT_ASAN
  // A thread that was abandoned in the middle leaves its frames marked.
  __asan_unpoison_memory_region(low, bytes);
#endif
  fiber.low = low;
  fiber.high = low + bytes;
  fiber.asan = nullptr;
  void **frame = reinterpret_cast<void **>(fiber.high) - kFrameWords;
  memset(frame, 0, kFrameWords * sizeof(void *));
  frame[kEntryWord] = reinterpret_cast<void *>(entry);
  fiber.pointer = frame;
}

#ifdef SOFT_ASAN
namespace {

// The stack that called the scheduler, as the sanitizer told it. Not in `.bss`, which is left to the
// kernel's shared memory.
__attribute__((section("soft_state"))) const void *outer_bottom = nullptr;
__attribute__((section("soft_state"))) size_t outer_size = 0;
__attribute__((section("soft_state"))) Fiber *came_from = nullptr;

void announce(Fiber &from, Fiber &to, void **save) {
  came_from = &from;
  const void *bottom = to.low ? to.low : outer_bottom;
  size_t size = to.low ? static_cast<size_t>(to.high - to.low) : outer_size;
  __sanitizer_start_switch_fiber(save, bottom, size);
}

void finish(void *saved) {
  const void *bottom;
  size_t size;
  __sanitizer_finish_switch_fiber(saved, &bottom, &size);
  if (!came_from->low) {
    outer_bottom = bottom;
    outer_size = size;
  }
}

}  // namespace

void arrived() { finish(nullptr); }

void change(Fiber &from, Fiber &to) {
  announce(from, to, &from.asan);
  soft_switch(&from.pointer, to.pointer);
  finish(from.asan);
}

void leave(Fiber &from, Fiber &to) {
  announce(from, to, nullptr);
  soft_switch(&from.pointer, to.pointer);
  abort();
}
#else
void arrived() {}

void leave(Fiber &from, Fiber &to) {
  soft_switch(&from.pointer, to.pointer);
  abort();
}
#endif

}  // namespace soft
