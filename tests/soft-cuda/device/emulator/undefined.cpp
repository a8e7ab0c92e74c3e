// What the compiler's undefined-behaviour instrumentation calls: a misaligned vector access, an index
// outside an array, an integer that overflows or is divided by zero.
//
// Kernels are compiled with `-fsanitize=alignment,bounds,signed-integer-overflow,
// integer-divide-by-zero`. The layouts are those of the sanitizer's public handlers.
#include "runtime.h"

using namespace soft;

namespace {

struct Location {
  const char *file;
  uint32_t line, column;
};

struct TypeName {
  uint16_t kind, info;
  char name[1];
};

struct Mismatch {
  Location location;
  const TypeName *type;
  uint8_t log_alignment, check;
};

struct Bounds {
  Location location;
  const TypeName *array, *index;
};

struct Arithmetic {
  Location location;
  const TypeName *type;
};

// Values of 32 bits and less lie sign-extended in the argument itself; wider ones are pointed to.
long long value(const TypeName *type, uintptr_t argument) {
  const bool is_signed = type->info & 1;
  const unsigned bits = 1u << (type->info >> 1);
  if (bits >= 64) return static_cast<long long>(argument);
  const uint64_t kept = argument & ((1ull << bits) - 1);
  if (is_signed && kept >> (bits - 1)) return static_cast<long long>(kept | ~0ull << bits);
  return static_cast<long long>(kept);
}

void overflow(const Arithmetic *data, const char *what) {
  fail(SOFT_LAUNCH_FAILED, 0, data->location.line, "%s of %s overflows", what, data->type->name);
}

}  // namespace

#define SOFT_HANDLER(NAME, PARAMETERS, BODY)                         \
  SOFT_HIDDEN void __ubsan_handle_##NAME PARAMETERS { BODY; }        \
  SOFT_HIDDEN void __ubsan_handle_##NAME##_abort PARAMETERS { BODY; }

extern "C" {
SOFT_HANDLER(type_mismatch_v1, (const Mismatch *data, uintptr_t pointer),
             fail(SOFT_MISALIGNED_ADDRESS, 0, data->location.line,
                  "access as %s at 0x%llx, which is not a multiple of %u", data->type->name,
                  static_cast<unsigned long long>(pointer), 1u << data->log_alignment))
SOFT_HANDLER(out_of_bounds, (const Bounds *data, uintptr_t index),
             fail(SOFT_ILLEGAL_ADDRESS, 0, data->location.line, "index %lld is outside an array of type %s",
                  value(data->index, index), data->array->name))
SOFT_HANDLER(divrem_overflow, (const Arithmetic *data, uintptr_t, uintptr_t),
             fail(SOFT_LAUNCH_FAILED, 0, data->location.line, "division of %s by zero, or overflow",
                  data->type->name))
SOFT_HANDLER(add_overflow, (const Arithmetic *data, uintptr_t, uintptr_t), overflow(data, "addition"))
SOFT_HANDLER(sub_overflow, (const Arithmetic *data, uintptr_t, uintptr_t),
             overflow(data, "subtraction"))
SOFT_HANDLER(mul_overflow, (const Arithmetic *data, uintptr_t, uintptr_t),
             overflow(data, "multiplication"))
SOFT_HANDLER(negate_overflow, (const Arithmetic *data, uintptr_t), overflow(data, "negation"))
}
