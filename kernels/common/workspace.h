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
  explicit Workspace(DeviceKind device) : device_(device) {}
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
  size_t first_block_ = 0;  ///< least size of the first block
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
