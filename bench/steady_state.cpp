#include "bench/steady_state.h"

#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<int64_t> calls_of_new{0};

}  // namespace

// Counted, else as the standard library's.
void* operator new(size_t bytes) {
  calls_of_new.fetch_add(1, std::memory_order_relaxed);
  if (void* const pointer = std::malloc(bytes == 0 ? 1 : bytes)) return pointer;
  throw std::bad_alloc();
}
void operator delete(void* pointer) noexcept {
  std::free(pointer);
}
void operator delete(void* pointer, size_t) noexcept {
  std::free(pointer);
}

namespace vg::bench {

namespace {

struct Counters {
  int64_t allocations, heap_bytes, minor_faults, heap_calls;
};

Counters count(Device device) {
  Context& context = Context::get();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const struct mallinfo2 heap = mallinfo2();
  return {context.allocator(device).statistics().system_allocations +
              static_cast<int64_t>(context.pool(device).workspace.reserved_bytes()),
          static_cast<int64_t>(heap.arena + heap.hblkhd), usage.ru_minflt, calls_of_new.load()};
}

}  // namespace

SystemUse measure_system_use(Device device, const std::function<void()>& body, int warmup, int runs) {
  for (int i = 0; i < warmup; ++i) body();
  SystemUse most;
  for (int i = 0; i < runs; ++i) {
    const Counters before = count(device);
    body();
    const Counters after = count(device);
    most.allocations = std::max(most.allocations, after.allocations - before.allocations);
    most.heap_bytes = std::max(most.heap_bytes, after.heap_bytes - before.heap_bytes);
    most.minor_faults = std::max(most.minor_faults, after.minor_faults - before.minor_faults);
    most.heap_calls = std::max(most.heap_calls, after.heap_calls - before.heap_calls);
  }
  return most;
}

}  // namespace vg::bench
