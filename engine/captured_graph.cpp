#include "engine/captured_graph.h"

#include "kernels/common/check.h"

namespace vg {

CapturedGraph::CapturedGraph(const std::function<void()>& work)
    // Scratch of the same size in one block: nothing is freed that the graph goes on to use.
    : pool_(new MemoryPool{
          std::make_shared<Allocator>(Device::cuda),
          kernels::Workspace(Device::cuda, Context::get().pool(Device::cuda).workspace.reserved_bytes(),
                             /*steady=*/true)}) {
  Context& context = Context::get();
  kernels::require(context.captured_host_work_ == nullptr,
                   "CapturedGraph: a graph is being recorded already");
  context.synchronize(Device::cuda);
  context.allocator(Device::cuda).trim();  // the graph's memory takes the place of what work() used before
  MemoryPool* const before = context.cuda_pool_;
  context.cuda_pool_ = pool_.get();
  context.captured_host_work_ = &host_work_;
  const auto restore = [&] {
    context.cuda_pool_ = before;
    context.captured_host_work_ = nullptr;
  };
  try {
    record(work);
  } catch (...) {
    restore();
    throw;
  }
  restore();
}

#ifdef VOXGRAD_WITH_CUDA

void CapturedGraph::record(const std::function<void()>& work) {
  const auto stream = static_cast<cudaStream_t>(Context::get().exec(Device::cuda).stream);
  cudaGraph_t graph = nullptr;
  // Relaxed: the pool asks CUDA for memory while the stream records.
  kernels::check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  try {
    work();
  } catch (...) {
    (void)cudaStreamEndCapture(stream, &graph);  // the first error is the one to tell
    if (graph != nullptr) kernels::print_cuda_error(cudaGraphDestroy(graph));
    (void)cudaGetLastError();
    throw;
  }
  kernels::check_cuda(cudaStreamEndCapture(stream, &graph));
  const CudaHandle<cudaGraph_t, cudaGraphDestroy> owner(graph);
  cudaGraphExec_t executable = nullptr;
  kernels::check_cuda(cudaGraphInstantiate(&executable, graph, 0));
  graph_ = CudaGraphExec(executable);
}

CapturedGraph::~CapturedGraph() {
  if (graph_.get() != nullptr)
    kernels::print_cuda_error(
        cudaStreamSynchronize(static_cast<cudaStream_t>(Context::get().exec(Device::cuda).stream)));
}

void CapturedGraph::replay() const {
  for (const auto& work : host_work_) work();
  kernels::check_cuda(
      cudaGraphLaunch(graph_.get(), static_cast<cudaStream_t>(Context::get().exec(Device::cuda).stream)));
}

#else

void CapturedGraph::record(const std::function<void()>&) {
  kernels::throw_built_without_cuda();
}
CapturedGraph::~CapturedGraph() = default;
void CapturedGraph::replay() const {
  kernels::throw_built_without_cuda();
}

#endif

}  // namespace vg
