#include "kernels/common/workspace.h"

#include <algorithm>

namespace vg::kernels {

namespace {
size_t round_up(size_t value, size_t unit) {
  return (value + unit - 1) / unit * unit;
}
constexpr size_t smallest_block = size_t{2} << 20;
}  // namespace

Workspace::~Workspace() {
  for (const Block& block : blocks_) free_device_memory(device_, block.data, block.size);
}

size_t Workspace::reserved_bytes() const {
  size_t total = 0;
  for (const Block& block : blocks_) total += block.size;
  return total;
}

void* Workspace::allocate(size_t bytes) {
  bytes = round_up(std::max<size_t>(bytes, 1), allocation_alignment);
  if (blocks_.empty() || blocks_.back().size - blocks_.back().used < bytes) {
    const size_t wanted = blocks_.empty() ? std::max(bytes, first_block_) : bytes;
    const size_t size = round_up(std::max(wanted, smallest_block), smallest_block);
    blocks_.reserve(blocks_.size() + 1);
    blocks_.push_back({static_cast<std::byte*>(allocate_device_memory(device_, size)), size, 0});
  }
  Block& block = blocks_.back();
  void* result = block.data + block.used;
  block.used += bytes;
  return result;
}

// Blocks above the scope's start are empty now, but stay until the outermost scope ends: a loop that opens a
// scope in each turn must not allocate in each turn.
void Workspace::release_to(size_t block, size_t used) noexcept {
  for (size_t i = block + 1; i < blocks_.size(); ++i) blocks_[i].used = 0;
  if (block < blocks_.size()) blocks_[block].used = used;
  if (block == 0 && used == 0) merge_when_empty();
}

// Several blocks become one of their size at the next allocation, not here: a destructor calls this, and
// could not report that memory ran out.
void Workspace::merge_when_empty() noexcept {
  if (steady_ || blocks_.size() < 2) return;
  first_block_ = reserved_bytes();
  for (const Block& block : blocks_) free_device_memory(device_, block.data, block.size);
  blocks_.clear();
}

WorkspaceScope::WorkspaceScope(Workspace& workspace) : workspace_(workspace) {
  block_ = workspace.blocks_.empty() ? 0 : workspace.blocks_.size() - 1;
  used_ = workspace.blocks_.empty() ? 0 : workspace.blocks_.back().used;
}

WorkspaceScope::~WorkspaceScope() {
  workspace_.release_to(block_, used_);
}

}  // namespace vg::kernels
