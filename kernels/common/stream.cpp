#include "kernels/common/stream.h"

#include <atomic>

namespace vg::kernels::cpu {

namespace {
std::atomic<int64_t> threshold{int64_t{32} << 20};
}  // namespace

int64_t streaming_threshold() {
  return threshold.load(std::memory_order_relaxed);
}

void set_streaming_threshold(int64_t bytes) {
  threshold.store(bytes, std::memory_order_relaxed);
}

}  // namespace vg::kernels::cpu
