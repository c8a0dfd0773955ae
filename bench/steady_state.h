// What a computation that is repeated takes from the system each time.
#pragma once

#include <cstdint>
#include <functional>

#include "engine/context.h"

namespace vg::bench {

/// The most of any repetition.
struct SystemUse {
  int64_t allocations = 0;   ///< by the engine's allocator from the system, and growths of its scratch memory
  int64_t heap_bytes = 0;    ///< by which the heap grew
  int64_t minor_faults = 0;  ///< pages touched for the first time
  int64_t heap_calls = 0;    ///< of operator new: the tape's nodes, from memory that the heap has already
};

/// Runs `body` `warmup` times and then `runs` times counted.
SystemUse measure_system_use(Device device, const std::function<void()>& body, int warmup, int runs);

}  // namespace vg::bench
