// Warp operations: shuffles, votes, reductions, matrix fragments, and the order that `__syncwarp` makes.
//
// Only `__syncwarp` orders memory accesses: a shuffle, a vote or a reduction does not (CUDA C++
// Programming Guide, warp shuffle and warp vote functions).
#include <string.h>

#include "runtime.h"

namespace soft {
namespace {

float as_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

float half_to_float(uint16_t bits) {
  uint32_t sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent == 31) return as_float(sign | 0x7f800000u | fraction << 13);
  if (exponent) return as_float(sign | (exponent + 112) << 23 | fraction << 13);
  float value = static_cast<float>(fraction) * (1.0f / 16777216.0f);
  return sign ? -value : value;
}

// One element of a fragment register: `part` is 0 or 1 in packed pairs.
float element(uint32_t kind, uint32_t bits, uint32_t part) {
  if (kind == SOFT_MMA_TF32) return as_float(bits & ~0x1fffu);  // the hardware reads the upper 19 bits
  uint16_t half = static_cast<uint16_t>(part ? bits >> 16 : bits);
  return kind == SOFT_MMA_BF16 ? as_float(static_cast<uint32_t>(half) << 16) : half_to_float(half);
}

// D = A B + C of one warp, with the fragment layouts of the PTX ISA ("Matrix Fragments for
// mma.m16n8k16" and ".m16n8k8"). Products are exact, sums are in f64 and rounded once.
void multiply(SoftMma *const lanes[kWarpSize]) {
  const uint32_t kind = lanes[0]->kind, k = lanes[0]->k;
  const uint32_t packed = kind == SOFT_MMA_TF32 ? 1 : 2;
  float a[16][16], b[16][8];
  for (uint32_t lane = 0; lane < kWarpSize; lane++) {
    const SoftMma &mine = *lanes[lane];
    const uint32_t group = lane >> 2, within = lane & 3;
    // A register holds `packed` neighbours of a row of A (of a column of B); registers go down the
    // rows first, then to the second half of k.
    const uint32_t half = 4 * packed, registers = 2 * k / half;
    for (uint32_t r = 0; r < registers; r++)
      for (uint32_t part = 0; part < packed; part++)
        a[group + (r & 1) * 8][within * packed + part + (r >> 1) * half] =
            element(kind, mine.a[r], part);
    for (uint32_t r = 0; r < registers / 2; r++)
      for (uint32_t part = 0; part < packed; part++)
        b[within * packed + part + r * half][group] = element(kind, mine.b[r], part);
  }
  for (uint32_t lane = 0; lane < kWarpSize; lane++) {
    SoftMma &mine = *lanes[lane];
    for (uint32_t r = 0; r < 4; r++) {
      const uint32_t row = (lane >> 2) + (r >> 1) * 8, column = (lane & 3) * 2 + (r & 1);
      double sum = mine.c[r];
      for (uint32_t i = 0; i < k; i++) sum += static_cast<double>(a[row][i]) * b[i][column];
      mine.d[r] = static_cast<float>(sum);
    }
  }
}

void synchronise(WarpOrder &order, uint32_t lanes) {
  order.used = true;
  uint16_t latest[kWarpSize] = {};
  for (uint32_t l = 0; l < kWarpSize; l++) {
    if (!(lanes >> l & 1)) continue;
    for (uint32_t m = 0; m < kWarpSize; m++)
      if (order.seen[l][m] > latest[m]) latest[m] = order.seen[l][m];
    if (order.time[l] > latest[l]) latest[l] = order.time[l];
  }
  for (uint32_t l = 0; l < kWarpSize; l++) {
    if (!(lanes >> l & 1)) continue;
    memcpy(order.seen[l], latest, sizeof latest);
    if (order.time[l] < UINT16_MAX) order.time[l]++;
  }
}

// The lanes of `mask` that wait in the operation of `some`; fails if one waits in another.
bool gather(Thread *warp, uint32_t size, const Thread &some, uint32_t &arrived, uint32_t &expected) {
  arrived = expected = 0;
  for (uint32_t l = 0; l < size; l++) {
    if (!(some.mask >> l & 1) || warp[l].status == Status::kReturned) continue;
    expected |= 1u << l;
    if (warp[l].status != Status::kWarp) continue;
    arrived |= 1u << l;
    bool same = warp[l].mask == some.mask && warp[l].kind == some.kind &&
                (warp[l].line == some.line || some.kind == SOFT_SYNCWARP);
    if (!same) {
      fail(SOFT_LAUNCH_FAILED, 0, warp[l].line,
           "lanes of one mask are in different warp operations: %s at line %u with mask 0x%08x, %s "
           "at line %u with mask 0x%08x",
           thread_name(some.linear).text, some.line, some.mask, thread_name(warp[l].linear).text,
           warp[l].line, warp[l].mask);
      return false;
    }
  }
  return true;
}

int64_t reduced(Thread *warp, uint32_t lanes, uint32_t kind) {
  bool any = false;
  int64_t result = 0;
  for (uint32_t l = 0; l < kWarpSize; l++) {
    if (!(lanes >> l & 1)) continue;
    int64_t value = static_cast<int64_t>(warp[l].value);
    if (!any) result = value;
    else if (kind == SOFT_REDUCE_ADD) result += value;
    else if (kind == SOFT_REDUCE_MIN ? value < result : value > result) result = value;
    any = true;
  }
  return result;
}

// Gives every lane its result. False if one has asked for something that does not exist.
bool perform(Thread *warp, uint32_t number, uint32_t lanes, const Thread &some) {
  if (some.kind == SOFT_SYNCWARP) synchronise(block.warps[number], lanes);
  if (some.kind == SOFT_MMA) {
    if (lanes != 0xffffffffu) {
      fail(SOFT_LAUNCH_FAILED, 0, some.line, "mma needs all 32 lanes, here are 0x%08x", lanes);
      return false;
    }
    SoftMma *fragments[kWarpSize];
    for (uint32_t l = 0; l < kWarpSize; l++) fragments[l] = reinterpret_cast<SoftMma *>(warp[l].value);
    multiply(fragments);
  }
  for (uint32_t l = 0; l < kWarpSize; l++) {
    if (!(lanes >> l & 1)) continue;
    Thread &me = warp[l];
    switch (some.kind) {
      case SOFT_SHUFFLE:
        if (!(lanes >> me.source & 1)) {
          fail(SOFT_LAUNCH_FAILED, 0, me.line,
               "%s shuffles from lane %u, which takes no part (active lanes of the mask: 0x%08x)",
               thread_name(me.linear).text, me.source, lanes);
          return false;
        }
        me.result = warp[me.source].value;
        break;
      case SOFT_BALLOT:
      case SOFT_MATCH:
        me.result = 0;
        for (uint32_t m = 0; m < kWarpSize; m++) {
          if (!(lanes >> m & 1)) continue;
          bool set = some.kind == SOFT_BALLOT ? warp[m].value != 0 : warp[m].value == me.value;
          me.result |= static_cast<uint64_t>(set) << m;
        }
        break;
      case SOFT_REDUCE_ADD:
      case SOFT_REDUCE_MIN:
      case SOFT_REDUCE_MAX:
        me.result = static_cast<uint64_t>(reduced(warp, lanes, some.kind));
        break;
      default:
        me.result = 0;
    }
  }
  return true;
}

}  // namespace

