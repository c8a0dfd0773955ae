#include "engine/memory_plan.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "engine/cuda_handles.h"
#include "kernels/common/check.h"

namespace vg {

MemoryPlan::MemoryPlan(Device device, const std::function<void()>& work) {
  Context& context = Context::get();
  kernels::require(!context.planning_ && context.captured_host_work_ == nullptr,
                   "MemoryPlan: within another plan or a recording");
  MemoryPool planned{std::make_shared<Allocator>(device, /*planned=*/true), kernels::Workspace(device)};
  MemoryPool*& pool = device == Device::cpu ? context.cpu_pool_ : context.cuda_pool_;
  MemoryPool* const before = pool;
  const auto restore = [&] {
    pool = before;
    context.planning_ = false;
  };
  pool = &planned;
  context.planning_ = true;
  try {
    work();
  } catch (...) {
    restore();
    throw;
  }
  restore();
  statistics_ = planned.allocator->statistics();
}

void allocate_gradients(const std::vector<NamedTensor>& parameters) {
  for (const auto& [name, parameter] : parameters) {
    if (!parameter.grad().defined())
      parameter.set_grad(Tensor::zeros(parameter.shape(), parameter.dtype(), parameter.device()));
  }
}

size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  size_t pages = 0, resident = 0;
  if (!(statm >> pages >> resident)) return 0;
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

size_t planned_resident_bytes(const MemoryPlan& plan, int64_t voxels) {
  constexpr size_t packed_weights = size_t{8} << 20;
  return resident_bytes() + plan.peak_bytes_reserved() + 2 * sizeof(float) * static_cast<size_t>(voxels) +
         packed_weights;
}

size_t available_memory(Device device) {
  if (device == Device::cuda) {
    size_t free_bytes = 0;
#ifdef VOXGRAD_WITH_CUDA
    size_t total_bytes = 0;
    kernels::check_cuda(cudaMemGetInfo(&free_bytes, &total_bytes));
#endif
    return free_bytes;
  }
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    unsigned long long kibibytes = 0;
    if (std::sscanf(line.c_str(), "MemAvailable: %llu kB", &kibibytes) == 1)
      return static_cast<size_t>(kibibytes) * 1024;
  }
  return 0;
}

}  // namespace vg
