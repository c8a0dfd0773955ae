#include "engine/host_arena.h"

#include <cstdint>

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace vg {

namespace {
constexpr size_t huge_page = size_t{2} << 20;
}

HostArena::~HostArena() {
#ifdef __linux__
  if (begin_ != nullptr) munmap(begin_, mapped_);
#endif
}

void HostArena::reserve() {
  reserved_ = true;
  if (planned_) {
    base_ =
        reinterpret_cast<char*>(uintptr_t{1} << 46);  // NOLINT(performance-no-int-to-ptr): nobody follows it
    capacity_ = size_t{1} << 46;
    return;
  }
#ifdef __linux__
  const auto pages = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)),
             page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t capacity = pages * page / huge_page * huge_page;
  void* const begin = mmap(nullptr, capacity + huge_page, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (begin == MAP_FAILED) return;
  begin_ = begin;
  mapped_ = capacity + huge_page;
  const uintptr_t gap = (huge_page - reinterpret_cast<uintptr_t>(begin) % huge_page) % huge_page;
  base_ = static_cast<char*>(begin) + gap;
  capacity_ = capacity;
  madvise(base_, capacity, MADV_HUGEPAGE);  // a wish: without it the memory is only slower
#endif
}

char* HostArena::extend(size_t bytes) {
  if (!reserved_) reserve();
  if (bytes > capacity_ - used_) return nullptr;
  char* const result = end();
  used_ += bytes;
  return result;
}

void HostArena::shrink(size_t bytes) {
  used_ -= bytes;
#ifdef __linux__
  if (!planned_) madvise(end(), bytes, MADV_DONTNEED);
#endif
}

}  // namespace vg
