#include "engine/context.h"

#include "kernels/common/check.h"

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

bool cuda_has_bfloat16() {
#ifdef VOXGRAD_WITH_CUDA
  int device = 0, major = 0;
  kernels::check_cuda(cudaGetDevice(&device));
  kernels::check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  return major >= 8;
#else
  return false;
#endif
}

Context& Context::get() {
  static Context context;
  return context;
}

void Context::start_cuda() {
#ifdef VOXGRAD_WITH_CUDA
  stream_ = make_cuda_stream();
  cuda_started_ = true;
#else
  kernels::throw_built_without_cuda();
#endif
}

kernels::Exec Context::exec(Device device) {
  if (planning_) return {device, nullptr, &pool(device).workspace, true};
  if (device == Device::cpu) return {device, nullptr, &cpu_pool_->workspace};
  if (!cuda_started_) start_cuda();
#ifdef VOXGRAD_WITH_CUDA
  return {device, stream_.get(), &cuda_pool_->workspace, false, allow_tf32_};
#else
  kernels::throw_built_without_cuda();
#endif
}

void Context::synchronize([[maybe_unused]] Device device) {
#ifdef VOXGRAD_WITH_CUDA
  if (device == Device::cuda)
    kernels::check_cuda(cudaStreamSynchronize(static_cast<cudaStream_t>(exec(device).stream)));
#endif
}

void Context::host_work(const std::function<void()>& work) {
  if (planning_) return;
  if (captured_host_work_ == nullptr) return work();
  captured_host_work_->push_back(work);
}

}  // namespace vg
