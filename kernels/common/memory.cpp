#include "kernels/common/memory.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "kernels/common/check.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

#ifdef VOXGRAD_WITH_CUDA
#include <cuda_runtime_api.h>

#include "kernels/common/cuda_check.h"
#endif

namespace vg::kernels {

namespace {
constexpr size_t huge_page = size_t{2} << 20;

void* allocate_host(size_t bytes) {
  const size_t alignment = bytes >= huge_page ? huge_page : allocation_alignment;
  const size_t size = (bytes + alignment - 1) / alignment * alignment;
  void* pointer = std::aligned_alloc(alignment, size == 0 ? alignment : size);
  if (pointer == nullptr) throw std::bad_alloc();
#ifdef __linux__
  if (bytes >= huge_page)
    madvise(pointer, size, MADV_HUGEPAGE);  // a wish: without it the memory is only slower
#endif
  return pointer;
}
}  // namespace

void* allocate_device_memory(DeviceKind device, size_t bytes) {
  if (device == DeviceKind::cpu) return allocate_host(bytes);
#ifdef VOXGRAD_WITH_CUDA
  void* pointer = nullptr;
  check_cuda(cudaMalloc(&pointer, bytes));
  return pointer;
#else
  throw_built_without_cuda();
#endif
}

void free_device_memory(DeviceKind device, void* pointer, [[maybe_unused]] size_t bytes) noexcept {
  if (device == DeviceKind::cpu) {
    std::free(pointer);
    return;
  }
#ifdef VOXGRAD_WITH_CUDA
  print_cuda_error(cudaFree(pointer));
#endif
}

void copy_memory(void* destination, DeviceKind destination_device, const void* source,
                 DeviceKind source_device, size_t bytes, [[maybe_unused]] void* stream) {
  if (bytes == 0) return;  // an empty array may be a null pointer, which memcpy may not be given
  if (destination_device == DeviceKind::cpu && source_device == DeviceKind::cpu) {
    std::memcpy(destination, source, bytes);
    return;
  }
#ifdef VOXGRAD_WITH_CUDA
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  check_cuda(cudaMemcpyAsync(destination, source, bytes, cudaMemcpyDefault, cuda_stream));
  // Pageable host memory may be reused by its owner as soon as this returns.
  if (destination_device == DeviceKind::cpu || source_device == DeviceKind::cpu)
    check_cuda(cudaStreamSynchronize(cuda_stream));
#else
  throw_built_without_cuda();
#endif
}

}  // namespace vg::kernels
