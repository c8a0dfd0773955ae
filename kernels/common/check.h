// Errors of kernels: wrong arguments and failed CUDA calls, each with the place where it was found.
#pragma once

#include <source_location>
#include <sstream>
#include <stdexcept>
#include <string>

#include "kernels/common/memory.h"

namespace vg::kernels {

/// A CUDA call or launch failed; what() holds expression, file, line and CUDA's own message.
class CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws std::invalid_argument with all parts put together unless `condition` holds.
template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (condition) return;
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

/// Throws std::invalid_argument on the CPU: for functions of bfloat16 activations.
inline void require_cuda(const char* function, DeviceKind device) {
  require(device == DeviceKind::cuda, function,
          ": bfloat16 activations are supported on CUDA only; on the CPU use float");
}

/// Takes the arguments of the call that cannot be made, so that they count as used.
template <class... Arguments>
[[noreturn]] void throw_built_without_cuda(const Arguments&...) {
  throw std::runtime_error(
      "this voxgrad was built without CUDA: use --device cpu, or build it with the preset `cuda` on a "
      "machine with nvcc");
}

}  // namespace vg::kernels
