#include "kernels/common/store.h"

#include <cstring>

#include "kernels/common/check.h"

namespace vg::kernels {

#ifdef VOXGRAD_WITH_CUDA
namespace cuda {
void store_bytes(void* destination, const void* value, size_t bytes, const Exec& exec);
}
#endif

void store_bytes(void* destination, const void* value, size_t bytes, const Exec& exec) {
  require(bytes <= largest_stored_value, "store_bytes: ", bytes, " bytes, expected at most ",
          largest_stored_value);
  if (exec.planning) return;
  if (exec.device == DeviceKind::cpu) {
    std::memcpy(destination, value, bytes);
    return;
  }
#ifdef VOXGRAD_WITH_CUDA
  cuda::store_bytes(destination, value, bytes, exec);
#else
  throw_built_without_cuda();
#endif
}

}  // namespace vg::kernels
