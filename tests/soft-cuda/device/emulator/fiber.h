// Fibers: one stack for each CUDA thread of a block, switched by hand.
//
// Owns: the switch between stacks. Must not know: what runs on them.
#pragma once
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define SOFT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SOFT_ASAN 1
#endif
#endif

extern "C" __attribute__((visibility("hidden"))) void soft_switch(void **save, void *load);

namespace soft {

struct Fiber {
  void *pointer = nullptr;  // the saved stack pointer, while it does not run
  char *low = nullptr, *high = nullptr;  // its stack; null for the scheduler's own
  void *asan = nullptr;     // the address sanitizer's own record
};

// Gives a fiber its stack; `entry` is called on the first switch to it and must not return.
void prepare(Fiber &fiber, char *low, size_t bytes, void (*entry)());

// Saves the running fiber in `from` and runs `to`.
#ifdef SOFT_ASAN
void change(Fiber &from, Fiber &to);
#else
// Inline: a processor mispredicts every return that follows a change of stacks.
inline void change(Fiber &from, Fiber &to) { soft_switch(&from.pointer, to.pointer); }
#endif

// To be called first thing on a fiber that runs for the first time.
void arrived();

// Changes to `to`; `from` will never run again.
[[noreturn]] void leave(Fiber &from, Fiber &to);

}  // namespace soft
