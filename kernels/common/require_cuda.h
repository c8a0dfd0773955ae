// Check of the device, for functions that exist on CUDA alone.
#pragma once

#include "kernels/common/check.h"
#include "kernels/common/exec.h"

namespace vg::kernels {

/// Throws std::invalid_argument unless `exec` is on CUDA.
inline void require_cuda(const char* function, const Exec& exec) {
  require(exec.device == DeviceKind::cuda, function,
          ": bfloat16 activations are supported on CUDA only; on the CPU use float");
}

}  // namespace vg::kernels
