// The device context: the only global mutable state. Allocators, stream, scratch memory, and whether
// operations are recorded.
#pragma once

#include <string>

#include "engine/allocator.h"
#include "kernels/common/exec.h"

namespace vg {

/// One CPU (all its threads) or one GPU (the first that CUDA_VISIBLE_DEVICES leaves).
using Device = kernels::DeviceKind;

const char* device_name(Device device);

/// True if this build has CUDA and a device answers. Never throws; `reason` tells why not.
bool cuda_available(std::string* reason = nullptr);

/// Tensor operations run in one thread; the context belongs to it. The allocators may be used from any
/// thread.
class Context {
 public:
  static Context& get();
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Allocator& allocator(Device device);
  /// Where kernels of this device run. Throws if the build or the machine has no such device.
  kernels::Exec exec(Device device);
  /// Waits until all work given to the device is done.
  void synchronize(Device device);

  [[nodiscard]] bool recording() const { return recording_; }

 private:
  friend class NoGradGuard;
  Context() = default;
  void start_cuda();

  Allocator cpu_allocator_{Device::cpu}, cuda_allocator_{Device::cuda};
  kernels::Workspace cpu_workspace_{Device::cpu}, cuda_workspace_{Device::cuda};
  void* stream_ = nullptr;
  bool cuda_started_ = false;
  bool recording_ = true;
};

/// Within its life no operation is recorded for backward (PyTorch's no_grad).
class NoGradGuard {
 public:
  NoGradGuard() : before_(Context::get().recording_) { Context::get().recording_ = false; }
  ~NoGradGuard() { Context::get().recording_ = before_; }
  NoGradGuard(const NoGradGuard&) = delete;
  NoGradGuard& operator=(const NoGradGuard&) = delete;

 private:
  bool before_;
};

}  // namespace vg
