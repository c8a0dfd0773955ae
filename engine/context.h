// The device context: the only global mutable state. Allocators, stream, scratch memory, and whether
// operations are recorded.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/allocator.h"
#include "engine/cuda_handles.h"
#include "kernels/common/exec.h"

namespace vg {

/// One CPU (all its threads) or one GPU (the first that CUDA_VISIBLE_DEVICES leaves).
using Device = kernels::DeviceKind;

const char* device_name(Device device);

/// True if this build has CUDA and a device answers. Never throws; `reason` tells why not.
bool cuda_available(std::string* reason = nullptr);

/// Where tensors and scratch of a device come from. Tensors share the allocator: it lives as long as they.
struct MemoryPool {
  std::shared_ptr<Allocator> allocator;
  kernels::Workspace workspace;
};

/// True if the GPU's tensor cores multiply bfloat16: compute capability 8.0 and later.
bool cuda_has_bfloat16();

class Recomputation;  // see recompute.h

/// Tensor operations run in one thread; the context belongs to it. The allocators may be used from any
/// thread.
class Context {
 public:
  static Context& get();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Allocator& allocator(Device device) { return *pool(device).allocator; }
  MemoryPool& pool(Device device) { return device == Device::cpu ? *cpu_pool_ : *cuda_pool_; }
  /// Where kernels of this device run. Throws if the build or the machine has no such device.
  kernels::Exec exec(Device device);
  /// Waits until all work given to the device is done.
  void synchronize(Device device);

  [[nodiscard]] bool recording() const { return recording_; }
  /// The function that is computed now by recompute(), for the first time or again; null outside of one.
  [[nodiscard]] Recomputation* recomputation() const { return recomputation_; }
  /// True while a function is computed again: what it leaves behind beside its result (running statistics,
  /// counters) it has left already.
  [[nodiscard]] bool computing_again() const;
  /// True while a function is computed again for what it records, and nobody reads its result: see
  /// Recomputation.
  [[nodiscard]] bool result_unread() const;

  /// Whether convolutions of float32 activations on CUDA may use TF32 (kernels/common/exec.h); not at first.
  void set_allow_tf32(bool allow) { allow_tf32_ = allow; }

  /// Does work of the host that belongs to a step (counters). While a CapturedGraph records the step, the
  /// work is recorded too: each replay does it.
  void host_work(const std::function<void()>& work);

 private:
  friend class CapturedGraph;
  friend class MemoryPlan;
  friend class NoGradGuard;
  friend class RecomputationGuard;
  Context() = default;
  void start_cuda();

  MemoryPool main_cpu_pool_{std::make_shared<Allocator>(Device::cpu), kernels::Workspace(Device::cpu)},
      main_cuda_pool_{std::make_shared<Allocator>(Device::cuda), kernels::Workspace(Device::cuda)};
  MemoryPool* cpu_pool_ = &main_cpu_pool_;    ///< or a planned one
  MemoryPool* cuda_pool_ = &main_cuda_pool_;  ///< or a planned one, or that of the graph being captured
  bool planning_ = false;
  bool allow_tf32_ = false;
  std::vector<std::function<void()>>* captured_host_work_ = nullptr;
  CudaStream stream_;
  bool cuda_started_ = false;
  bool recording_ = true;
  Recomputation* recomputation_ = nullptr;
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
