// Owners of CUDA's handles for host code. In a build without CUDA they are empty, so that classes which hold
// them need no conditions of their own.
#pragma once

#include <cstddef>
#include <utility>

#ifdef VOXGRAD_WITH_CUDA
#include <cuda_runtime_api.h>

#include "kernels/common/cuda_check.h"
#endif

namespace vg {

#ifdef VOXGRAD_WITH_CUDA

/// Owns one handle; `Destroy` frees it. Move-only.
template <class Handle, auto Destroy>
class CudaHandle {
 public:
  CudaHandle() = default;
  explicit CudaHandle(Handle handle) : handle_(handle) {}
  ~CudaHandle() {
    if (handle_ != nullptr) kernels::print_cuda_error(Destroy(handle_));
  }
  CudaHandle(CudaHandle&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  CudaHandle& operator=(CudaHandle&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  [[nodiscard]] Handle get() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};

using CudaStream = CudaHandle<cudaStream_t, cudaStreamDestroy>;
using CudaEvent = CudaHandle<cudaEvent_t, cudaEventDestroy>;
using CudaGraphExec = CudaHandle<cudaGraphExec_t, cudaGraphExecDestroy>;
using PinnedMemory = CudaHandle<void*, cudaFreeHost>;

inline CudaStream make_cuda_stream() {
  cudaStream_t stream = nullptr;
  kernels::check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return CudaStream(stream);
}

/// Without timing: cheaper, and nobody reads it.
inline CudaEvent make_cuda_event() {
  cudaEvent_t event = nullptr;
  kernels::check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return CudaEvent(event);
}

/// Host memory that the device copies from and to while the host goes on.
inline PinnedMemory make_pinned_memory(size_t bytes) {
  void* memory = nullptr;
  kernels::check_cuda(cudaMallocHost(&memory, bytes));
  return PinnedMemory(memory);
}

#else

struct CudaStream {};
struct CudaEvent {};
struct CudaGraphExec {};
struct PinnedMemory {};

#endif

}  // namespace vg
