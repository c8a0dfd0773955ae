#include <cstring>

#include "kernels/common/launch.cuh"
#include "kernels/common/store.h"

namespace vg::kernels::cuda {

namespace {

struct Value {
  unsigned char bytes[largest_stored_value];
};

__global__ void store_kernel(unsigned char* destination, const __grid_constant__ Value value, int bytes) {
  for (int i = static_cast<int>(threadIdx.x); i < bytes; i += 32) destination[i] = value.bytes[i];
}

}  // namespace

void store_bytes(void* destination, const void* value, size_t bytes, const Exec& exec) {
  Value parameter;
  std::memcpy(parameter.bytes, value, bytes);
  store_kernel<<<1, 32, 0, stream_of(exec)>>>(static_cast<unsigned char*>(destination), parameter,
                                              static_cast<int>(bytes));
  check_launch();
}

}  // namespace vg::kernels::cuda
