// One growing piece of the host's memory.
#pragma once

#include <cstddef>

namespace vg {

/// Addresses for as much memory as the machine has, of which pages are taken when they are first written.
/// What lies in it has neighbours that it can be joined with, whenever they were asked for.
class HostArena {
 public:
  /// `planned`: addresses without memory, as many as one likes.
  explicit HostArena(bool planned) : planned_(planned) {}
  ~HostArena();
  HostArena(const HostArena&) = delete;
  HostArena& operator=(const HostArena&) = delete;

  /// Where the memory ends that has been handed out.
  [[nodiscard]] char* end() const { return base_ + used_; }
  [[nodiscard]] bool empty() const { return used_ == 0; }
  /// `bytes` more, from end() on, in whole huge pages (2 MiB); null if the system does not give so many
  /// addresses in one piece.
  char* extend(size_t bytes);
  /// Gives the last `bytes` back to the system.
  void shrink(size_t bytes);

 private:
  void reserve();

  bool planned_;
  bool reserved_ = false;
  char* base_ = nullptr;   ///< aligned to a huge page
  void* begin_ = nullptr;  ///< of what the system gave
  size_t mapped_ = 0;      ///< bytes from there
  size_t capacity_ = 0, used_ = 0;
};

}  // namespace vg
