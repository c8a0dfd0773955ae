// Scratch memory for the length of one kernel call, with the discipline of a stack.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/common/memory.h"

namespace vg::kernels {

/// A growing stack of scratch memory on one device, used through WorkspaceScope. On CUDA it belongs to one
/// stream: memory given back is reused by later work of that stream only. Not thread-safe: one per thread of
/// control.
class Workspace {
 public:
  /// `first_block`: least bytes of the first allocation. A workspace that is `steady` frees nothing before
  /// its end: what a recorded graph needs, which goes on to use the memory.
  explicit Workspace(DeviceKind device, size_t first_block = 0, bool steady = false)
      : device_(device), first_block_(first_block), steady_(steady) {}
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  [[nodiscard]] size_t reserved_bytes() const;

 private:
  friend class WorkspaceScope;
  struct Block {
    std::byte* data;
    size_t size;
    size_t used;
  };
  void* allocate(size_t bytes);
  void release_to(size_t block, size_t used) noexcept;
  void merge_when_empty() noexcept;

  DeviceKind device_;
  std::vector<Block> blocks_;
  size_t first_block_;  ///< least size of the first block
  bool steady_;
};

/// Everything allocated through a scope is given back at its end. Scopes nest.
class WorkspaceScope {
 public:
  explicit WorkspaceScope(Workspace& workspace);
  ~WorkspaceScope();
  WorkspaceScope(const WorkspaceScope&) = delete;
  WorkspaceScope& operator=(const WorkspaceScope&) = delete;

  /// `count` uninitialised elements, aligned to `allocation_alignment`.
  template <class T>
  [[nodiscard]] T* allocate(size_t count) {
    return static_cast<T*>(workspace_.allocate(count * sizeof(T)));
  }

 private:
  Workspace& workspace_;
  size_t block_, used_;
};

}  // namespace vg::kernels
