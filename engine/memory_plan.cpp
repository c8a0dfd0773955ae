#include "engine/memory_plan.h"

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

}  // namespace vg
