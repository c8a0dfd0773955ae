// A CUDA graph of tensor operations: recorded once, replayed with one call.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/context.h"

namespace vg {

/// The device work of a function. Replays compute from and to the memory that the function used when it was
/// recorded: what it reads must be kept alive and refilled by the caller, as must what it writes for others.
/// Memory allocated while recording belongs to the graph, or is shared with tensors that outlive it.
///
/// What the host decides (shapes, launch configurations, scalar arguments) is frozen; what was given to
/// Context::host_work() is done again. The function must not wait for the device, and numbers drawn on the
/// host (dropout's) would be the same in every replay: networks with dropout must not be captured. PyTorch's
/// torch.cuda.CUDAGraph has the same rules.
class CapturedGraph {
 public:
  /// Records without running anything. Run the function once before, uncaptured, so that scratch memory has
  /// its size and gradients their memory. Throws kernels::CudaError if something in it cannot be recorded,
  /// and whatever `work` throws.
  explicit CapturedGraph(const std::function<void()>& work);
  CapturedGraph(const CapturedGraph&) = delete;
  CapturedGraph& operator=(const CapturedGraph&) = delete;
  ~CapturedGraph();

  /// Gives the recorded work to Context's stream and returns.
  void replay() const;

 private:
  void record(const std::function<void()>& work);

  std::unique_ptr<MemoryPool> pool_;
  std::vector<std::function<void()>> host_work_;
  CudaGraphExec graph_;
};

}  // namespace vg