void reset_warp_order() {
  const uint32_t count = (block.count + kWarpSize - 1) / kWarpSize;
  for (uint32_t w = 0; w < count; w++) {
    WarpOrder &order = block.warps[w];
    // A barrier orders everything, and an access of an earlier epoch needs no clock.
    if (order.used || block.epoch == 0) memset(&order, 0, sizeof order);
    for (uint16_t &time : order.time) time = 1;
    order.used = false;
  }
}

bool complete_warps() {
  bool progress = false;
  for (uint32_t start = 0; start < block.count; start += kWarpSize) {
    Thread *warp = &block.threads[start];
    const uint32_t size = block.count - start < kWarpSize ? block.count - start : kWarpSize;
    for (uint32_t l = 0; l < size; l++) {
      if (warp[l].status != Status::kWarp) continue;
      uint32_t arrived, expected;
      if (!gather(warp, size, warp[l], arrived, expected)) return false;
      if (arrived != expected) continue;
      if (!perform(warp, start / kWarpSize, arrived, warp[l])) return false;
      for (uint32_t m = 0; m < size; m++)
        if (arrived >> m & 1) warp[m].status = Status::kReady;
      block.in_warp -= static_cast<uint32_t>(__builtin_popcount(arrived));
      block.launch->collectives++;
      progress = true;
    }
  }
  return progress;
}

}  // namespace soft
