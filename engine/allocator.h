// A caching allocator: memory given back is kept and handed out again, whole or in parts, so that a
// steady-state training step asks the system for nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <utility>

#include "engine/host_arena.h"
#include "kernels/common/memory.h"

namespace vg {

/// The device has no room. what() names the bytes asked for, in use and cached.
class OutOfMemory : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Thread-safe. On CUDA, memory is reused in the order of one stream: tensors must be used on Context's
/// stream only.
class Allocator {
 public:
  struct Statistics {
    size_t bytes_in_use = 0;
    size_t peak_bytes_in_use = 0;
    size_t bytes_reserved = 0;  ///< in use and cached
    size_t peak_bytes_reserved = 0;
    int64_t system_allocations = 0;
  };

  /// `planned`: hands out addresses without memory, and counts as if there was some.
  explicit Allocator(kernels::DeviceKind device, bool planned = false)
      : device_(device), planned_(planned), arena_(planned) {}
  ~Allocator();
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;

  /// Uninitialised memory, aligned to kernels::allocation_alignment. Throws OutOfMemory.
  [[nodiscard]] void* allocate(size_t bytes);
  void release(void* pointer) noexcept;
  /// Gives cached memory back to the system.
  void trim();
  [[nodiscard]] Statistics statistics() const;
  void reset_peak();

 private:
  /// Memory between two addresses: handed out, or kept. Large ones are cut where a part is enough, and grow
  /// together again with the free neighbours that came from the system with them. On the CPU all large ones
  /// are neighbours in one arena.
  struct Block {
    size_t size = 0;
    bool free = false;
    bool first = true;  ///< begins what the system gave
  };
  using Blocks = std::map<char*, Block>;

  void trim_locked();
  void* system_allocate(size_t size);
  /// A block from the system, handed out.
  Blocks::iterator take_new(size_t size);
  /// The same at the end of the arena, of which a free block there becomes a part; blocks_.end() if there is
  /// no room.
  Blocks::iterator extend_arena(size_t size);
  /// The block at the end of the arena; blocks_.end() if that is empty.
  Blocks::iterator last_of_arena();
  /// A free block of at least `size`, marked as handed out and cut down; blocks_.end() if there is none.
  Blocks::iterator take_free(size_t size);
  /// Adds `next` to `block` if both are free and from one allocation of the system.
  void join(Blocks::iterator block, Blocks::iterator next);

  kernels::DeviceKind device_;
  bool planned_;
  HostArena arena_;
  uintptr_t next_address_ = kernels::allocation_alignment;  ///< if planned
  mutable std::mutex mutex_;
  Blocks blocks_;                            ///< all, by address
  std::set<std::pair<size_t, char*>> free_;  ///< the free ones, by size
  Statistics statistics_;
};

}  // namespace vg
