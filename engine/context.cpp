#include "engine/context.h"

#include "kernels/common/check.h"

#ifdef VOXGRAD_WITH_CUDA
#include <cuda_runtime_api.h>

#include "kernels/common/cuda_check.h"
#endif

namespace vg {

const char* device_name(Device device) {
  return device == Device::cpu ? "cpu" : "cuda";
}

bool cuda_available(std::string* reason) {
#ifdef VOXGRAD_WITH_CUDA
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return true;
  if (status != cudaSuccess)
    (void)cudaGetLastError();  // the error must not surface in a later, innocent call
  if (reason != nullptr)
    *reason = status == cudaSuccess ? "no CUDA device found" : cudaGetErrorString(status);
#else
  if (reason != nullptr) *reason = "built without CUDA";
#endif
  return false;
}

Context& Context::get() {
  static Context context;
  return context;
}

Context::~Context() {
#ifdef VOXGRAD_WITH_CUDA
  if (stream_ != nullptr) kernels::print_cuda_error(cudaStreamDestroy(static_cast<cudaStream_t>(stream_)));
#endif
}

void Context::start_cuda() {
#ifdef VOXGRAD_WITH_CUDA
  cudaStream_t stream = nullptr;
  kernels::check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  stream_ = stream;
  cuda_started_ = true;
#else
  kernels::throw_built_without_cuda();
#endif
}

Allocator& Context::allocator(Device device) {
  return device == Device::cpu ? cpu_allocator_ : cuda_allocator_;
}

kernels::Exec Context::exec(Device device) {
  if (device == Device::cpu) return {device, nullptr, &cpu_workspace_};
  if (!cuda_started_) start_cuda();
  return {device, stream_, &cuda_workspace_};
}

void Context::synchronize([[maybe_unused]] Device device) {
#ifdef VOXGRAD_WITH_CUDA
  if (device == Device::cuda)
    kernels::check_cuda(cudaStreamSynchronize(static_cast<cudaStream_t>(exec(device).stream)));
#endif
}

}  // namespace vg
