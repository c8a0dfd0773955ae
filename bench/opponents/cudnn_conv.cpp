#include <array>
#include <cstdio>

#include "bench/harness.h"
#include "bench/opponents/cudnn_graph.h"
#include "bench/opponents/device_buffers.h"
#include "bench/opponents/libraries.h"

namespace vg::bench {

namespace {

class CudnnHandle {
 public:
  CudnnHandle() {
    VG_CHECK_CUDNN(cudnnCreate(&handle_));
    VG_CHECK_CUDNN(
        cudnnSetStream(handle_, static_cast<cudaStream_t>(Context::get().exec(Device::cuda).stream)));
  }
  ~CudnnHandle() {
    const cudnnStatus_t status = cudnnDestroy(handle_);
    if (status != CUDNN_STATUS_SUCCESS)
      std::fprintf(stderr, "cudnnDestroy: %s\n", cudnnGetErrorString(status));
  }
  CudnnHandle(const CudnnHandle&) = delete;
  CudnnHandle& operator=(const CudnnHandle&) = delete;
  [[nodiscard]] cudnnHandle_t get() const { return handle_; }

 private:
  cudnnHandle_t handle_ = nullptr;
};

// Weights between [small][large][tap] and [small][tap][large].
std::vector<float> channels_last(const ConvTask& t, const float* weights) {
  std::vector<float> result(static_cast<size_t>(t.weight_count()));
  for (int64_t s = 0; s < t.small.c; ++s) {
    for (int64_t l = 0; l < t.large.c; ++l) {
      for (int64_t tap = 0; tap < t.taps(); ++tap)
        result[static_cast<size_t>((s * t.taps() + tap) * t.large.c + l)] =
            weights[(s * t.large.c + l) * t.taps() + tap];
    }
  }
  return result;
}
std::vector<float> taps_last(const ConvTask& t, const std::vector<float>& weights) {
  std::vector<float> result(weights.size());
  for (int64_t s = 0; s < t.small.c; ++s) {
    for (int64_t l = 0; l < t.large.c; ++l) {
      for (int64_t tap = 0; tap < t.taps(); ++tap)
        result[static_cast<size_t>((s * t.large.c + l) * t.taps() + tap)] =
            weights[static_cast<size_t>((s * t.taps() + tap) * t.large.c + l)];
    }
  }
  return result;
}

class CudnnConv : public Opponent {
 public:
  explicit CudnnConv(const ConvTask& task) : task_(task), graph_(cudnn_conv_graph(task, handle_.get())) {
    const std::vector<float> weights = channels_last(task, task.weights);
    for (int i = 0; i < task.sets; ++i)
      sets_.push_back({device_array(task.large.data, task.large.elements(), task.type),
                       device_array(task.small.data, task.small.elements(), task.type),
                       device_array(weights.data(), task.weight_count(), task.type)});
    choose_plan();
  }
  std::string name() const override { return "cuDNN ndhwc"; }
  void run(int set) override {
    VG_CHECK_CUDNN(cudnnBackendExecute(handle_.get(), plan_.get(), packs_[static_cast<size_t>(set)].get()));
  }
  std::vector<float> result() override {
    const DeviceOperands& set = sets_.front();
    if (task_.pass == ConvPass::weights) return taps_last(task_, host_values(set.weights));
    return host_values(task_.pass == ConvPass::gather ? set.small : set.large);
  }

 private:
  // The fastest of all plans, each with the workspace that it asks for. Engines that refuse the graph or run
  // out of memory are left out.
  void choose_plan() {
    double best = 0;
    CudnnDescriptor chosen(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    std::string refusal = "no engine";
    for (const CudnnDescriptor& configuration : cudnn_engine_configurations(graph_, task_, nullptr)) {
      try {
        use(cudnn_plan(configuration, handle_.get(), nullptr));
        const double seconds = measure_on(
                                   Device::cuda, [&](int i) { run(i % task_.sets); }, 1, 3)
                                   .median;
        if (best == 0 || seconds < best) {
          best = seconds;
          chosen = std::move(plan_);
        }
      } catch (const std::exception& error) {
        refusal = error.what();
      }
    }
    if (best == 0) throw std::runtime_error("cuDNN has no plan for this convolution: " + refusal);
    use(std::move(chosen));
  }
  void use(CudnnDescriptor plan) {
    plan_ = std::move(plan);
    workspace_ = device_bytes(static_cast<size_t>(plan_.integer(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE)));
    packs_.clear();
    for (const DeviceOperands& set : sets_) packs_.push_back(make_pack(set));
  }
  CudnnDescriptor make_pack(const DeviceOperands& set) const {
    CudnnDescriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    const std::array<void*, 3> pointers = {address(set.large), address(set.small), address(set.weights)};
    void* workspace = workspace_.data<uint8_t>();
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, {cudnn_large, cudnn_small, cudnn_weights})
        .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, pointers.data())
        .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, static_cast<const void*>(&workspace))
        .finalise();
    return pack;
  }

  ConvTask task_;
  CudnnHandle handle_;
  CudnnConvGraph graph_;
  std::vector<DeviceOperands> sets_;
  CudnnDescriptor plan_{CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR};
  Tensor workspace_;
  std::vector<CudnnDescriptor> packs_;
};

}  // namespace

std::string cudnn_version() {
  const size_t version = cudnnGetVersion();  // 91900 is 9.19.0
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

std::vector<std::unique_ptr<Opponent>> make_conv_opponents_cudnn(const ConvTask& task, std::string& why_not) {
  std::vector<std::unique_ptr<Opponent>> opponents;
  try {
    opponents.push_back(std::make_unique<CudnnConv>(task));
  } catch (const std::exception& error) {
    why_not = error.what();
  }
  return opponents;
}

}  // namespace vg::bench
