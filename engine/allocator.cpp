#include "engine/allocator.h"

#include <algorithm>
#include <new>
#include <string>
#include <utility>

#include "kernels/common/check.h"

namespace vg {

namespace {

// Sizes are rounded so that nearly equal requests share blocks: to a huge page from 1 MiB on, below to 512
// bytes.
size_t rounded(size_t bytes) {
  const size_t unit = bytes >= (size_t{1} << 20) ? size_t{2} << 20 : size_t{512};
  return (std::max<size_t>(bytes, 1) + unit - 1) / unit * unit;
}

// A cached block serves a request if at most a quarter of it is wasted.
bool fits(size_t block, size_t bytes) {
  return block - block / 4 <= bytes;
}

}  // namespace

Allocator::~Allocator() {
  trim_locked();
}

void* Allocator::allocate(size_t bytes) {
  const size_t size = rounded(bytes);
  const std::lock_guard lock(mutex_);
  void* pointer = nullptr;
  size_t block = size;
  if (auto it = cached_.lower_bound(size); it != cached_.end() && fits(it->first, size)) {
    block = it->first;
    pointer = it->second;
    cached_.erase(it);
  } else {
    try {
      pointer = system_allocate(size);
    } catch (const std::exception&) {
      trim_locked();
      try {
        pointer = system_allocate(size);
      } catch (const std::exception& error) {
        throw OutOfMemory("out of memory: " + std::to_string(bytes) + " bytes asked for with " +
                          std::to_string(statistics_.bytes_in_use) + " in use (" + error.what() +
                          "); try a smaller batch or volume");
      }
    }
    statistics_.bytes_reserved += size;
    statistics_.peak_bytes_reserved = std::max(statistics_.peak_bytes_reserved, statistics_.bytes_reserved);
    ++statistics_.system_allocations;
  }
  in_use_.emplace(pointer, block);
  statistics_.bytes_in_use += block;
  statistics_.peak_bytes_in_use = std::max(statistics_.peak_bytes_in_use, statistics_.bytes_in_use);
  return pointer;
}

void Allocator::release(void* pointer) noexcept {
  const std::lock_guard lock(mutex_);
  const auto it = in_use_.find(pointer);
  if (it == in_use_.end()) return;
  statistics_.bytes_in_use -= it->second;
  cached_.emplace(it->second, pointer);
  in_use_.erase(it);
}

void Allocator::trim() {
  const std::lock_guard lock(mutex_);
  trim_locked();
}

void* Allocator::system_allocate(size_t size) {
  if (!planned_) return kernels::allocate_device_memory(device_, size);
  const uintptr_t address = std::exchange(next_address_, next_address_ + size);
  return reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr): nobody follows it
}

void Allocator::trim_locked() {
  for (const auto& [size, pointer] : cached_) {
    if (!planned_) kernels::free_device_memory(device_, pointer, size);
    statistics_.bytes_reserved -= size;
  }
  cached_.clear();
}

Allocator::Statistics Allocator::statistics() const {
  const std::lock_guard lock(mutex_);
  return statistics_;
}

void Allocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  statistics_.peak_bytes_in_use = statistics_.bytes_in_use;
  statistics_.peak_bytes_reserved = statistics_.bytes_reserved;
}

}  // namespace vg
