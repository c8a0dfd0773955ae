// Checks of CUDA calls, for host code. Include after <cuda_runtime_api.h>.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdio>
#include <source_location>

#include "kernels/common/check.h"

namespace vg::kernels {

/// Throws CudaError with CUDA's message and the place of the call if `status` is an error.
inline void check_cuda(cudaError_t status, std::source_location where = std::source_location::current()) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // who catches this (out of memory) must not meet it again in a later, innocent
                             // call
  std::ostringstream message;
  message << "CUDA error " << cudaGetErrorName(status) << " (" << cudaGetErrorString(status) << ") at "
          << where.file_name() << ":" << where.line() << " in " << where.function_name();
  throw CudaError(message.str());
}

/// For destructors, which must not throw.
inline void print_cuda_error(cudaError_t status) noexcept {
  if (status != cudaSuccess)
    std::fprintf(stderr, "voxgrad: CUDA error %s in a destructor\n", cudaGetErrorName(status));
}

}  // namespace vg::kernels
