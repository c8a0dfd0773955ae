// Errors of kernels: wrong arguments and failed CUDA calls, each with the place where it was found.
#pragma once

#include <source_location>
#include <sstream>
#include <stdexcept>
#include <string>

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

[[noreturn]] inline void throw_built_without_cuda() {
  throw std::runtime_error(
      "this voxgrad was built without CUDA: use --device cpu, or build it with the preset `cuda` on a "
      "machine with nvcc");
}

}  // namespace vg::kernels
