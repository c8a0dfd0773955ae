#include "engine/allocator.h"

#include <algorithm>
#include <iterator>
#include <new>
#include <string>
#include <utility>

#include "kernels/common/check.h"

namespace vg {

namespace {

// From 1 MiB on, sizes are whole huge pages, and blocks are cut in whole ones.
constexpr size_t large = size_t{1} << 20, huge_page = size_t{2} << 20;

// Sizes are rounded so that nearly equal requests share blocks: below to 512 bytes.
size_t rounded(size_t bytes) {
  const size_t unit = bytes >= large ? huge_page : size_t{512};
  return (std::max<size_t>(bytes, 1) + unit - 1) / unit * unit;
}

// A small request takes a block whole, if at most a quarter of it is wasted.
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
  auto block = take_free(size);
  if (block == blocks_.end()) {
    try {
      block = take_new(size);
    } catch (const std::exception&) {
      trim_locked();
      try {
        block = take_new(size);
      } catch (const std::exception& error) {
        throw OutOfMemory("out of memory: " + std::to_string(bytes) + " bytes asked for with " +
                          std::to_string(statistics_.bytes_in_use) + " in use (" + error.what() +
                          "); try a smaller batch or volume");
      }
    }
    statistics_.peak_bytes_reserved = std::max(statistics_.peak_bytes_reserved, statistics_.bytes_reserved);
    ++statistics_.system_allocations;
  }
  statistics_.bytes_in_use += block->second.size;
  statistics_.peak_bytes_in_use = std::max(statistics_.peak_bytes_in_use, statistics_.bytes_in_use);
  return block->first;
}

Allocator::Blocks::iterator Allocator::take_free(size_t size) {
  // The smallest that is large enough; of equals the first in memory.
  const auto found = free_.lower_bound({size, nullptr});
  if (found == free_.end() || (size < large && !fits(found->first, size))) return blocks_.end();
  const auto block = blocks_.find(found->second);
  free_.erase(found);
  block->second.free = false;
  if (size >= large && block->second.size > size) {
    const Block rest{.size = block->second.size - size, .free = true, .first = false};
    block->second.size = size;
    blocks_.emplace_hint(std::next(block), block->first + size, rest);
    free_.emplace(rest.size, block->first + size);
  }
  return block;
}

Allocator::Blocks::iterator Allocator::last_of_arena() {
  return arena_.empty() ? blocks_.end() : std::prev(blocks_.lower_bound(arena_.end()));
}

Allocator::Blocks::iterator Allocator::take_new(size_t size) {
  if (size >= large && device_ == kernels::DeviceKind::cpu) {
    if (const auto block = extend_arena(size); block != blocks_.end()) return block;
  }
  char* const memory = static_cast<char*>(system_allocate(size));
  statistics_.bytes_reserved += size;
  return blocks_.emplace(memory, Block{.size = size}).first;
}

Allocator::Blocks::iterator Allocator::extend_arena(size_t size) {
  const auto last = last_of_arena();
  const bool empty = last == blocks_.end(), grows = !empty && last->second.free;
  const size_t more = grows ? size - last->second.size : size;
  char* const memory = arena_.extend(more);
  if (memory == nullptr) return blocks_.end();
  statistics_.bytes_reserved += more;
  if (!grows) return blocks_.emplace(memory, Block{.size = size, .first = empty}).first;
  free_.erase({last->second.size, last->first});
  last->second.size = size;
  last->second.free = false;
  return last;
}

void Allocator::join(Blocks::iterator block, Blocks::iterator next) {
  if (!block->second.free || !next->second.free || next->second.first) return;
  free_.erase({block->second.size, block->first});
  free_.erase({next->second.size, next->first});
  block->second.size += next->second.size;
  free_.emplace(block->second.size, block->first);
  blocks_.erase(next);
}

void Allocator::release(void* pointer) noexcept {
  const std::lock_guard lock(mutex_);
  const auto block = blocks_.find(static_cast<char*>(pointer));
  if (block == blocks_.end() || block->second.free) return;
  statistics_.bytes_in_use -= block->second.size;
  block->second.free = true;
  free_.emplace(block->second.size, block->first);
  if (const auto next = std::next(block); next != blocks_.end()) join(block, next);
  if (block != blocks_.begin()) join(std::prev(block), block);
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
  if (const auto last = last_of_arena(); last != blocks_.end() && last->second.free) {
    arena_.shrink(last->second.size);
    statistics_.bytes_reserved -= last->second.size;
    free_.erase({last->second.size, last->first});
    blocks_.erase(last);
  }
  for (auto block = blocks_.begin(); block != blocks_.end();) {
    const auto next = std::next(block);
    // Whole again: all that the system gave at once.
    if (block->second.free && block->second.first && (next == blocks_.end() || next->second.first)) {
      if (!planned_) kernels::free_device_memory(device_, block->first, block->second.size);
      statistics_.bytes_reserved -= block->second.size;
      free_.erase({block->second.size, block->first});
      blocks_.erase(block);
    }
    block = next;
  }
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
