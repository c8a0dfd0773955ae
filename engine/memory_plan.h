// What memory a computation takes, found out without computing.
#pragma once

#include <functional>
#include <vector>

#include "engine/context.h"
#include "engine/tensor.h"

namespace vg {

/// Calls a function while tensors get addresses without memory and kernels check their arguments and do
/// nothing: takes milliseconds, whatever the size. Tensors made before keep their memory and values; the
/// function must not read any value on the host, and must let go of every tensor that it makes (gradients of
/// parameters too). Numbers drawn from an Rng are drawn.
class MemoryPlan {
 public:
  MemoryPlan(Device device, const std::function<void()>& work);

  /// Most bytes that tensors hold at once, and most that the caching allocator takes from the system for
  /// them, blocks kept for later included. Scratch memory of kernels is not in it.
  [[nodiscard]] size_t peak_bytes_in_use() const { return statistics_.peak_bytes_in_use; }
  [[nodiscard]] size_t peak_bytes_reserved() const { return statistics_.peak_bytes_reserved; }

 private:
  Allocator::Statistics statistics_;
};

/// Zeros as the gradient of each parameter that has none. What stays from step to step lies together then,
/// and leaves the rest of the memory in one piece, as the plan of a step takes it to be.
void allocate_gradients(const std::vector<NamedTensor>& parameters);

/// Bytes that this process has in memory now (0 where the system does not say).
size_t resident_bytes();

/// The most that this process will have in memory on the CPU while it trains on batches with `voxels` voxels:
/// what it has now (weights, their gradients and the optimizer's state must exist), what the plan of a step
/// reserves, and scratch of kernels: attention gates keep two floats a voxel, and packed weights and partial
/// sums take about 8 MB.
size_t planned_resident_bytes(const MemoryPlan& plan, int64_t voxels);

/// Bytes that this process could still take: the GPU's free memory, or what Linux says it can give without
/// swapping; 0 if it is not known.
size_t available_memory(Device device);

}  // namespace vg
